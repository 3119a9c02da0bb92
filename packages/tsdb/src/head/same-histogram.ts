/** Whether two native histograms are one sample sent twice. The counter reset hint is not part of the value. */

import type { BucketSpan } from "@torus/model";
import { bucketIndexes, sameBounds, sameSpans } from "../chunkenc/histogram-layout.ts";
import { STALE_BITS } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import type { SampleValue } from "./sample-records.ts";

export function sameHistogram(a: StoredHistogram, b: StoredHistogram): boolean {
  if (a.float !== b.float || a.sum !== b.sum) return false;
  if (a.sum === STALE_BITS) return true;
  const one = a.layout;
  const other = b.layout;
  return (
    a.count === b.count &&
    a.zeroCount === b.zeroCount &&
    one.schema === other.schema &&
    one.zeroThreshold === other.zeroThreshold &&
    sameSpans(one.positiveSpans, other.positiveSpans) &&
    sameSpans(one.negativeSpans, other.negativeSpans) &&
    sameBounds(one.customValues, other.customValues) &&
    sameBuckets(a.positive, b.positive) &&
    sameBuckets(a.negative, b.negative)
  );
}

/**
 * Whether two values are one sample, of which either may come from a chunk: there a histogram has the buckets of all
 * its chunk's samples, so empty ones do not count.
 */
export function sameSample(a: SampleValue, b: SampleValue): boolean {
  if (typeof a === "bigint" || typeof b === "bigint") return a === b;
  return sameHistogram(withoutEmpty(a), withoutEmpty(b));
}

/** With a span of its own for each bucket that counts something; the buckets are absolute. */
function withoutEmpty(histogram: StoredHistogram): StoredHistogram {
  const { float, layout } = histogram;
  const [positiveSpans, positive] = filled(layout.positiveSpans, histogram.positive, float);
  const [negativeSpans, negative] = filled(layout.negativeSpans, histogram.negative, float);
  return {
    ...histogram,
    positive,
    negative,
    layout: { ...layout, positiveSpans, negativeSpans },
  };
}

function filled(
  spans: readonly BucketSpan[],
  buckets: BigInt64Array,
  float: boolean,
): [BucketSpan[], BigInt64Array] {
  const left: BucketSpan[] = [];
  const counts: bigint[] = [];
  let count = 0n;
  for (const [i, offset] of bucketIndexes(spans).entries()) {
    count = (float ? 0n : count) + (buckets[i] as bigint);
    if (count === 0n) continue;
    left.push({ offset, length: 1 });
    counts.push(count);
  }
  return [left, BigInt64Array.from(counts)];
}

function sameBuckets(a: BigInt64Array, b: BigInt64Array): boolean {
  return a.length === b.length && a.every((bucket, i) => bucket === b[i]);
}
