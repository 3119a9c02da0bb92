/** One block of the bucket as a `ChunkQueryable`: index header from disk, all else by ranges through the page cache. */

import type { BlockMeta } from "@torus/block";
import { externalLabels, INDEX_FILE } from "@torus/block";
import type { ChunkQueryable, ChunkSelect, ChunkSeries, LabelSelect, Labels } from "@torus/model";
import { compareStrings } from "@torus/model";
import type { PageCache, ReadContext } from "./bucket-pages.ts";
import { FetchBudget } from "./bucket-pages.ts";
import { likelyChunkBytes, readChunks } from "./chunks.ts";
import type { IndexHeader } from "./index-header.ts";
import { selectPostings } from "./postings.ts";
import type { SeriesEntry } from "./series.ts";
import { readSeries } from "./series.ts";

/** The first batch is small, so that a query with a limit, or its first answer, does not wait for much. */
const FIRST_BATCH_SERIES = 64;
const MAX_BATCH_SERIES = 1024;
const MAX_BATCH_CHUNK_BYTES = 4 << 20;

export class BucketBlock implements ChunkQueryable {
  readonly meta: BlockMeta;
  /** External labels; not part of the series' labels in the answers. */
  readonly labels: Labels;
  readonly #pages: PageCache;
  readonly #header: (signal: AbortSignal) => Promise<IndexHeader>;
  readonly #fetchLimitBytes: number;
  readonly #indexName: string;

  /**
   * @param header Opens the index header, which its owner may forget between calls.
   * @param fetchLimitBytes For one call; 0 for no limit.
   */
  constructor(
    meta: BlockMeta,
    pages: PageCache,
    header: (signal: AbortSignal) => Promise<IndexHeader>,
    fetchLimitBytes: number,
  ) {
    this.meta = meta;
    this.labels = externalLabels(meta);
    this.#pages = pages;
    this.#header = header;
    this.#fetchLimitBytes = fetchLimitBytes;
    this.#indexName = `${meta.ulid}/${INDEX_FILE}`;
  }

  async *selectChunks(select: ChunkSelect): AsyncIterable<readonly ChunkSeries[]> {
    if (this.#overlaps(select)) yield* readAhead(this.#batches(select));
  }

  async *#batches(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const context = this.#context(select.signal);
    const header = await this.#header(select.signal);
    const ids = await selectPostings(
      header,
      this.#pages,
      this.#indexName,
      select.matchers,
      context,
    );
    let yielded = 0;
    for await (const entries of this.#entries(header, ids, select, context)) {
      const inRange = entries.filter((entry) => entry.chunks.length > 0);
      for (const batch of bySize(inRange, select.skipChunks)) {
        const cut = select.limit > 0 ? batch.slice(0, select.limit - yielded) : batch;
        if (cut.length > 0) yield await this.#withChunks(cut, select.skipChunks, context);
        yielded += cut.length;
        if (select.limit > 0 && yielded >= select.limit) return;
      }
    }
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    if (!this.#overlaps(select)) return [];
    const header = await this.#header(select.signal);
    if (select.matchers.length === 0) return limited(header.labelNames, select.limit);
    const names = new Set<string>();
    for await (const labels of this.#matchingLabels(header, select)) {
      for (let i = 0; i < labels.length; i += 2) names.add(labels[i] as string);
    }
    return limited([...names].sort(compareStrings), select.limit);
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    // The pair ("", "") stands for all series; it is no label.
    if (name === "" || !this.#overlaps(select)) return [];
    const header = await this.#header(select.signal);
    if (select.matchers.length === 0) return limited(header.labelValues(name), select.limit);
    const values = new Set<string>();
    for await (const labels of this.#matchingLabels(header, select)) {
      for (let i = 0; i < labels.length; i += 2) {
        if (labels[i] === name) values.add(labels[i + 1] as string);
      }
    }
    return limited([...values].sort(compareStrings), select.limit);
  }

  async *#matchingLabels(header: IndexHeader, select: LabelSelect): AsyncIterable<Labels> {
    const context = this.#context(select.signal);
    const { matchers } = select;
    const ids = await selectPostings(header, this.#pages, this.#indexName, matchers, context);
    for await (const entries of this.#entries(header, ids, select, context)) {
      for (const entry of entries) if (entry.chunks.length > 0) yield entry.labels;
    }
  }

  async *#entries(
    header: IndexHeader,
    ids: Uint32Array,
    range: { mint: number; maxt: number },
    context: ReadContext,
  ): AsyncIterable<SeriesEntry[]> {
    let size = FIRST_BATCH_SERIES;
    for (let at = 0; at < ids.length; ) {
      const batch = ids.subarray(at, at + size);
      at += batch.length;
      size = Math.min(size * 2, MAX_BATCH_SERIES);
      yield await readSeries(header, this.#pages, this.#indexName, batch, range, context);
    }
  }

  async #withChunks(
    entries: readonly SeriesEntry[],
    skipChunks: boolean,
    context: ReadContext,
  ): Promise<ChunkSeries[]> {
    if (skipChunks) return entries.map(({ labels }) => ({ labels, chunks: [] }));
    context.signal.throwIfAborted();
    const places = entries.map((entry) => entry.chunks);
    const chunks = await readChunks(this.#pages, this.meta.ulid, places, context);
    return entries.map(({ labels }, i) => ({ labels, chunks: chunks[i] ?? [] }));
  }

  #context(signal: AbortSignal): ReadContext {
    return { signal, budget: new FetchBudget(this.#fetchLimitBytes) };
  }

  #overlaps({ mint, maxt }: { mint: number; maxt: number }): boolean {
    return this.meta.minTime <= maxt && mint < this.meta.maxTime;
  }
}

/** Gives on what it reads, one item behind: while the caller works on one, the next is on its way. */
async function* readAhead<T>(items: AsyncGenerator<T>): AsyncIterable<T> {
  try {
    for (let next = items.next(); ; ) {
      const item = await next;
      if (item.done === true) return;
      next = items.next();
      // A caller that leaves now never awaits it.
      next.catch(() => undefined);
      yield item.value;
    }
  } finally {
    // Not awaited: what is on its way ends by the caller's signal or by itself.
    items.return(undefined).catch(() => undefined);
  }
}

/** Cuts a batch so that one answer's chunks stay within a few MiB. */
function* bySize(entries: readonly SeriesEntry[], skipChunks: boolean): Iterable<SeriesEntry[]> {
  let batch: SeriesEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const more = skipChunks ? 0 : likelyChunkBytes(entry.chunks);
    if (batch.length > 0 && bytes + more > MAX_BATCH_CHUNK_BYTES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(entry);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}

function limited(list: readonly string[], limit: number): string[] {
  return limit > 0 ? list.slice(0, limit) : [...list];
}
