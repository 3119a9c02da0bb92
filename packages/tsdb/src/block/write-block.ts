/**
 * Writes a block: into `<ULID>.tmp-for-creation`, synced, then renamed. A reader sees all of it or nothing, and
 * what a killed writer leaves is removed at the next start.
 */

import path from "node:path";
import { ChunkEncoding, type ChunkSeries, newUlid } from "@torus/model";
import { files, removeUnfinished, syncDirectory, writeWhole } from "../files.ts";
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
  files.makeDirectory(temporary);
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
      files.remove(temporary);
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
    removeUnfinished(temporary);
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
  writeWhole(path.join(temporary, "meta.json"), Buffer.from(formatBlockMeta(meta)));
  syncDirectory(path.join(temporary, "chunks"));
  syncDirectory(temporary);
  const block = path.join(parentDir, meta.ulid);
  files.rename(temporary, block);
  try {
    syncDirectory(parentDir);
  } catch (error) {
    // The caller goes on as if there were no block, and would write its samples again.
    files.rename(block, temporary);
    throw error;
  }
}

/** The number of samples that a chunk's first two bytes give. */
export function sampleCount(encoding: ChunkEncoding, data: Uint8Array): number {
  const count = ((data[0] as number) << 8) | (data[1] as number);
  const inHeader =
    encoding === ChunkEncoding.HISTOGRAM_ST || encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST;
  // The encodings with start timestamps keep the counter reset header in the top two bits.
  return inHeader ? count & 0x3fff : count;
}

/** Deletes a block so that no reader takes a half deleted one for whole. */
export function deleteBlock(dir: string): void {
  const doomed = `${dir}.tmp-for-deletion`;
  files.rename(dir, doomed);
  files.remove(doomed);
}
