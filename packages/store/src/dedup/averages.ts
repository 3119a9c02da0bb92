/**
 * The mean of downsampled data: a SUM chunk and the COUNT chunk that came with it have a sample at the same
 * timestamps, whose quotient is the value that a query sees (Thanos' messages: pkg/store/storepb).
 */

import type { WireChunk } from "@torus/protocol";

/** A chunk to be decoded; with `count`, its samples are divided by those of that chunk. */
export type SampleChunk = WireChunk & { count?: WireChunk };

/** Sum and count of one downsampled chunk do not belong to the same samples. */
export class AggregatesUnequalError extends Error {
  readonly minTime: number;
  readonly maxTime: number;
  constructor({ minTime, maxTime }: WireChunk, what: string) {
    super(`average of the downsampled chunk from ${minTime} to ${maxTime}: ${what}`);
    this.name = "AggregatesUnequalError";
    this.minTime = minTime;
    this.maxTime = maxTime;
  }
}

/**
 * Sums joined with the counts beside them, other chunks as they are. A count or sum alone, which is what a function
 * over counts or sums asks for, stays.
 *
 * @param chunks As `decodeSeriesResponse` gives them: the aggregates of one chunk side by side, the count first.
 */
export function joinAverages(chunks: readonly WireChunk[]): readonly SampleChunk[] {
  if (!chunks.some(({ aggregate }) => aggregate === "sum")) return chunks;
  const out: SampleChunk[] = [];
  for (const chunk of chunks) {
    const before = out.at(-1);
    const isPair =
      chunk.aggregate === "sum" &&
      before?.aggregate === "count" &&
      before.minTime === chunk.minTime &&
      before.maxTime === chunk.maxTime;
    if (isPair) out[out.length - 1] = { ...chunk, count: before };
    else out.push(chunk);
  }
  return out;
}
