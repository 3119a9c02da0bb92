/**
 * Reads parts of large objects through a cache of pages.
 *
 * Index and chunk files never change, so a page (64 KiB, aligned) once read is good until it is forgotten. A call
 * names all ranges it needs at once: missing pages that lie near each other are fetched by one range request, a
 * bounded number of requests run at a time for the whole gateway, and two queries that miss the same page share
 * one request.
 */

import type { Bucket } from "@torus/objstore";
import { ByteLru } from "./byte-lru.ts";

export const PAGE_BYTES = 64 << 10;
/** Fetching this much that nobody asked for is cheaper than another request to an object store. */
const MAX_GAP_PAGES = 4;
const MAX_RUN_PAGES = 64;

export type ByteRange = readonly [start: number, end: number];

/** A query asked for more bytes of the bucket than one may. */
export class FetchLimitError extends Error {
  readonly limitBytes: number;
  constructor(limitBytes: number) {
    super(`the query needs more than ${limitBytes} bytes of the bucket`);
    this.name = "FetchLimitError";
    this.limitBytes = limitBytes;
  }
}

/** The object is shorter than what refers into it says. */
export class ObjectTooShortError extends Error {
  readonly objectName: string;
  constructor(objectName: string, start: number, end: number) {
    super(`read bytes ${start} to ${end} of ${objectName}: it ends before`);
    this.name = "ObjectTooShortError";
    this.objectName = objectName;
  }
}

/** What one query may still fetch; shared by all its reads. */
export class FetchBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;

  /** @param limitBytes 0 for no limit. */
  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** @throws {FetchLimitError} before the bytes are fetched. */
  take(bytes: number): void {
    this.#usedBytes += bytes;
    if (this.#limitBytes > 0 && this.#usedBytes > this.#limitBytes) {
      throw new FetchLimitError(this.#limitBytes);
    }
  }
}

export type ReadContext = { signal: AbortSignal; budget: FetchBudget };

export class PageCache {
  readonly #bucket: Bucket;
  readonly #pages: ByteLru<Uint8Array>;
  readonly #underWay = new Map<string, Promise<Uint8Array>>();
  readonly #waiting: (() => void)[] = [];
  #free: number;
  readonly counters = { requests: 0, hits: 0, fetches: 0, fetchedBytes: 0 };

  constructor(bucket: Bucket, limitBytes: number, concurrency: number) {
    this.#bucket = bucket;
    this.#pages = new ByteLru(limitBytes);
    this.#free = concurrency;
  }

  get sizeBytes(): number {
    return this.#pages.sizeBytes;
  }

  get count(): number {
    return this.#pages.count;
  }

  /**
   * Reads all pages that the ranges touch. The pages answer for as long as the caller keeps them.
   *
   * @param ranges In any order; the part beyond the object's end is not an error until it is looked at.
   * @throws {FetchLimitError}
   */
  async load(
    objectName: string,
    ranges: readonly ByteRange[],
    context: ReadContext,
  ): Promise<LoadedPages> {
    const wanted = new Set<number>();
    for (const [start, end] of ranges) {
      for (let page = Math.floor(start / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
        wanted.add(page);
      }
    }
    const found = new Map<number, Uint8Array>();
    const missing: number[] = [];
    const awaited: [page: number, promise: Promise<Uint8Array>][] = [];
    for (const page of [...wanted].sort((a, b) => a - b)) {
      const key = `${objectName}#${page}`;
      const cached = this.#pages.get(key);
      const underWay = this.#underWay.get(key);
      this.counters.requests++;
      if (cached !== undefined) {
        this.counters.hits++;
        found.set(page, cached);
      } else if (underWay !== undefined) awaited.push([page, underWay]);
      else missing.push(page);
    }
    const runs = joinRuns(missing);
    for (const [first, last] of runs) context.budget.take((last - first + 1) * PAGE_BYTES);
    await Promise.all([
      ...runs.map(async ([first, last]) => {
        for (const [page, body] of await this.#fetch(objectName, first, last, context.signal)) {
          if (wanted.has(page)) found.set(page, body);
        }
      }),
      ...awaited.map(async ([page, promise]) => {
        found.set(page, await this.#orAgain(objectName, page, promise, context.signal));
      }),
    ]);
    return new LoadedPages(objectName, found);
  }

  /** The other query may have been given up; that is no reason for this one to fail. */
  async #orAgain(
    objectName: string,
    page: number,
    promise: Promise<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    try {
      return await promise;
    } catch {
      signal.throwIfAborted();
      const [fetched] = await this.#fetch(objectName, page, page, signal);
      return fetched?.[1] ?? new Uint8Array(0);
    }
  }

  async #fetch(
    objectName: string,
    first: number,
    last: number,
    signal: AbortSignal,
  ): Promise<[page: number, body: Uint8Array][]> {
    const read = this.#readRun(objectName, first, last, signal);
    const keys: string[] = [];
    for (let page = first; page <= last; page++) {
      const key = `${objectName}#${page}`;
      if (this.#underWay.has(key)) continue;
      keys.push(key);
      const body = read.then((pages) => pages[page - first]?.[1] ?? new Uint8Array(0));
      // Whoever waits for it sees the failure; if nobody does, the caller of this run does.
      body.catch(() => undefined);
      this.#underWay.set(key, body);
    }
    try {
      const pages = await read;
      for (const [page, body] of pages) {
        this.#pages.set(`${objectName}#${page}`, body, body.length + 200);
      }
      return pages;
    } finally {
      for (const key of keys) this.#underWay.delete(key);
    }
  }

  async #readRun(
    objectName: string,
    first: number,
    last: number,
    signal: AbortSignal,
  ): Promise<[page: number, body: Uint8Array][]> {
    await this.#enter();
    try {
      signal.throwIfAborted();
      const length = (last - first + 1) * PAGE_BYTES;
      const body = await this.#bucket.getRange(objectName, first * PAGE_BYTES, length, { signal });
      this.counters.fetches++;
      this.counters.fetchedBytes += body.length;
      const pages: [number, Uint8Array][] = [];
      for (let page = first; page <= last; page++) {
        const from = (page - first) * PAGE_BYTES;
        // Copied out, so that one page in the cache does not keep the whole run in memory.
        const isAlone = first === last;
        pages.push([page, isAlone ? body : body.slice(from, from + PAGE_BYTES)]);
      }
      return pages;
    } finally {
      this.#leave();
    }
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

/** Pages of one object, for views into it. */
export class LoadedPages {
  readonly #objectName: string;
  readonly #pages: ReadonlyMap<number, Uint8Array>;

  constructor(objectName: string, pages: ReadonlyMap<number, Uint8Array>) {
    this.#objectName = objectName;
    this.#pages = pages;
  }

  /**
   * Bytes [start, end), as a view where they lie in one page. Shorter where the object or what was loaded ends.
   */
  available(start: number, end: number): Uint8Array {
    const first = Math.floor(start / PAGE_BYTES);
    const from = start - first * PAGE_BYTES;
    const page = this.#pages.get(first);
    if (page === undefined || end <= start) return new Uint8Array(0);
    if (end <= (first + 1) * PAGE_BYTES) return page.subarray(from, end - first * PAGE_BYTES);
    const pieces: Uint8Array[] = [page.subarray(from)];
    let size = pieces[0]?.length ?? 0;
    for (let at = first + 1; at * PAGE_BYTES < end; at++) {
      // A short page is the object's last.
      if (start + size < at * PAGE_BYTES) break;
      const next = this.#pages.get(at);
      if (next === undefined) break;
      pieces.push(next.subarray(0, end - at * PAGE_BYTES));
      size += pieces.at(-1)?.length ?? 0;
    }
    const out = new Uint8Array(size);
    let filled = 0;
    for (const piece of pieces) {
      out.set(piece, filled);
      filled += piece.length;
    }
    return out;
  }

  /** @throws {ObjectTooShortError} */
  view(start: number, end: number): Uint8Array {
    const bytes = this.available(start, end);
    if (bytes.length < end - start) throw new ObjectTooShortError(this.#objectName, start, end);
    return bytes;
  }
}

/** First and last page of each request: neighbours with small gaps between them together. */
function joinRuns(pages: readonly number[]): [first: number, last: number][] {
  const runs: [number, number][] = [];
  for (const page of pages) {
    const run = runs.at(-1);
    if (run !== undefined && page - run[1] <= MAX_GAP_PAGES && page - run[0] < MAX_RUN_PAGES) {
      run[1] = page;
    } else runs.push([page, page]);
  }
  return runs;
}
