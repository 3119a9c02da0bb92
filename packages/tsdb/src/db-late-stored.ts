/**
 * Late samples that a start finds both in their log and in a block: the process died after the block was there and
 * before the log was written anew without them. They are forgotten, or the next cut would write them once more.
 */

import type { Labels } from "@torus/model";
import type { BlockReader } from "./block/block-reader.ts";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import type { LogLine } from "./db-replay.ts";
import type { LateSamples } from "./head/late-samples.ts";

const key = (labels: Labels): string => JSON.stringify(labels);

/**
 * Forgets the late samples that are in one of the blocks. Only blocks that overlap them are read, and
 * of these the index and the chunks of their series.
 *
 * @returns How many were forgotten.
 */
export function forgetStored(
  late: LateSamples,
  blocks: readonly BlockReader[],
  log: LogLine,
): number {
  let forgotten = 0;
  for (const block of blocks) {
    const { minTime, maxTime } = block;
    const wanted = new Map<string, number>();
    for (const [ref, labels] of late.seriesWithin(minTime, maxTime)) wanted.set(key(labels), ref);
    if (wanted.size === 0) continue;
    try {
      const chosen = (labels: Labels) => wanted.has(key(labels));
      for (const { labels, chunks } of block.rawSeries([], minTime, maxTime, chosen)) {
        for (const chunk of chunks) {
          forgotten += late.forget(wanted.get(key(labels)) as number, decodeSamples(chunk));
        }
      }
    } catch (error) {
      // Samples that are there twice are one by their time; those of a block that cannot be read are only here.
      log("error", "block cannot be compared with the out-of-order log", {
        dir: block.dir,
        error: error instanceof Error ? error.message : String(error),
      });
    }
  }
  return forgotten;
}
