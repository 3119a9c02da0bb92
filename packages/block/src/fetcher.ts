/**
 * Finds the blocks of a bucket that a reader should use.
 *
 * One list per block tells whether it has a meta.json and which marks; meta.json itself never changes, so it is
 * read once. What is left out, and why, is counted by the states of `thanos_blocks_meta_synced`.
 */

import { isUlid, ulidTime } from "@torus/model";
import type { Bucket, BucketCall } from "@torus/objstore";
import { ObjectNotFoundError } from "@torus/objstore";
import { BlockDamagedError, readBlockMeta } from "./download.ts";
import { MARK_FILES, MarkError, readMark } from "./marks.ts";
import type { BlockMeta } from "./meta.ts";
import { BlockMetaError, META_FILE, uploadTimeMs } from "./meta.ts";

export const BLOCK_STATES = [
  "loaded",
  "no-meta-json",
  "corrupted-meta-json",
  "failed",
  "time-excluded",
  "too-fresh",
  "marked-for-deletion",
  "duplicate",
] as const;
export type BlockState = (typeof BLOCK_STATES)[number];

export type FetchRules = {
  /** A block marked for deletion is used for this long after, while its replacement is being found by everyone. */
  ignoreDeletionMarksDelayMs: number;
  /** Younger blocks are left out, except those of the compactor. */
  consistencyDelayMs: number;
  /** Blocks that have nothing in [mint, maxt] are left out. Asked at every look, since it may move with the clock. */
  timeRange: () => { mint: number; maxt: number };
  /** Blocks asked about at a time. */
  concurrency: number;
};

export type FetchedBlocks = {
  /** Ascending by ULID. */
  blocks: readonly BlockMeta[];
  /** Blocks with an upload begun or a deletion under way. */
  partial: readonly string[];
  /** Blocks that could not be read, with the reason. */
  broken: ReadonlyMap<string, Error>;
  counts: Readonly<Record<BlockState, number>>;
};

export class BlockFetcher {
  readonly #bucket: Bucket;
  readonly #rules: FetchRules;
  readonly #now: () => number;
  #known = new Map<string, BlockMeta>();

  constructor(bucket: Bucket, rules: FetchRules, now: () => number) {
    this.#bucket = bucket;
    this.#rules = rules;
    this.#now = now;
  }

  /** Rejects when the bucket itself does not answer; one unreadable block is only set aside. */
  async fetch(call: BucketCall = {}): Promise<FetchedBlocks> {
    const ulids: string[] = [];
    for await (const name of this.#bucket.list("", call)) {
      if (name.endsWith("/") && isUlid(name.slice(0, -1))) ulids.push(name.slice(0, -1));
    }
    const known = new Map<string, BlockMeta>();
    const used: BlockMeta[] = [];
    const partial: string[] = [];
    const broken = new Map<string, Error>();
    const counts = Object.fromEntries(BLOCK_STATES.map((state) => [state, 0])) as Record<
      BlockState,
      number
    >;
    const queue = ulids.values();
    const work = async () => {
      for (const ulid of queue) {
        call.signal?.throwIfAborted();
        const found = await this.#look(ulid, call);
        if (found.meta !== undefined) known.set(ulid, found.meta);
        if (found.error !== undefined) broken.set(ulid, found.error);
        if (found.state === "no-meta-json") partial.push(ulid);
        if (found.state === "loaded" && found.meta !== undefined) used.push(found.meta);
        else counts[found.state]++;
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, this.#rules.concurrency) }, work));
    const blocks = withoutDuplicates(used);
    counts.loaded = blocks.length;
    counts.duplicate = used.length - blocks.length;
    this.#known = known;
    blocks.sort((a, b) => (a.ulid < b.ulid ? -1 : 1));
    return { blocks, partial: partial.sort(), broken, counts };
  }

  async #look(
    ulid: string,
    call: BucketCall,
  ): Promise<{ state: BlockState; meta?: BlockMeta; error?: Error }> {
    const names = new Set<string>();
    try {
      for await (const name of this.#bucket.list(`${ulid}/`, call)) {
        names.add(name.slice(ulid.length + 1));
      }
      if (!names.has(META_FILE)) return { state: "no-meta-json" };
      const meta = this.#known.get(ulid) ?? (await readBlockMeta(this.#bucket, ulid, call));
      if (!names.has(MARK_FILES.deletion)) return { state: this.#judge(meta, undefined), meta };
      try {
        const mark = await readMark(this.#bucket, ulid, "deletion", call);
        return { state: this.#judge(meta, mark?.timeSeconds), meta };
      } catch (error) {
        // A mark that says nothing readable must not take a whole block away.
        if (error instanceof MarkError) return { state: this.#judge(meta, undefined), meta, error };
        throw error;
      }
    } catch (error) {
      call.signal?.throwIfAborted();
      // Deleted between the list and the read.
      if (error instanceof ObjectNotFoundError) return { state: "no-meta-json" };
      const isBroken = error instanceof BlockMetaError || error instanceof BlockDamagedError;
      if (isBroken) return { state: "corrupted-meta-json", error };
      // The bucket failed for this block; what we know of it from before still holds.
      const meta = this.#known.get(ulid);
      const reason = error instanceof Error ? error : new Error(String(error));
      return meta === undefined
        ? { state: "failed", error: reason }
        : { state: this.#judge(meta, undefined), meta, error: reason };
    }
  }

  #judge(meta: BlockMeta, deletionSeconds: number | undefined): BlockState {
    const { timeRange, ignoreDeletionMarksDelayMs, consistencyDelayMs } = this.#rules;
    const { mint, maxt } = timeRange();
    if (meta.maxTime <= mint || meta.minTime > maxt) return "time-excluded";
    const now = this.#now();
    if (
      deletionSeconds !== undefined &&
      now - deletionSeconds * 1000 >= ignoreDeletionMarksDelayMs
    ) {
      return "marked-for-deletion";
    }
    const source = meta.thanos?.source ?? "";
    const isMade = ["compactor", "compactor.repair", "bucket.repair"].includes(source);
    const age = now - (uploadTimeMs(meta) ?? ulidTime(meta.ulid));
    return !isMade && age < consistencyDelayMs ? "too-fresh" : "loaded";
  }
}

/**
 * Without the blocks whose data another block of the same labels and resolution holds entirely: a compacted
 * block and its parents stand side by side until the parents are deleted.
 */
export function withoutDuplicates(metas: readonly BlockMeta[]): BlockMeta[] {
  const groups = new Map<string, BlockMeta[]>();
  for (const meta of metas) {
    const labels = Object.entries(meta.thanos?.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([meta.thanos?.downsample.resolution ?? 0, labels]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [meta]);
    else group.push(meta);
  }
  const kept: BlockMeta[] = [];
  for (const group of groups.values()) kept.push(...withoutCovered(group));
  return kept;
}

function withoutCovered(group: BlockMeta[]): BlockMeta[] {
  const bySize = group
    .map((meta) => ({ meta, sources: meta.compaction.sources ?? [meta.ulid] }))
    .sort(
      (a, b) =>
        b.sources.length - a.sources.length ||
        b.meta.compaction.level - a.meta.compaction.level ||
        (a.meta.ulid < b.meta.ulid ? -1 : 1),
    );
  // From each source to the kept blocks that hold it, so that a bucket of level-1 blocks costs one pass.
  const holders = new Map<string, Set<BlockMeta>>();
  const kept: BlockMeta[] = [];
  for (const { meta, sources } of bySize) {
    const [first, ...rest] = sources.map((source) => holders.get(source));
    const covering = [...(first ?? [])].filter((holder) =>
      rest.every((others) => others?.has(holder) === true),
    );
    if (sources.length > 0 && covering.length > 0) continue;
    kept.push(meta);
    for (const source of sources) {
      const set = holders.get(source);
      if (set === undefined) holders.set(source, new Set([meta]));
      else set.add(meta);
    }
  }
  return kept;
}
