/** Whether two native histograms are one sample sent twice. The counter reset hint is not part of the value. */

import { sameBounds, sameSpans } from "../chunkenc/histogram-layout.ts";
import { STALE_BITS } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";

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

function sameBuckets(a: BigInt64Array, b: BigInt64Array): boolean {
  return a.length === b.length && a.every((bucket, i) => bucket === b[i]);
}
