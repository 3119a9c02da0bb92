/**
 * Whether a native histogram makes sense in itself, by Prometheus' rules and in its words (Prometheus,
 * model/histogram): what a sender gets wrong is told as every Prometheus would tell it.
 */

import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import { doubleOf } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";

const COARSEST_SCHEMA = -4;
const FINEST_SCHEMA = 8;

const COUNT_NOT_BIG_ENOUGH =
  "histogram's observation count should be at least the number of observations found in the buckets";
const COUNT_MISMATCH =
  "histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)";
const NEGATIVE_COUNT = "histogram's observation count is negative";
const NEGATIVE_BUCKET = "histogram has a bucket whose observation count is negative";
const NEGATIVE_OFFSET = "histogram has a span whose offset is negative";
const SPANS_MISMATCH = "histogram spans specify different number of buckets than provided";
const BOUNDS_MISMATCH = "histogram custom bounds are too few";
const BOUNDS_ORDER = "histogram custom bounds must be in strictly increasing order";
const BOUNDS_INFINITE = "histogram custom bounds must be finite";
const BOUNDS_NAN = "histogram custom bounds must not be NaN";

/** What is wrong with it, or null. Of a stale sample nothing is. */
export function histogramError(histogram: StoredHistogram): string | null {
  const { float, layout, positive, negative } = histogram;
  const { schema, positiveSpans, negativeSpans, customValues } = layout;
  if (schema === CUSTOM_BUCKETS_SCHEMA) {
    const wrong = customBoundsError(customValues, positiveSpans, positive.length);
    if (wrong !== null) return `custom buckets: ${wrong}`;
    if (isNonZero(histogram.zeroCount, float)) return "custom buckets: must have zero count of 0";
    if (layout.zeroThreshold !== 0) return "custom buckets: must have zero threshold of 0";
    if (negativeSpans.length > 0) return "custom buckets: must not have negative spans";
    if (negative.length > 0) return "custom buckets: must not have negative buckets";
  } else if (schema >= COARSEST_SCHEMA && schema <= FINEST_SCHEMA) {
    const wrong =
      sideError("positive", spansError(positiveSpans, positive.length)) ??
      sideError("negative", spansError(negativeSpans, negative.length)) ??
      sideError("negative", bucketsError(negative, float));
    if (wrong !== null) return wrong;
    if (customValues.length > 0)
      return "histogram with exponential schema must not have custom bounds";
  } else {
    return `histogram has an invalid schema, which must be between ${COARSEST_SCHEMA} and ${FINEST_SCHEMA} for exponential buckets, or ${CUSTOM_BUCKETS_SCHEMA} for custom buckets: ${schema}`;
  }
  const wrong = sideError("positive", bucketsError(positive, float));
  if (wrong !== null) return wrong;
  return float ? floatCountError(histogram) : integerCountError(histogram);
}

function sideError(side: string, wrong: string | null): string | null {
  return wrong === null ? null : `${side} side: ${wrong}`;
}

/** Float counts are not held against the buckets' sum: both are rounded. */
function floatCountError({ count, zeroCount }: StoredHistogram): string | null {
  const zero = doubleOf(zeroCount);
  if (zero < 0) return `zero bucket has observation count of ${zero}: ${NEGATIVE_BUCKET}`;
  const total = doubleOf(count);
  return total < 0 ? `observation count is ${total}: ${NEGATIVE_COUNT}` : null;
}

function integerCountError(histogram: StoredHistogram): string | null {
  const { count, zeroCount, positive, negative } = histogram;
  const found = zeroCount + total(positive) + total(negative);
  if (Number.isNaN(doubleOf(histogram.sum))) {
    if (found <= count) return null;
    return `${found} observations found in buckets, but the Count field is ${count}: ${COUNT_NOT_BIG_ENOUGH}`;
  }
  if (found === count) return null;
  return `${found} observations found in buckets, but the Count field is ${count}: ${COUNT_MISMATCH}`;
}

function total(deltas: BigInt64Array): bigint {
  let bucket = 0n;
  let sum = 0n;
  for (const delta of deltas) {
    bucket += delta;
    sum += bucket;
  }
  return sum;
}

function isNonZero(count: bigint, float: boolean): boolean {
  return float ? doubleOf(count) !== 0 : count !== 0n;
}

function spansError(spans: readonly BucketSpan[], buckets: number): string | null {
  let wanted = 0;
  for (const [i, { offset, length }] of spans.entries()) {
    if (i > 0 && offset < 0)
      return `span number ${i + 1} with offset ${offset}: ${NEGATIVE_OFFSET}`;
    wanted += length;
  }
  if (wanted === buckets) return null;
  return `spans need ${wanted} buckets, have ${buckets} buckets: ${SPANS_MISMATCH}`;
}

function bucketsError(buckets: BigInt64Array, float: boolean): string | null {
  let count: bigint | number = 0n;
  for (let i = 0; i < buckets.length; i++) {
    const bucket = buckets[i] as bigint;
    if (float) count = doubleOf(BigInt.asUintN(64, bucket));
    else count = BigInt.asIntN(64, (count as bigint) + bucket);
    if (count < 0) {
      return `bucket number ${i + 1} has observation count of ${count}: ${NEGATIVE_BUCKET}`;
    }
  }
  return null;
}

function customBoundsError(
  bounds: Float64Array,
  spans: readonly BucketSpan[],
  buckets: number,
): string | null {
  let before = Number.NEGATIVE_INFINITY;
  for (const bound of bounds) {
    if (Number.isNaN(bound)) return BOUNDS_NAN;
    if (bound <= before) {
      return `previous bound is ${fixed(before)} and current is ${fixed(bound)}: ${BOUNDS_ORDER}`;
    }
    before = bound;
  }
  if (before === Number.POSITIVE_INFINITY) {
    return `last +Inf bound must not be explicitly defined: ${BOUNDS_INFINITE}`;
  }
  let wanted = 0;
  let reach = 0;
  for (const [i, { offset, length }] of spans.entries()) {
    if (offset < 0) return `span number ${i + 1} with offset ${offset}: ${NEGATIVE_OFFSET}`;
    wanted += length;
    reach += length + offset;
  }
  if (wanted !== buckets) {
    return `spans need ${wanted} buckets, have ${buckets} buckets: ${SPANS_MISMATCH}`;
  }
  if (bounds.length + 1 >= reach) return null;
  return `only ${bounds.length} custom bounds defined which is insufficient to cover total span length of ${reach}: ${BOUNDS_MISMATCH}`;
}

/** As Go's %f. */
function fixed(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : value.toFixed(6);
}
