/**
 * Native histograms as they are stored. The layout (which buckets there are) is shared by all samples of a chunk;
 * a sample has its numbers as 64 bits each: whole numbers of an integer histogram, bits of doubles of a float one.
 */

import {
  type BucketSpan,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  type Histogram,
} from "@torus/model";
import { bitsOf, doubleOf, STALE_BITS } from "./samples.ts";

export type HistogramLayout = {
  schema: number;
  zeroThreshold: number;
  positiveSpans: readonly BucketSpan[];
  negativeSpans: readonly BucketSpan[];
  /** Upper bounds of schema -53, else empty. */
  customValues: Float64Array;
};

export type StoredHistogram = {
  /** Counts are doubles. */
  float: boolean;
  hint: CounterResetHint;
  layout: HistogramLayout;
  /** Unsigned 64 bits, or bits of a double. */
  zeroCount: bigint;
  count: bigint;
  /** Bits of a double. */
  sum: bigint;
  /** Differences to the bucket before (signed), or bits of doubles: absolute counts. */
  positive: BigInt64Array;
  negative: BigInt64Array;
};

export const EMPTY_LAYOUT: HistogramLayout = {
  schema: 0,
  zeroThreshold: 0,
  positiveSpans: [],
  negativeSpans: [],
  customValues: new Float64Array(0),
};

/** What is kept of a stale sample: that it is one. */
export function staleHistogram(float: boolean): StoredHistogram {
  return {
    float,
    hint: "unknown",
    layout: EMPTY_LAYOUT,
    zeroCount: 0n,
    count: 0n,
    sum: STALE_BITS,
    positive: new BigInt64Array(0),
    negative: new BigInt64Array(0),
  };
}

export function bucketsOf(spans: readonly BucketSpan[]): number {
  let count = 0;
  for (const { length } of spans) count += length;
  return count;
}

/** For the engine: absolute counts as doubles. Whole counts above 2^53 lose their last bits. */
export function toModelHistogram(stored: StoredHistogram): Histogram {
  const { float, layout } = stored;
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = layout;
  return {
    isInteger: !float,
    counterResetHint: stored.hint,
    schema,
    zeroThreshold,
    zeroCount: float ? doubleOf(stored.zeroCount) : Number(stored.zeroCount),
    count: float ? doubleOf(stored.count) : Number(stored.count),
    sum: doubleOf(stored.sum),
    sumIsStale: stored.sum === STALE_BITS,
    positiveSpans: positiveSpans.map((span) => ({ ...span })),
    negativeSpans: negativeSpans.map((span) => ({ ...span })),
    positiveBuckets: countsOf(stored.positive, float),
    negativeBuckets: countsOf(stored.negative, float),
    customValues,
  };
}

function countsOf(buckets: BigInt64Array, float: boolean): Float64Array {
  if (float) return new Float64Array(buckets.buffer, buckets.byteOffset, buckets.length);
  const out = new Float64Array(buckets.length);
  let count = 0n;
  for (let i = 0; i < buckets.length; i++) {
    count += buckets[i] as bigint;
    out[i] = Number(count);
  }
  return out;
}

export function fromModelHistogram(histogram: Histogram): StoredHistogram {
  const float = !histogram.isInteger;
  if (histogram.sumIsStale) return staleHistogram(float);
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = histogram;
  return {
    float,
    hint: histogram.counterResetHint,
    layout: {
      schema,
      zeroThreshold,
      positiveSpans,
      negativeSpans,
      customValues: schema === CUSTOM_BUCKETS_SCHEMA ? customValues : EMPTY_LAYOUT.customValues,
    },
    zeroCount: float ? bitsOf(histogram.zeroCount) : BigInt(histogram.zeroCount),
    count: float ? bitsOf(histogram.count) : BigInt(histogram.count),
    sum: bitsOf(histogram.sum),
    positive: storedCounts(histogram.positiveBuckets, float),
    negative: storedCounts(histogram.negativeBuckets, float),
  };
}

function storedCounts(counts: Float64Array, float: boolean): BigInt64Array {
  if (float) return new BigInt64Array(counts.slice().buffer);
  const out = new BigInt64Array(counts.length);
  let before = 0n;
  for (let i = 0; i < counts.length; i++) {
    const count = BigInt(counts[i] as number);
    out[i] = count - before;
    before = count;
  }
  return out;
}

/** An integer histogram as a float one. */
export function toFloatHistogram(stored: StoredHistogram): StoredHistogram {
  if (stored.float) return stored;
  const floats = (deltas: BigInt64Array): BigInt64Array =>
    new BigInt64Array(countsOf(deltas, false).buffer);
  return {
    ...stored,
    float: true,
    zeroCount: bitsOf(Number(stored.zeroCount)),
    count: bitsOf(Number(stored.count)),
    positive: floats(stored.positive),
    negative: floats(stored.negative),
  };
}
