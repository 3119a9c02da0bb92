/**
 * Functions over windows of float samples. A kernel sees one series and all its windows at once: window i is
 * samples lo[i]..hi[i]-1, those in (ends[i] - rangeMs, ends[i]].
 */

import type { Histogram } from "@torus/model";
import type { Notes } from "../annotations.ts";
import type { Column } from "../column.ts";
import { KahanSum, mean, quantileOf, sortedNanFirst, variance } from "../sums.ts";
import { slidingQuantile } from "./sliding-quantile.ts";
import { noteOverlaps, startsAnew, zeroTime } from "./start-timestamps.ts";

export type Windows = {
  /** Milliseconds, ascending, without stale samples. */
  timestamps: Float64Array;
  /** Undefined content where `histograms` has a sample. */
  values: Float64Array;
  histograms: readonly (Histogram | undefined)[] | null;
  /** Start timestamps in ms, 0 where unknown; null where they are unknown or not asked for. */
  startTimestamps: Float64Array | null;
  lo: Int32Array;
  hi: Int32Array;
  /** Where each window ends, in ms: the step's time after `@` and offset. */
  ends: Float64Array;
  rangeMs: number;
};

/** Scalar arguments at a step. */
export type ScalarArgs = readonly Float64Array[];

/** The value of one window of at least one sample, or undefined for none. */
type WindowFn = (
  w: Windows,
  lo: number,
  hi: number,
  step: number,
  args: ScalarArgs,
  stepMs: number,
) => number | undefined;

export type RangeKernel = (
  w: Windows,
  out: Column,
  args: ScalarArgs,
  stepTimes: Float64Array,
  context: { metric: string; notes: Notes },
) => void;

function perWindow(fn: WindowFn): RangeKernel {
  return (w, out, args, stepTimes) => {
    for (let i = 0; i < w.lo.length; i++) {
      const lo = w.lo[i] as number;
      const hi = w.hi[i] as number;
      if (hi <= lo) continue;
      const value = fn(w, lo, hi, i, args, stepTimes[i] as number);
      if (value === undefined) continue;
      out.values[i] = value;
      out.present[i] = 1;
    }
  };
}

/**
 * rate, increase and delta: the difference of first and last, extended to the window's ends by at most half an
 * average distance when the end is further than 1.1 distances away. The order of operations is Prometheus'.
 */
function extrapolated(isCounter: boolean, isRate: boolean): RangeKernel {
  const plain = extrapolatedPlain(isCounter, isRate);
  return (w, out, args, stepTimes, context) => {
    if (!isCounter || w.startTimestamps === null) plain(w, out, args, stepTimes, context);
    else extrapolatedFromStarts(w, out, isRate, context);
  };
}

function extrapolatedFromStarts(
  w: Windows,
  out: Column,
  isRate: boolean,
  context: { metric: string; notes: Notes },
): void {
  const { timestamps, values } = w;
  for (let i = 0; i < w.lo.length; i++) {
    const lo = w.lo[i] as number;
    const hi = w.hi[i] as number;
    if (hi <= lo) continue;
    const end = w.ends[i] as number;
    noteOverlaps(w, lo, hi, context);
    const zeroAt = zeroTime(w, lo, end - w.rangeMs);
    if (hi - lo < 2 && zeroAt === null) continue;
    const first = values[lo] as number;
    let result = (values[hi - 1] as number) - (zeroAt === null ? first : 0);
    for (let k = lo + 1; k < hi; k++) {
      const previous = values[k - 1] as number;
      if ((values[k] as number) < previous || startsAnew(w, k)) result += previous;
    }
    let factor = extrapolationFactor({
      firstTime: timestamps[lo] as number,
      lastTime: timestamps[hi - 1] as number,
      intervals: hi - 1 - lo,
      end,
      rangeMs: w.rangeMs,
      zeroShare: result > 0 && first >= 0 ? first / result : null,
      zeroTime: zeroAt,
    });
    if (isRate) factor /= w.rangeMs / 1000;
    out.values[i] = result * factor;
    out.present[i] = 1;
  }
}

/** Counter resets up to each sample, so that a window without any needs no walk; null where there is none at all. */
function resetsUpTo(values: Float64Array): Int32Array | null {
  let first = 1;
  while (first < values.length && !((values[first] as number) < (values[first - 1] as number))) {
    first++;
  }
  if (first >= values.length) return null;
  const out = new Int32Array(values.length);
  let count = 0;
  for (let i = first; i < values.length; i++) {
    if ((values[i] as number) < (values[i - 1] as number)) count++;
    out[i] = count;
  }
  return out;
}

function extrapolatedPlain(isCounter: boolean, isRate: boolean): RangeKernel {
  return (w, out) => {
    const { timestamps, values, lo: los, hi: his, ends, rangeMs } = w;
    const resets = isCounter ? resetsUpTo(values) : null;
    const rangeSeconds = rangeMs / 1000;
    for (let i = 0; i < los.length; i++) {
      const lo = los[i] as number;
      const last = (his[i] as number) - 1;
      if (last <= lo) continue;
      const firstValue = values[lo] as number;
      let result = (values[last] as number) - firstValue;
      if (resets !== null && resets[last] !== resets[lo]) {
        let previous = firstValue;
        for (let k = lo + 1; k <= last; k++) {
          const value = values[k] as number;
          if (value < previous) result += previous;
          previous = value;
        }
      }
      const firstTime = timestamps[lo] as number;
      const lastTime = timestamps[last] as number;
      const end = ends[i] as number;
      let toStart = (firstTime - (end - rangeMs)) / 1000;
      let toEnd = (end - lastTime) / 1000;
      const sampled = (lastTime - firstTime) / 1000;
      const distance = sampled / (last - lo);
      const threshold = distance * 1.1;
      if (toStart >= threshold) toStart = distance / 2;
      if (isCounter && result > 0 && firstValue >= 0) {
        const toZero = sampled * (firstValue / result);
        if (toZero < toStart) toStart = toZero;
      }
      if (toEnd >= threshold) toEnd = distance / 2;
      let factor = (sampled + toStart + toEnd) / sampled;
      if (isRate) factor /= rangeSeconds;
      out.values[i] = result * factor;
      out.present[i] = 1;
    }
  };
}

function instantDelta(isRate: boolean): WindowFn {
  return (w, lo, hi) => {
    if (hi - lo < 2) return undefined;
    const last = w.values[hi - 1] as number;
    const previous = w.values[hi - 2] as number;
    const difference =
      isRate && (last < previous || startsAnew(w, hi - 1)) ? last : last - previous;
    const ms = (w.timestamps[hi - 1] as number) - (w.timestamps[hi - 2] as number);
    if (ms === 0) return undefined;
    return isRate ? difference / (ms / 1000) : difference;
  };
}

/** Slope and intercept at `interceptMs` by least squares; a constant series has slope 0. */
function regression(
  w: Windows,
  lo: number,
  hi: number,
  interceptMs: number,
): [slope: number, intercept: number] {
  const sumX = new KahanSum();
  const sumY = new KahanSum();
  const sumXY = new KahanSum();
  const sumX2 = new KahanSum();
  const first = w.values[lo] as number;
  let constant = true;
  for (let i = lo; i < hi; i++) {
    const y = w.values[i] as number;
    if (y !== first) constant = false;
    const x = ((w.timestamps[i] as number) - interceptMs) / 1000;
    sumX.add(x);
    sumY.add(y);
    sumXY.add(x * y);
    sumX2.add(x * x);
  }
  if (constant) return Number.isFinite(first) ? [0, first] : [Number.NaN, Number.NaN];
  const n = hi - lo;
  const x = sumX.total;
  const y = sumY.total;
  const covariance = sumXY.total - (x * y) / n;
  const slope = covariance / (sumX2.total - (x * x) / n);
  return [slope, y / n - (slope * x) / n];
}

const extreme =
  (better: (value: number, best: number) => boolean, what: "value" | "time"): WindowFn =>
  (w, lo, hi) => {
    let at = lo;
    for (let i = lo; i < hi; i++) {
      const value = w.values[i] as number;
      const best = w.values[at] as number;
      if (better(value, best) || Number.isNaN(best)) at = i;
    }
    return what === "value" ? w.values[at] : (w.timestamps[at] as number) / 1000;
  };

/**
 * The extreme of each window in one pass: a queue holds the samples that can still be it, best first. NaN counts only
 * where there is nothing else.
 */
function slidingExtreme(largest: boolean): RangeKernel {
  return (w, out) => {
    const { values, lo, hi } = w;
    const queue = new Int32Array(values.length);
    let head = 0;
    let tail = 0;
    let next = 0;
    for (let i = 0; i < lo.length; i++) {
      const from = lo[i] as number;
      const to = hi[i] as number;
      if (to <= from) continue;
      if (next < from) next = from;
      for (; next < to; next++) {
        const value = values[next] as number;
        if (Number.isNaN(value)) continue;
        while (tail > head) {
          const best = values[queue[tail - 1] as number] as number;
          if (largest ? value <= best : value >= best) break;
          tail--;
        }
        queue[tail++] = next;
      }
      while (head < tail && (queue[head] as number) < from) head++;
      out.values[i] = head < tail ? (values[queue[head] as number] as number) : Number.NaN;
      out.present[i] = 1;
    }
  };
}

const smoothing: WindowFn = (w, lo, hi, step, args) => {
  const smooth = args[0]?.[step] as number;
  const trend = args[1]?.[step] as number;
  if (hi - lo < 2) return undefined;
  let s0 = 0;
  let s1 = w.values[lo] as number;
  let b = (w.values[lo + 1] as number) - s1;
  for (let i = lo + 1; i < hi; i++) {
    if (i > lo + 1) b = trend * (s1 - s0) + (1 - trend) * b;
    const x = smooth * (w.values[i] as number);
    const y = (1 - smooth) * (s1 + b);
    s0 = s1;
    s1 = x + y;
  }
  return s1;
};

const changed =
  (counts: (value: number, previous: number, w: Windows, i: number) => boolean): WindowFn =>
  (w, lo, hi) => {
    let n = 0;
    for (let i = lo + 1; i < hi; i++) {
      if (counts(w.values[i] as number, w.values[i - 1] as number, w, i)) n++;
    }
    return n;
  };

/** Of samples of a window, in ms where times. */
export type Span = {
  firstTime: number;
  lastTime: number;
  intervals: number;
  end: number;
  rangeMs: number;
  /** First value by difference, for a counter that may be extended back to zero. */
  zeroShare: number | null;
  /** Where the counter was zero, when that is known: the difference counts from there. */
  zeroTime: number | null;
};

/** What the difference of first and last grows by when it is extended to the ends of the window. */
export function extrapolationFactor(span: Span): number {
  const { firstTime, lastTime, end } = span;
  const between = (lastTime - firstTime) / 1000;
  const distance = span.intervals === 0 ? 0 : between / span.intervals;
  const threshold = distance * 1.1;
  let toStart = (firstTime - (end - span.rangeMs)) / 1000;
  let toEnd = (end - lastTime) / 1000;
  if (toStart >= threshold) toStart = distance / 2;
  if (span.zeroShare !== null) {
    const toZero = between * span.zeroShare;
    if (toZero < toStart) toStart = toZero;
  }
  if (toEnd >= threshold) toEnd = distance / 2;
  if (span.zeroTime === null) return (between + toStart + toEnd) / between;
  const sampled = (lastTime - span.zeroTime) / 1000;
  return (sampled + toEnd) / sampled;
}

function sumOf(values: Float64Array, lo: number, hi: number): number {
  const sum = new KahanSum();
  for (let i = lo; i < hi; i++) sum.add(values[i] as number);
  return sum.total;
}

function median(values: Float64Array): number {
  return quantileOf(0.5, sortedNanFirst(values));
}

export const rangeKernels: ReadonlyMap<string, RangeKernel> = new Map<string, RangeKernel>([
  ["rate", extrapolated(true, true)],
  ["increase", extrapolated(true, false)],
  ["delta", extrapolated(false, false)],
  ["irate", perWindow(instantDelta(true))],
  ["idelta", perWindow(instantDelta(false))],
  ["sum_over_time", perWindow((w, lo, hi) => sumOf(w.values, lo, hi))],
  ["avg_over_time", perWindow((w, lo, hi) => mean(w.values, lo, hi))],
  ["count_over_time", perWindow((_w, lo, hi) => hi - lo)],
  ["present_over_time", perWindow(() => 1)],
  ["min_over_time", slidingExtreme(false)],
  ["max_over_time", slidingExtreme(true)],
  ["ts_of_min_over_time", perWindow(extreme((value, best) => value <= best, "time"))],
  ["ts_of_max_over_time", perWindow(extreme((value, best) => value >= best, "time"))],
  ["first_over_time", perWindow((w, lo) => w.values[lo])],
  ["last_over_time", perWindow((w, _lo, hi) => w.values[hi - 1])],
  ["ts_of_first_over_time", perWindow((w, lo) => (w.timestamps[lo] as number) / 1000)],
  ["ts_of_last_over_time", perWindow((w, _lo, hi) => (w.timestamps[hi - 1] as number) / 1000)],
  ["stdvar_over_time", perWindow((w, lo, hi) => variance(w.values, lo, hi))],
  ["stddev_over_time", perWindow((w, lo, hi) => Math.sqrt(variance(w.values, lo, hi)))],
  ["quantile_over_time", slidingQuantile],
  [
    "mad_over_time",
    perWindow((w, lo, hi) => {
      const window = w.values.subarray(lo, hi);
      if (window.some(Number.isNaN)) return Number.NaN;
      const middle = median(window);
      return median(window.map((value) => Math.abs(value - middle)));
    }),
  ],
  [
    "changes",
    perWindow(
      changed((value, last) => value !== last && !(Number.isNaN(value) && Number.isNaN(last))),
    ),
  ],
  ["resets", perWindow(changed((value, last, w, i) => value < last || startsAnew(w, i)))],
  [
    "deriv",
    perWindow((w, lo, hi) =>
      hi - lo < 2 ? undefined : regression(w, lo, hi, w.timestamps[lo] as number)[0],
    ),
  ],
  [
    "predict_linear",
    perWindow((w, lo, hi, step, args, stepMs) => {
      if (hi - lo < 2) return undefined;
      const [slope, intercept] = regression(w, lo, hi, stepMs);
      return slope * (args[0]?.[step] as number) + intercept;
    }),
  ],
  ["double_exponential_smoothing", perWindow(smoothing)],
]);
