/**
 * Several blocks as one. Chunks that overlap no other are taken as they are; those that do, as after samples came out of
 * order, are decoded and written anew, each time once. What tombstones delete is gone for good.
 */

import {
  type Chunk,
  ChunkEncoding,
  type ChunkSeries,
  compareLabels,
  type Labels,
} from "@torus/model";
import { BlockReader, type RawBlockSeries } from "../block/block-reader.ts";
import type { TsdbBlockMeta } from "../block/meta.ts";
import { writeBlock } from "../block/write-block.ts";
import { keepSamples } from "../chunkenc/chunk-samples.ts";
import { encodeSamples } from "../chunkenc/encode-samples.ts";
import { mergeRuns, runsOfChunks } from "../data-dir/runs.ts";

/** A block that was downsampled is not merged with others: its aggregates are of windows. */
export class DownsampledBlockError extends Error {
  readonly labels: Labels;
  constructor(labels: Labels) {
    super(`compact: series ${JSON.stringify(labels)} has downsampled chunks`);
    this.name = "DownsampledBlockError";
    this.labels = labels;
  }
}

/**
 * Writes the block that replaces `blocks`; these stay, deleting them is the caller's.
 *
 * @param now Wall clock in ms, for the ULID.
 * @returns The new block's meta, or null when everything was deleted and nothing is written.
 * @throws {IndexDamagedError} @throws {ChunkFileDamagedError} @throws {DownsampledBlockError}
 */
export function compactBlocks(
  dir: string,
  blocks: readonly BlockReader[],
  now: number,
): Promise<TsdbBlockMeta | null> {
  const metas = blocks.map(({ meta }) => meta).sort((a, b) => a.minTime - b.minTime);
  return writeBlock(dir, batches(blocks), {
    minTime: Math.min(...metas.map(({ minTime }) => minTime)),
    maxTime: Math.max(...metas.map(({ maxTime }) => maxTime)),
    compaction: compactionOf(metas),
    now,
  });
}

/** `compactBlocks` of the blocks in these directories. */
export function compactBlockDirectories(
  dir: string,
  blocks: readonly string[],
  now: number,
): Promise<TsdbBlockMeta | null> {
  return compactBlocks(
    dir,
    blocks.map((block) => new BlockReader(block)),
    now,
  );
}

function compactionOf(metas: readonly TsdbBlockMeta[]): TsdbBlockMeta["compaction"] {
  return {
    level: Math.max(...metas.map(({ compaction }) => compaction.level)) + 1,
    sources: [...new Set(metas.flatMap(({ compaction }) => compaction.sources))].sort(),
    parents: metas.map(({ ulid, minTime, maxTime }) => ({ ulid, minTime, maxTime })),
  };
}

/** The first blocks, in order of time, that overlap; empty when none do. */
export function overlappingBlocks(blocks: readonly BlockReader[]): BlockReader[] {
  const sorted = [...blocks].sort((a, b) => a.minTime - b.minTime);
  let group: BlockReader[] = [];
  let maxTime = Number.NEGATIVE_INFINITY;
  for (const block of sorted) {
    if (block.minTime > maxTime) {
      if (group.length > 1) return group;
      group = [];
    }
    group.push(block);
    maxTime = Math.max(maxTime, block.maxTime);
  }
  return group.length > 1 ? group : [];
}

function* batches(blocks: readonly BlockReader[]): Generator<readonly ChunkSeries[]> {
  const streams = blocks.map((block) =>
    block.rawSeries([], Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY),
  );
  const heads = streams.map((stream) => stream.next());
  for (;;) {
    let labels: Labels | null = null;
    for (const head of heads) {
      if (head.done === true) continue;
      if (labels === null || compareLabels(head.value.labels, labels) < 0)
        ({ labels } = head.value);
    }
    if (labels === null) return;
    const chunks: Chunk[] = [];
    for (const [i, head] of heads.entries()) {
      if (head.done === true || compareLabels(head.value.labels, labels) !== 0) continue;
      chunks.push(...remaining(head.value));
      heads[i] = (streams[i] as Generator<RawBlockSeries>).next();
    }
    if (chunks.length > 0) yield [{ labels, chunks: mergeChunks(chunks) }];
  }
}

function remaining({ labels, chunks, deleted }: RawBlockSeries): Chunk[] {
  const out: Chunk[] = [];
  for (const chunk of chunks) {
    if (chunk.encoding === ChunkEncoding.AGGREGATE) throw new DownsampledBlockError(labels);
    const inside = deleted.filter(
      ({ mint, maxt }) => mint <= chunk.maxTime && maxt >= chunk.minTime,
    );
    const left =
      inside.length === 0
        ? chunk
        : keepSamples(
            chunk,
            (time) => !inside.some(({ mint, maxt }) => time >= mint && time <= maxt),
          );
    if (left !== null) out.push(left);
  }
  return out;
}

/** Chunks that overlap are written anew; of samples of one time that of the chunk given first stays. */
export function mergeChunks(chunks: readonly Chunk[]): Chunk[] {
  const sorted = [...chunks].sort((a, b) => a.minTime - b.minTime);
  const out: Chunk[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i + 1;
    let { maxTime } = sorted[i] as Chunk;
    for (; end < sorted.length && (sorted[end] as Chunk).minTime <= maxTime; end++) {
      maxTime = Math.max(maxTime, (sorted[end] as Chunk).maxTime);
    }
    const group = sorted.slice(i, end);
    i = end;
    const [only] = group;
    if (group.length === 1 && only !== undefined) out.push(only);
    else {
      const startTimes = group.some(({ encoding }) => encoding >= ChunkEncoding.XOR2);
      out.push(...encodeSamples(mergeRuns(runsOfChunks(group)), startTimes));
    }
  }
  return out;
}
