/**
 * Sums of native histograms: a histogram opened for adding, subtracting and scaling, at the coarser of two
 * resolutions, the wider of two zero buckets, or the bounds that two sets of custom buckets share.
 */

import type { BucketSpan, CounterResetHint, Histogram } from "./histogram.ts";
import {
  exponentialBound,
  indexesOf,
  sameBounds,
  spansOf,
  upperBound,
  usesCustomBuckets,
} from "./histogram-buckets.ts";

/** Exponential and custom buckets cannot meet. */
export class IncompatibleHistogramsError extends Error {
  constructor() {
    super(
      "cannot apply this operation on histograms with a mix of exponential and custom bucket schemas",
    );
    this.name = "IncompatibleHistogramsError";
  }
}

/** Counts by ascending bucket index; `c` compensates for what rounding lost. */
type Side = { at: number[]; counts: number[]; c: number[] };

/** What an addition met on its way. */
export type Addition = {
  /** One side said that counters were reset, the other that they were not. */
  collision: boolean;
  /** Custom bounds differed, and only the shared ones were kept. */
  reconciled: boolean;
};

function compensation(sum: number, value: number, next: number, c: number): number {
  if (next === Infinity || next === -Infinity) return 0;
  return Math.abs(sum) >= Math.abs(value) ? c + (sum - next + value) : c + (value - next + sum);
}

function sideOf(spans: readonly BucketSpan[], buckets: Float64Array): Side {
  return { at: indexesOf(spans), counts: [...buckets], c: Array.from(buckets, () => 0) };
}

/** Buckets brought to new indexes, which ascend; those that meet are added. */
function moved(side: Side, indexOf: (index: number) => number): Side {
  const out: Side = { at: [], counts: [], c: [] };
  for (let i = 0; i < side.at.length; i++) {
    const at = indexOf(side.at[i] as number);
    const last = out.at.length - 1;
    if (last >= 0 && out.at[last] === at) {
      out.counts[last] = (out.counts[last] as number) + (side.counts[i] as number);
      out.c[last] = (out.c[last] as number) + (side.c[i] as number);
    } else {
      out.at.push(at);
      out.counts.push(side.counts[i] as number);
      out.c.push(side.c[i] as number);
    }
  }
  return out;
}

function merged(a: Side, b: Side, sign: 1 | -1, compensated: boolean): Side {
  const out: Side = { at: [], counts: [], c: [] };
  let i = 0;
  let j = 0;
  while (i < a.at.length || j < b.at.length) {
    const left = a.at[i] ?? Infinity;
    const right = b.at[j] ?? Infinity;
    out.at.push(Math.min(left, right));
    if (left < right) {
      out.counts.push(a.counts[i] as number);
      out.c.push(a.c[i++] as number);
      continue;
    }
    const value = sign * (b.counts[j++] as number);
    if (right < left) {
      out.counts.push(value);
      out.c.push(0);
      continue;
    }
    const old = a.counts[i] as number;
    const c = a.c[i++] as number;
    out.counts.push(old + value);
    out.c.push(compensated ? compensation(old, value, old + value, c) : c);
  }
  return out;
}

export function reducedIndex(index: number, from: number, to: number): number {
  return Math.ceil(index / 2 ** (from - to));
}

/** The bounds in both lists. Ascending. */
function sharedBounds(a: Float64Array, b: Float64Array): Float64Array {
  const there = new Set(b);
  return a.filter((bound) => there.has(bound));
}

function customIndex(index: number, from: Float64Array, to: Float64Array): number {
  const bound = from[index];
  if (bound === undefined) return to.length;
  const at = to.findIndex((candidate) => candidate >= bound);
  return at < 0 ? to.length : at;
}

type Zeroed = {
  schema: number;
  zeroThreshold: number;
  zeroCount: number;
  positive: { at: readonly number[]; counts: readonly number[] };
  negative: { at: readonly number[]; counts: readonly number[] };
};

/**
 * The zero bucket widened to `threshold`, and further where that falls into a bucket with observations:
 * the count it has then and its threshold.
 */
function widenedZero(h: Zeroed, threshold: number): [count: number, threshold: number] {
  let widest = threshold;
  for (;;) {
    let count = h.zeroCount;
    let before = widest;
    for (const side of [h.positive, h.negative]) {
      before = widest;
      for (let i = 0; i < side.at.length; i++) {
        const index = side.at[i] as number;
        if (exponentialBound(index - 1, h.schema) >= widest) break;
        const upper = exponentialBound(index, h.schema);
        const inside = side.counts[i] as number;
        count += inside;
        if (upper <= widest) continue;
        if (inside !== 0) widest = upper;
        break;
      }
    }
    // Where a negative bucket widened it, the positive ones are counted again.
    if (widest === before) return [count, widest];
  }
}

export function zeroCountWithin(h: Histogram, threshold: number): [number, number] {
  if (threshold === h.zeroThreshold) return [h.zeroCount, threshold];
  return widenedZero(
    {
      ...h,
      positive: { at: indexesOf(h.positiveSpans), counts: [...h.positiveBuckets] },
      negative: { at: indexesOf(h.negativeSpans), counts: [...h.negativeBuckets] },
    },
    threshold,
  );
}

export class HistogramSum {
  #schema: number;
  #zeroThreshold: number;
  #zeroCount: number;
  #zeroC = 0;
  #count: number;
  #countC = 0;
  #sum: number;
  #sumC = 0;
  #positive: Side;
  #negative: Side;
  #customValues: Float64Array;
  counterResetHint: CounterResetHint;

  constructor(first: Histogram) {
    this.#schema = first.schema;
    this.#zeroThreshold = first.zeroThreshold;
    this.#zeroCount = first.zeroCount;
    this.#count = first.count;
    this.#sum = first.sum;
    this.#positive = sideOf(first.positiveSpans, first.positiveBuckets);
    this.#negative = sideOf(first.negativeSpans, first.negativeBuckets);
    this.#customValues = first.customValues;
    this.counterResetHint = first.counterResetHint;
  }

  /** With `compensated`, rounding errors are summed apart and added by `result`. @throws {IncompatibleHistogramsError} */
  add(other: Histogram, sign: 1 | -1 = 1, compensated = false): Addition {
    const custom = usesCustomBuckets({ schema: this.#schema });
    if (custom !== usesCustomBuckets(other)) throw new IncompatibleHistogramsError();
    const collision = this.#joinHints(other.counterResetHint);
    let reconciled = false;
    let positive = sideOf(other.positiveSpans, other.positiveBuckets);
    let negative = sideOf(other.negativeSpans, other.negativeBuckets);
    if (custom) {
      if (!sameBounds(this.#customValues, other.customValues)) {
        reconciled = true;
        const bounds = sharedBounds(this.#customValues, other.customValues);
        const own = this.#customValues;
        this.#positive = moved(this.#positive, (index) => customIndex(index, own, bounds));
        positive = moved(positive, (index) => customIndex(index, other.customValues, bounds));
        this.#customValues = bounds;
      }
    } else {
      const zeroCount = sign * this.#joinZeroBuckets(other, positive, negative);
      const next = this.#zeroCount + zeroCount;
      if (compensated) this.#zeroC = compensation(this.#zeroCount, zeroCount, next, this.#zeroC);
      this.#zeroCount = next;
      if (other.schema < this.#schema) this.reduceTo(other.schema);
      else if (other.schema > this.#schema) {
        const to = (index: number) => reducedIndex(index, other.schema, this.#schema);
        positive = moved(positive, to);
        negative = moved(negative, to);
      }
      positive = this.#outsideZero(positive);
      negative = this.#outsideZero(negative);
    }
    const count = this.#count + sign * other.count;
    const sum = this.#sum + sign * other.sum;
    if (compensated) {
      this.#countC = compensation(this.#count, sign * other.count, count, this.#countC);
      this.#sumC = compensation(this.#sum, sign * other.sum, sum, this.#sumC);
    }
    this.#count = count;
    this.#sum = sum;
    this.#positive = merged(this.#positive, positive, sign, compensated);
    this.#negative = merged(this.#negative, negative, sign, compensated);
    return { collision, reconciled };
  }

  reduceTo(schema: number): void {
    const from = this.#schema;
    if (schema >= from) return;
    this.#positive = moved(this.#positive, (index) => reducedIndex(index, from, schema));
    this.#negative = moved(this.#negative, (index) => reducedIndex(index, from, schema));
    this.#schema = schema;
  }

  /** Multiplies. A negative factor makes a gauge. */
  scale(factor: number): void {
    this.#each((value) => value * factor);
    if (factor < 0) this.counterResetHint = "gauge";
  }

  /** Divides. Division by zero leaves no buckets. */
  divide(divisor: number): void {
    this.#each((value) => value / divisor);
    if (divisor < 0) this.counterResetHint = "gauge";
    if (divisor !== 0) return;
    this.#positive = { at: [], counts: [], c: [] };
    this.#negative = { at: [], counts: [], c: [] };
  }

  #each(map: (value: number) => number): void {
    this.#zeroCount = map(this.#zeroCount);
    this.#count = map(this.#count);
    this.#sum = map(this.#sum);
    const compensationOf = (value: number) => (value === 0 ? 0 : map(value));
    this.#zeroC = compensationOf(this.#zeroC);
    this.#countC = compensationOf(this.#countC);
    this.#sumC = compensationOf(this.#sumC);
    for (const side of [this.#positive, this.#negative]) {
      side.counts = side.counts.map(map);
      side.c = side.c.map(compensationOf);
    }
  }

  /** True when a count or the sum became infinite. */
  get overflown(): boolean {
    const infinite = (value: number) => value === Infinity || value === -Infinity;
    return (
      infinite(this.#count) ||
      infinite(this.#sum) ||
      infinite(this.#zeroCount) ||
      this.#positive.counts.some(infinite) ||
      this.#negative.counts.some(infinite)
    );
  }

  copy(): HistogramSum {
    const out = new HistogramSum(this.#histogram(false));
    out.#zeroC = this.#zeroC;
    out.#countC = this.#countC;
    out.#sumC = this.#sumC;
    out.#positive.c = [...this.#positive.c];
    out.#negative.c = [...this.#negative.c];
    return out;
  }

  /** Without empty buckets. */
  result(): Histogram {
    return compacted(this.#histogram(true));
  }

  #histogram(compensated: boolean): Histogram {
    const total = (value: number, c: number) => (compensated ? value + c : value);
    const counts = (side: Side) =>
      Float64Array.from(side.counts, (value, i) => total(value, side.c[i] as number));
    return {
      isInteger: false,
      counterResetHint: this.counterResetHint,
      schema: this.#schema,
      zeroThreshold: this.#zeroThreshold,
      zeroCount: total(this.#zeroCount, this.#zeroC),
      count: total(this.#count, this.#countC),
      sum: total(this.#sum, this.#sumC),
      sumIsStale: false,
      positiveSpans: spansOf(this.#positive.at),
      negativeSpans: spansOf(this.#negative.at),
      positiveBuckets: counts(this.#positive),
      negativeBuckets: counts(this.#negative),
      customValues: this.#customValues,
    };
  }

  #joinHints(other: CounterResetHint): boolean {
    const own = this.counterResetHint;
    if (own === other || own === "gauge") return false;
    if (other === "gauge") this.counterResetHint = "gauge";
    else if (own !== "unknown") {
      this.counterResetHint = "unknown";
      return other !== "unknown";
    }
    return false;
  }

  /** Widens this zero bucket until both have one threshold; returns what the other's holds then. */
  #joinZeroBuckets(other: Histogram, positive: Side, negative: Side): number {
    let count = other.zeroCount;
    let threshold = other.zeroThreshold;
    // Not `!==`: a threshold of NaN would never come to an end.
    while (threshold < this.#zeroThreshold || threshold > this.#zeroThreshold) {
      if (this.#zeroThreshold > threshold) {
        [count, threshold] = widenedZero({ ...other, positive, negative }, this.#zeroThreshold);
      }
      if (threshold > this.#zeroThreshold) {
        [this.#zeroCount, this.#zeroThreshold] = widenedZero(
          {
            schema: this.#schema,
            zeroThreshold: this.#zeroThreshold,
            zeroCount: this.#zeroCount,
            positive: this.#positive,
            negative: this.#negative,
          },
          threshold,
        );
        this.#positive = this.#trimmed(this.#positive);
        this.#negative = this.#trimmed(this.#negative);
      }
    }
    return count;
  }

  /** Own buckets that the zero bucket took in are gone. */
  #trimmed(side: Side): Side {
    return this.#filtered(
      side,
      (index) => exponentialBound(index - 1, this.#schema) >= this.#zeroThreshold,
    );
  }

  #outsideZero(side: Side): Side {
    if (this.#zeroThreshold === 0) return side;
    return this.#filtered(
      side,
      (index) => exponentialBound(index, this.#schema) > this.#zeroThreshold,
    );
  }

  #filtered(side: Side, keep: (index: number) => boolean): Side {
    const from = side.at.findIndex(keep);
    if (from === 0) return side;
    if (from < 0) return { at: [], counts: [], c: [] };
    return { at: side.at.slice(from), counts: side.counts.slice(from), c: side.c.slice(from) };
  }
}

/** The same histogram without buckets of no observations. */
export function compacted(h: Histogram): Histogram {
  const side = (spans: readonly BucketSpan[], buckets: Float64Array) => {
    const kept = indexesOf(spans).filter((_, i) => buckets[i] !== 0);
    return { spans: spansOf(kept), buckets: buckets.filter((count) => count !== 0) };
  };
  const positive = side(h.positiveSpans, h.positiveBuckets);
  const negative = side(h.negativeSpans, h.negativeBuckets);
  return {
    ...h,
    positiveSpans: positive.spans,
    positiveBuckets: positive.buckets,
    negativeSpans: negative.spans,
    negativeBuckets: negative.buckets,
  };
}

export function addHistograms(
  a: Histogram,
  b: Histogram,
  sign: 1 | -1,
): Addition & { histogram: Histogram } {
  const sum = new HistogramSum(a);
  const met = sum.add(b, sign);
  return { ...met, histogram: sum.result() };
}

export function scaledHistogram(h: Histogram, factor: number): Histogram {
  const sum = new HistogramSum(h);
  sum.scale(factor);
  return sum.result();
}

export function dividedHistogram(h: Histogram, divisor: number): Histogram {
  const sum = new HistogramSum(h);
  sum.divide(divisor);
  return sum.result();
}

/** Bit for bit, apart from the reset hint; buckets of no observations count. */
export function histogramsEqual(a: Histogram, b: Histogram): boolean {
  const sameCounts = (x: Float64Array, y: Float64Array) =>
    x.length === y.length && x.every((value, i) => Object.is(value, y[i]));
  const sameIndexes = (x: readonly BucketSpan[], y: readonly BucketSpan[]) => {
    const left = indexesOf(x);
    const right = indexesOf(y);
    return left.length === right.length && left.every((index, i) => index === right[i]);
  };
  return (
    a.schema === b.schema &&
    Object.is(a.count, b.count) &&
    Object.is(a.sum, b.sum) &&
    (!usesCustomBuckets(a) || sameBounds(a.customValues, b.customValues)) &&
    a.zeroThreshold === b.zeroThreshold &&
    Object.is(a.zeroCount, b.zeroCount) &&
    sameIndexes(a.positiveSpans, b.positiveSpans) &&
    sameIndexes(a.negativeSpans, b.negativeSpans) &&
    sameCounts(a.positiveBuckets, b.positiveBuckets) &&
    sameCounts(a.negativeBuckets, b.negativeBuckets)
  );
}

/** Whether the counters of `h` were reset since `previous`, by its hint or else by what fell. */
export function isCounterReset(h: Histogram, previous: Histogram): boolean {
  if (h.counterResetHint === "reset") return true;
  if (h.counterResetHint === "not_reset") return false;
  if (h.count < previous.count) return true;
  const custom = usesCustomBuckets(h);
  if (custom !== usesCustomBuckets(previous)) return true;
  const counts = (of: Histogram, name: "positive" | "negative", to: (index: number) => number) => {
    const out = new Map<number, number>();
    indexesOf(of[`${name}Spans`]).forEach((index, i) => {
      const at = to(index);
      out.set(at, (out.get(at) ?? 0) + (of[`${name}Buckets`][i] as number));
    });
    return out;
  };
  const fell = (now: Map<number, number>, before: Map<number, number>) =>
    [...before].some(([index, count]) => count > (now.get(index) ?? 0));
  if (custom) {
    const bounds = sharedBounds(h.customValues, previous.customValues);
    const to = (of: Histogram) => (index: number) => customIndex(index, of.customValues, bounds);
    return fell(counts(h, "positive", to(h)), counts(previous, "positive", to(previous)));
  }
  if (h.schema > previous.schema || h.zeroThreshold < previous.zeroThreshold) return true;
  const [zeroCount, threshold] = zeroCountWithin(previous, h.zeroThreshold);
  if (threshold !== h.zeroThreshold || h.zeroCount < zeroCount) return true;
  for (const side of ["positive", "negative"] as const) {
    const before = counts(previous, side, (index) =>
      reducedIndex(index, previous.schema, h.schema),
    );
    for (const index of before.keys()) {
      if (upperBound(index, h) <= h.zeroThreshold) before.delete(index);
    }
    if (
      fell(
        counts(h, side, (index) => index),
        before,
      )
    )
      return true;
  }
  return false;
}
