/**
 * Writes a block: into `<ULID>.tmp-for-creation`, synced, then renamed. A reader sees all of it or nothing, and
 * what a killed writer leaves is removed at the next start.
 */

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { ChunkEncoding, type ChunkSeries, newUlid } from "@torus/model";
import { ChunkSegmentWriter } from "./chunk-segments.ts";
import { IndexWriter } from "./index-writer.ts";
import { formatBlockMeta, type TsdbBlockMeta } from "./meta.ts";
import { writeTombstones } from "./tombstones.ts";

export type NewBlock = {
  /** Milliseconds, half-open. */
  minTime: number;
  maxTime: number;
  /** Those of a compacted block; a block cut from a head is of level 1 and its own source. */
  compaction?: TsdbBlockMeta["compaction"];
  /** See `TsdbBlockMeta.compaction`, for a block of level 1. */
  hints?: string[];
  /** Wall clock in ms, for the ULID. */
  now: number;
};

/**
 * @param batches Series in ascending label order, no series twice, chunks in time order without overlap.
 * @returns The block's meta, or null when there was no sample and nothing was written.
 * @throws {IndexOrderError}
 */
export async function writeBlock(
  parentDir: string,
  batches: AsyncIterable<readonly ChunkSeries[]> | Iterable<readonly ChunkSeries[]>,
  block: NewBlock,
): Promise<TsdbBlockMeta | null> {
  const ulid = newUlid(block.now);
  const temporary = path.join(parentDir, `${ulid}.tmp-for-creation`);
  mkdirSync(temporary, { recursive: true });
  const chunkFiles = new ChunkSegmentWriter(path.join(temporary, "chunks"));
  try {
    const index = new IndexWriter();
    let floatSamples = 0;
    let histogramSamples = 0;
    for await (const batch of batches) {
      for (const { labels, chunks } of batch) {
        if (chunks.length === 0) continue;
        const indexed = chunks.map(({ minTime, maxTime, encoding, data }) => {
          const samples = sampleCount(encoding, data);
          if (encoding === ChunkEncoding.XOR || encoding === ChunkEncoding.XOR2) {
            floatSamples += samples;
          } else {
            histogramSamples += samples;
          }
          return { minTime, maxTime, ref: chunkFiles.write(encoding, data) };
        });
        index.add(labels, indexed);
      }
    }
    if (index.seriesCount === 0) {
      chunkFiles.abandon();
      rmSync(temporary, { recursive: true });
      return null;
    }
    chunkFiles.finish();
    await index.finish(path.join(temporary, "index"));
    const meta = blockMeta(ulid, block, {
      numSamples: floatSamples + histogramSamples,
      numFloatSamples: floatSamples,
      numHistogramSamples: histogramSamples,
      numSeries: index.seriesCount,
      numChunks: index.chunkCount,
    });
    publishBlock(parentDir, temporary, meta);
    return meta;
  } catch (error) {
    chunkFiles.abandon();
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

export function blockMeta(
  ulid: string,
  block: NewBlock,
  stats: TsdbBlockMeta["stats"],
): TsdbBlockMeta {
  return {
    ulid,
    minTime: block.minTime,
    maxTime: block.maxTime,
    stats,
    compaction: block.compaction ?? {
      level: 1,
      sources: [ulid],
      ...(block.hints === undefined ? {} : { hints: block.hints }),
    },
    version: 1,
  };
}

/** The last steps: `temporary` holds chunks and index, synced; it becomes the block by a rename. */
export function publishBlock(parentDir: string, temporary: string, meta: TsdbBlockMeta): void {
  writeTombstones(temporary, new Map());
  writeFileSync(path.join(temporary, "meta.json"), formatBlockMeta(meta), { flush: true });
  syncDirectory(path.join(temporary, "chunks"));
  syncDirectory(temporary);
  renameSync(temporary, path.join(parentDir, meta.ulid));
  syncDirectory(parentDir);
}

/** The number of samples that a chunk's first two bytes give. */
export function sampleCount(encoding: ChunkEncoding, data: Uint8Array): number {
  const count = ((data[0] as number) << 8) | (data[1] as number);
  const inHeader =
    encoding === ChunkEncoding.HISTOGRAM_ST || encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST;
  // The encodings with start timestamps keep the counter reset header in the top two bits.
  return inHeader ? count & 0x3fff : count;
}

export function syncDirectory(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Deletes a block so that no reader takes a half deleted one for whole. */
export function deleteBlock(dir: string): void {
  const doomed = `${dir}.tmp-for-deletion`;
  renameSync(dir, doomed);
  rmSync(doomed, { recursive: true });
}
