/**
 * What one native histogram says: quantiles, fractions, spread, and the part below or above a value. Within a bucket
 * observations are taken as spread evenly on a logarithmic scale, in custom and zero buckets on a linear one.
 */

import {
  allBuckets,
  type Bucket,
  type Histogram,
  indexesOf,
  negativeBuckets,
  positiveBuckets,
  spansOf,
  usesCustomBuckets,
} from "@torus/model";
import { KahanSum } from "../sums.ts";

/** What the NaN observations of a histogram did to a quantile. */
export type NanNote = "result is NaN" | "result is skewed higher" | null;

/** A bucket around zero is one-sided when all other buckets are on one side. */
function biased(bucket: Bucket, h: Histogram): Bucket {
  const { lower, upper, count } = bucket;
  if (h.negativeBuckets.length === 0 && h.positiveBuckets.length > 0)
    return { lower: 0, upper, count };
  if (h.positiveBuckets.length === 0 && h.negativeBuckets.length > 0)
    return { lower, upper: 0, count };
  return bucket;
}

export function histogramQuantile(q: number, h: Histogram): { value: number; note: NanNote } {
  const plain = (value: number) => ({ value, note: null });
  if (q < 0) return plain(-Infinity);
  if (q > 1) return plain(Infinity);
  if (h.count === 0 || Number.isNaN(q)) return plain(Number.NaN);
  const custom = usesCustomBuckets(h);
  const hasNan = Number.isNaN(h.sum);
  const forward = hasNan || q < 0.5;
  const buckets = allBuckets(h);
  if (!forward) buckets.reverse();
  let rank = forward ? q * h.count : (1 - q) * h.count;
  let count = 0;
  let bucket: Bucket = { lower: 0, upper: 0, count: 0 };
  for (const candidate of buckets) {
    if (candidate.count === 0) continue;
    bucket = candidate;
    count += candidate.count;
    if (count >= rank) break;
  }
  const note: NanNote = hasNan ? "result is skewed higher" : null;
  let { lower, upper } = bucket;
  if (!custom && lower < 0 && upper > 0) ({ lower, upper } = biased(bucket, h));
  else if (custom) {
    if (lower === -Infinity) {
      if (upper <= 0) return { value: upper, note };
      lower = 0;
    } else if (upper === Infinity) return { value: lower, note };
  }
  if (count > h.count) count = h.count;
  if (count < rank) {
    return hasNan ? { value: Number.NaN, note: "result is NaN" } : plain(upper);
  }
  rank = forward ? rank - (count - bucket.count) : count - rank;
  const fraction = rank / bucket.count;
  if (custom || (lower <= 0 && upper >= 0)) {
    return { value: lower + (upper - lower) * fraction, note };
  }
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  return {
    value:
      lower > 0
        ? 2 ** (logLower + (logUpper - logLower) * fraction)
        : -(2 ** (logUpper + (logLower - logUpper) * (1 - fraction))),
    note,
  };
}

/** How much of a bucket lies below `value`, which is inside it. */
function fractionBelow(value: number, bucket: Bucket, linear: boolean): number {
  const { lower, upper } = bucket;
  if (linear) {
    if (lower === -Infinity) return 1;
    return upper === Infinity ? 0 : (value - lower) / (upper - lower);
  }
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  const logValue = Math.log2(Math.abs(value));
  return value > 0
    ? (logValue - logLower) / (logUpper - logLower)
    : 1 - (logValue - logUpper) / (logLower - logUpper);
}

/** The share of observations in [from, to]. NaN observations are in none. */
export function histogramFraction(from: number, to: number, h: Histogram): number {
  if (h.count === 0 || Number.isNaN(from) || Number.isNaN(to)) return Number.NaN;
  if (from >= to) return 0;
  const custom = usesCustomBuckets(h);
  let rank = 0;
  let fromRank: number | null = null;
  let toRank: number | null = null;
  for (const given of allBuckets(h)) {
    const aroundZero = given.lower <= 0 && given.upper >= 0;
    const bucket = aroundZero ? biased(given, h) : given;
    const inside = (value: number) =>
      rank + bucket.count * fractionBelow(value, bucket, custom || aroundZero);
    const place = (value: number): number | null => {
      if (bucket.lower >= value) return rank;
      return bucket.upper > value ? inside(value) : null;
    };
    fromRank ??= place(from);
    toRank ??= place(to);
    if (fromRank !== null && toRank !== null) break;
    rank += bucket.count;
  }
  // `rank` is the number of all that are in buckets where a bound lies beyond them.
  const lowerRank = Math.min(fromRank ?? rank, h.count);
  const upperRank = Math.min(toRank ?? rank, h.count);
  return (upperRank - lowerRank) / h.count;
}

export function histogramVariance(h: Histogram): number {
  const mean = h.sum / h.count;
  const sum = new KahanSum();
  for (const { lower, upper, count } of allBuckets(h)) {
    if (count === 0) continue;
    let value: number;
    if (usesCustomBuckets(h)) value = (upper + lower) / 2;
    else if (lower <= 0 && upper >= 0) value = 0;
    else {
      value = Math.sqrt(upper * lower);
      if (upper < 0) value = -value;
    }
    const delta = value - mean;
    sum.add(count * delta * delta);
  }
  return sum.total / h.count;
}

/** The value that stands for the observations of a bucket when a sum is estimated. */
function middle(lower: number, upper: number, linear: boolean): number {
  if (lower === -Infinity) return upper === Infinity ? 0 : upper;
  if (upper === Infinity) return lower;
  if (linear) return (lower + upper) / 2;
  const value = Math.sqrt(Math.abs(lower * upper));
  return lower < 0 ? -value : value;
}

/**
 * The observations below `value` (`</`), or above it (`>/`). A bucket that `value` falls into is divided; one
 * without an end on that side is left out below, and kept above. The sum is estimated when anything was left out.
 */
export function trimmed(h: Histogram, value: number, below: boolean): Histogram {
  const custom = usesCustomBuckets(h);
  let dropped = false;
  let count = 0;
  let sum = 0;
  const kept = (given: Bucket, aroundZero: boolean): number => {
    if (given.count === 0) return 0;
    const linear = custom || aroundZero;
    let { lower, upper } = aroundZero && !custom ? biased(given, h) : given;
    let rest = given.count;
    if (custom && lower === -Infinity && upper > 0 && upper !== Infinity) lower = 0;
    const cut = (bound: "lower" | "upper") => {
      dropped = true;
      if (bound === "lower") lower = value;
      else upper = value;
    };
    const endless = given.upper === Infinity && custom;
    if (below) {
      if (endless) {
        if (value !== Infinity) rest = 0;
      } else if (lower === -Infinity) {
        // Nothing is known of where they are: all count as below, at the value where that is lower.
        if (value === -Infinity) rest = 0;
        else if (value < upper) cut("upper");
      } else if (value <= lower) rest = 0;
      else if (value < upper) {
        rest *= fractionBelow(value, { lower, upper, count: rest }, linear);
        cut("upper");
      }
    } else if (given.lower === -Infinity && (endless || value < 0 || upper <= 0)) {
      if (value !== -Infinity) rest = 0;
    } else if (endless) {
      if (value === Infinity) rest = 0;
      else if (value > lower) cut("lower");
    } else if (value >= upper) rest = 0;
    else if (value > lower) {
      rest -= rest * fractionBelow(value, { lower, upper, count: rest }, linear);
      cut("lower");
    }
    if (rest !== given.count) dropped = true;
    count += rest;
    if (rest !== 0) sum += rest * middle(lower, upper, linear);
    return rest;
  };
  const negative = negativeBuckets(h);
  const negativeCounts = Float64Array.from(negative, (bucket) => kept(bucket, false));
  const zeroCount =
    h.zeroCount > 0
      ? kept({ lower: -h.zeroThreshold, upper: h.zeroThreshold, count: h.zeroCount }, true)
      : 0;
  const positiveCounts = Float64Array.from(positiveBuckets(h), (bucket) => kept(bucket, false));
  if (!dropped) return h;
  const side = (indexes: number[], counts: Float64Array) => ({
    spans: spansOf(indexes.filter((_, i) => counts[i] !== 0)),
    buckets: counts.filter((n) => n !== 0),
  });
  const low = side(indexesOf(h.negativeSpans), negativeCounts);
  const high = side(indexesOf(h.positiveSpans), positiveCounts);
  return {
    ...h,
    count,
    sum,
    zeroCount,
    negativeSpans: low.spans,
    negativeBuckets: low.buckets,
    positiveSpans: high.spans,
    positiveBuckets: high.buckets,
  };
}
