/** The buckets of a native histogram as the API lists them: lowest first, empty ones left out. */

import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type Histogram } from "@torus/model";

export type JsonBucket = {
  /** 0 for (lower, upper], 1 for [lower, upper), 2 for open, 3 for closed bounds. */
  bounds: 0 | 1 | 2 | 3;
  lower: number;
  upper: number;
  count: number;
};

export function histogramBuckets(histogram: Histogram): JsonBucket[] {
  const { schema, zeroCount, zeroThreshold } = histogram;
  const out: JsonBucket[] = [];
  const positive = [...indexed(histogram.positiveSpans, histogram.positiveBuckets)];
  const negative = [...indexed(histogram.negativeSpans, histogram.negativeBuckets)].reverse();
  for (const { index, count } of negative) {
    if (count === 0) continue;
    out.push({
      bounds: 1,
      lower: -upperBound(histogram, schema, index),
      upper: -upperBound(histogram, schema, index - 1),
      count,
    });
  }
  if (zeroCount !== 0) {
    out.push({ bounds: 3, lower: -zeroThreshold, upper: zeroThreshold, count: zeroCount });
  }
  for (const { index, count } of positive) {
    if (count === 0) continue;
    out.push({
      bounds: 0,
      lower: upperBound(histogram, schema, index - 1),
      upper: upperBound(histogram, schema, index),
      count,
    });
  }
  return out;
}

function* indexed(
  spans: readonly BucketSpan[],
  counts: Float64Array,
): Generator<{ index: number; count: number }> {
  let index = 0;
  let at = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let i = 0; i < length; i++) yield { index: index++, count: counts[at++] as number };
  }
}

/** The upper bound of an exponential bucket, 2^(index * 2^-schema), or of a custom one. */
function upperBound({ customValues }: Histogram, schema: number, index: number): number {
  if (schema === CUSTOM_BUCKETS_SCHEMA) {
    if (index < 0) return Number.NEGATIVE_INFINITY;
    return customValues[index] ?? Number.POSITIVE_INFINITY;
  }
  return 2 ** (index * 2 ** -schema);
}
