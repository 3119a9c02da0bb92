/**
 * The blocks of a bucket, kept up to date: what the store gateway serves.
 *
 * Memory is bounded by two limits, for pages of index and chunks, and for index headers; the number of blocks adds
 * a few hundred bytes each. A block whose header cannot be made is set aside, counted, and tried again at the next
 * sync; the others go on answering.
 */

import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import type { BlockMeta, BlockState, FetchedBlocks, FetchRules } from "@torus/block";
import { BlockFetcher } from "@torus/block";
import { isUlid, type Labels } from "@torus/model";
import type { Bucket } from "@torus/objstore";
import type { SourcesWanted } from "../store-service.ts";
import { BucketBlock } from "./bucket-block.ts";
import { PageCache } from "./bucket-pages.ts";
import { ByteLru } from "./byte-lru.ts";
import type { IndexHeader } from "./index-header.ts";
import { openIndexHeader } from "./index-header.ts";
import { blocksFor } from "./resolution.ts";

/** Pause after a look at the bucket that failed. */
const RETRY_MS = 5000;

export type GatewayOptions = FetchRules & {
  /** For index headers. */
  dataDir: string;
  pageCacheBytes: number;
  headerCacheBytes: number;
  /** Range requests at a time. */
  fetchConcurrency: number;
  /** Bytes that one call on one block may fetch; 0 for no limit. */
  fetchLimitBytes: number;
  /** Index headers made at a time during a sync. */
  blockSyncConcurrency: number;
  now: () => number;
  onEvent: (event: GatewayEvent) => void;
};

/** What metrics and log are made of. */
export type GatewayEvent =
  | { kind: "synced"; seconds: number; counts: Readonly<Record<BlockState, number>> }
  | { kind: "sync-failed"; seconds: number; error: Error }
  | { kind: "block-loaded"; ulid: string; resolutionMs: number }
  | { kind: "block-dropped"; ulid: string }
  | { kind: "block-broken"; ulid: string; error: Error }
  /** Served on, by what an earlier look found: its list or its deletion mark could not be read. */
  | { kind: "block-look-failed"; ulid: string; error: Error };

/** A block to serve. */
export type ServedBlock = {
  ulid: string;
  /** External labels. */
  labels: Labels;
  /** Milliseconds, both inclusive. */
  mint: number;
  maxt: number;
  /** 0 for raw samples, otherwise the downsampled blocks' window in ms. */
  resolutionMs: number;
  queryable: BucketBlock;
};

export class BucketGateway {
  readonly #bucket: Bucket;
  readonly #options: GatewayOptions;
  readonly #fetcher: BlockFetcher;
  readonly #pages: PageCache;
  readonly #headers: ByteLru<IndexHeader>;
  readonly #opening = new Map<string, Promise<IndexHeader>>();
  #blocks = new Map<string, ServedBlock>();
  #broken = new Map<string, Error>();

  constructor(bucket: Bucket, options: GatewayOptions) {
    this.#bucket = bucket;
    this.#options = options;
    this.#fetcher = new BlockFetcher(bucket, options, options.now);
    this.#pages = new PageCache(bucket, options.pageCacheBytes, options.fetchConcurrency);
    this.#headers = new ByteLru(options.headerCacheBytes);
  }

  /** Ascending by mint, then ULID; a fresh list that stays as it is during later syncs. */
  blocks(): ServedBlock[] {
    return [...this.#blocks.values()].sort((a, b) => a.mint - b.mint || (a.ulid < b.ulid ? -1 : 1));
  }

  /** The blocks for a Series call; with null all of them. */
  blocksFor(wanted: SourcesWanted | null): ServedBlock[] {
    const blocks = this.blocks();
    if (wanted === null) return blocks;
    return blocksFor(blocks, wanted.mint, wanted.maxt, wanted.maxResolutionMs);
  }

  /** Blocks set aside, by ULID. */
  broken(): ReadonlyMap<string, Error> {
    return this.#broken;
  }

  /** For metrics: sizes in bytes and counts since the start. */
  cacheStatistics() {
    return {
      ...this.#pages.counters,
      pageBytes: this.#pages.sizeBytes,
      pageCount: this.#pages.count,
      headerBytes: this.#headers.sizeBytes,
      headerCount: this.#headers.count,
    };
  }

  /**
   * Looks at the bucket: new blocks are served once their header is there, gone ones no longer.
   * When the bucket does not answer, the blocks stay as they are.
   *
   * @throws what the bucket threw.
   */
  async sync(signal: AbortSignal): Promise<void> {
    const { onEvent } = this.#options;
    const start = performance.now();
    const seconds = () => (performance.now() - start) / 1000;
    let found: FetchedBlocks;
    try {
      found = await this.#fetcher.fetch({ signal });
    } catch (error) {
      onEvent({ kind: "sync-failed", seconds: seconds(), error: error as Error });
      throw error;
    }
    const served = new Set(found.blocks.map((meta) => meta.ulid));
    const broken = new Map<string, Error>();
    for (const [ulid, error] of found.broken) {
      if (served.has(ulid)) onEvent({ kind: "block-look-failed", ulid, error });
      else broken.set(ulid, error);
    }
    const blocks = new Map<string, ServedBlock>();
    const queue = found.blocks.values();
    const work = async () => {
      for (const meta of queue) {
        const known = this.#blocks.get(meta.ulid);
        try {
          if (known === undefined) await this.#open(meta, signal);
          const block = known ?? this.#serve(meta);
          blocks.set(meta.ulid, block);
          if (known !== undefined) continue;
          onEvent({ kind: "block-loaded", ulid: meta.ulid, resolutionMs: block.resolutionMs });
        } catch (error) {
          signal.throwIfAborted();
          broken.set(meta.ulid, error as Error);
        }
      }
    };
    await Promise.all(Array.from({ length: this.#options.blockSyncConcurrency }, work));
    for (const [ulid, error] of broken) onEvent({ kind: "block-broken", ulid, error });
    for (const ulid of this.#blocks.keys()) {
      if (blocks.has(ulid)) continue;
      this.#headers.delete(ulid);
      onEvent({ kind: "block-dropped", ulid });
    }
    this.#blocks = blocks;
    this.#broken = broken;
    await this.#removeOldHeaders(served);
    onEvent({ kind: "synced", seconds: seconds(), counts: found.counts });
  }

  /**
   * Looks at the bucket until `signal` is aborted, then resolves. After a failure it looks again soon.
   *
   * @param intervalMs From the end of one look to the start of the next.
   * @param onFirst Called once, after the first look that succeeded: from then on an answer without a block
   *   means that the bucket has none.
   */
  async keepSynced(intervalMs: number, signal: AbortSignal, onFirst: () => void): Promise<void> {
    let isFirst = true;
    while (!signal.aborted) {
      let pauseMs = intervalMs;
      try {
        await this.sync(signal);
        if (isFirst) onFirst();
        isFirst = false;
      } catch {
        // `sync` has reported it.
        pauseMs = Math.min(intervalMs, RETRY_MS);
      }
      await setTimeout(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }

  #serve(meta: BlockMeta): ServedBlock {
    const open = (signal: AbortSignal) => this.#open(meta, signal);
    const queryable = new BucketBlock(meta, this.#pages, open, this.#options.fetchLimitBytes);
    return {
      ulid: meta.ulid,
      labels: queryable.labels,
      mint: meta.minTime,
      maxt: meta.maxTime - 1,
      resolutionMs: meta.thanos?.downsample.resolution ?? 0,
      queryable,
    };
  }

  async #open(meta: BlockMeta, signal: AbortSignal): Promise<IndexHeader> {
    const cached = this.#headers.get(meta.ulid);
    if (cached !== undefined) return cached;
    const underWay = this.#opening.get(meta.ulid);
    if (underWay !== undefined) {
      try {
        return await underWay;
      } catch {
        // Whoever began it may have been given up.
        signal.throwIfAborted();
      }
    }
    const opening = openIndexHeader(this.#bucket, meta, this.#options.dataDir, signal);
    this.#opening.set(meta.ulid, opening);
    try {
      const header = await opening;
      this.#headers.set(meta.ulid, header, header.sizeBytes);
      return header;
    } finally {
      if (this.#opening.get(meta.ulid) === opening) this.#opening.delete(meta.ulid);
    }
  }

  async #removeOldHeaders(ulids: ReadonlySet<string>): Promise<void> {
    const { dataDir } = this.#options;
    for (const name of await readdir(dataDir).catch(() => [])) {
      if (isUlid(name) && !ulids.has(name)) {
        await rm(path.join(dataDir, name), { recursive: true, force: true });
      }
    }
  }
}
