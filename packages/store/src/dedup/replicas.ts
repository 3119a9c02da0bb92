/** From the chunks that came for one series to the replicas they stand for (Thanos, pkg/dedup). */

import { chunkHash } from "@torus/protocol";
import type { SampleChunk } from "./averages.ts";

/** Drops chunks with equal bytes, and sorts by minTime, maxTime, bytes. Sources that share a chunk send it each. */
export function uniqueChunks(chunks: readonly SampleChunk[]): SampleChunk[] {
  if (chunks.length < 2) return [...chunks];
  const seen = new Map<bigint, SampleChunk>();
  for (const chunk of chunks) {
    const own = chunkHash(chunk);
    // Side by side: equal sums over different counts are different averages.
    const hash = chunk.count === undefined ? own : (own << 64n) | chunkHash(chunk.count);
    if (!seen.has(hash)) seen.set(hash, chunk);
  }
  return [...seen.values()].sort(
    (a, b) => a.minTime - b.minTime || a.maxTime - b.maxTime || Buffer.compare(a.data, b.data),
  );
}

/**
 * Lays chunks out so that none overlaps within a list: each goes to the first list that ends before it begins.
 * The lists are what dedup takes for replicas, in this order.
 *
 * @param chunks Sorted by `uniqueChunks`.
 */
export function splitOverlaps(chunks: readonly SampleChunk[]): SampleChunk[][] {
  const lists: SampleChunk[][] = [];
  for (const chunk of chunks) {
    const list = lists.find((each) => (each.at(-1) as SampleChunk).maxTime < chunk.minTime);
    if (list === undefined) lists.push([chunk]);
    else list.push(chunk);
  }
  return lists;
}
