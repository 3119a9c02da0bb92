/**
 * Where the buckets of a native histogram lie. Bucket i of schema s >= -4 is (2^((i-1)/2^s), 2^(i/2^s)], mirrored
 * for negative observations; bucket i of a histogram with custom bounds is (bounds[i-1], bounds[i]].
 *
 *   spans [{offset 1, length 2}, {offset 2, length 1}]  ->  indexes 1 2 5
 *
 * Bounds equal Prometheus' tables bit for bit: fractions of a power of two are rounded from 100 binary digits.
 */

import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type Histogram } from "./histogram.ts";

/** Lower and upper bound of a bucket, both finite or infinite, with its count. */
export type Bucket = { lower: number; upper: number; count: number };

export function usesCustomBuckets(histogram: { schema: number }): boolean {
  return histogram.schema === CUSTOM_BUCKETS_SCHEMA;
}

export function indexesOf(spans: readonly BucketSpan[]): number[] {
  const out: number[] = [];
  let index = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let i = 0; i < length; i++) out.push(index++);
  }
  return out;
}

/** The spans of ascending indexes. */
export function spansOf(indexes: readonly number[]): BucketSpan[] {
  const out: BucketSpan[] = [];
  let end = 0;
  for (const index of indexes) {
    const last = out.at(-1);
    if (last !== undefined && index === end) last.length++;
    else out.push({ offset: index - end, length: 1 });
    end = index + 1;
  }
  return out;
}

const MAX_SCHEMA = 8;
const DIGITS = 100n;

function integerRoot(n: bigint): bigint {
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** 2^(i/256) for i in 0..255, each the nearest double. */
function powersOfTwo(): Float64Array {
  let step = 2n << DIGITS;
  for (let i = 0; i < MAX_SCHEMA; i++) step = integerRoot(step << DIGITS);
  const out = new Float64Array(1 << MAX_SCHEMA);
  const toDouble = DIGITS - 52n;
  let value = 1n << DIGITS;
  for (let i = 0; i < out.length; i++) {
    out[i] = Number((value + (1n << (toDouble - 1n))) >> toDouble) / 2 ** 52;
    value = (value * step) >> DIGITS;
  }
  return out;
}

let powers: Float64Array | null = null;

/** The upper bound of bucket `index`; the largest double for the last bucket before infinity. */
export function exponentialBound(index: number, schema: number): number {
  if (schema < 0) {
    const exponent = index * 2 ** -schema;
    return exponent === 1024 ? Number.MAX_VALUE : 2 ** exponent;
  }
  powers ??= powersOfTwo();
  const perOctave = 2 ** schema;
  const octave = Math.floor(index / perOctave);
  const fraction = powers[(index - octave * perOctave) << (MAX_SCHEMA - schema)] as number;
  if (fraction === 1 && octave === 1024) return Number.MAX_VALUE;
  if (octave > 1023) return Infinity;
  return octave < -1022 ? fraction * 2 ** -1000 * 2 ** (octave + 1000) : fraction * 2 ** octave;
}

/** The upper bound of a positive bucket of any schema. */
export function upperBound(
  index: number,
  histogram: { schema: number; customValues: Float64Array },
): number {
  if (!usesCustomBuckets(histogram)) return exponentialBound(index, histogram.schema);
  if (index < 0) return -Infinity;
  return histogram.customValues[index] ?? Infinity;
}

export function positiveBuckets(histogram: Histogram): Bucket[] {
  return indexesOf(histogram.positiveSpans).map((index, i) => ({
    lower: upperBound(index - 1, histogram),
    upper: upperBound(index, histogram),
    count: histogram.positiveBuckets[i] as number,
  }));
}

/** From the bucket nearest to zero outwards. */
export function negativeBuckets(histogram: Histogram): Bucket[] {
  return indexesOf(histogram.negativeSpans).map((index, i) => ({
    lower: -upperBound(index, histogram),
    upper: -upperBound(index - 1, histogram),
    count: histogram.negativeBuckets[i] as number,
  }));
}

/**
 * All buckets in ascending order, the zero bucket among them when it has a count. A bucket that the zero bucket
 * reaches into is cut at its threshold.
 */
export function allBuckets(histogram: Histogram): Bucket[] {
  const { zeroThreshold, zeroCount } = histogram;
  const out = negativeBuckets(histogram).reverse();
  for (const bucket of out) {
    if (bucket.upper < 0 && bucket.upper > -zeroThreshold) bucket.upper = -zeroThreshold;
  }
  if (zeroCount > 0) out.push({ lower: -zeroThreshold, upper: zeroThreshold, count: zeroCount });
  for (const bucket of positiveBuckets(histogram)) {
    if (bucket.lower > 0 && bucket.lower < zeroThreshold) bucket.lower = zeroThreshold;
    out.push(bucket);
  }
  return out;
}

export function sameBounds(a: Float64Array, b: Float64Array): boolean {
  return a.length === b.length && a.every((bound, i) => bound === b[i]);
}
