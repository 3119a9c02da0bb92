/** Functions over windows that hold native histograms, alone or among floats. */

import {
  type Histogram,
  HistogramSum,
  histogramsEqual,
  IncompatibleHistogramsError,
  isCounterReset,
  usesCustomBuckets,
} from "@torus/model";
import { infos, type Notes, warnings } from "../annotations.ts";
import type { Column } from "../column.ts";
import { HistogramFold } from "../histogram-fold.ts";
import { extrapolationFactor, type RangeKernel, type ScalarArgs, type Windows } from "./range.ts";
import { noteOverlaps, startsAnew, zeroTime } from "./start-timestamps.ts";

/** A series of which some sample is a histogram. */
export type MixedWindows = Windows & { histograms: readonly (Histogram | undefined)[] };

type Context = { metric: string; notes: Notes };

/** The value of a window [lo, hi) with at least one histogram. `floats` of its samples are floats. */
type MixedFn = (
  w: MixedWindows,
  lo: number,
  hi: number,
  floats: number,
  context: Context,
  end: number,
) => number | Histogram | undefined;

/** These read floats only, and tell when there were histograms among them. */
const floatsOnly: ReadonlySet<string> = new Set([
  "min_over_time",
  "max_over_time",
  "ts_of_min_over_time",
  "ts_of_max_over_time",
  "quantile_over_time",
  "stddev_over_time",
  "stdvar_over_time",
  "mad_over_time",
  "deriv",
  "predict_linear",
  "double_exponential_smoothing",
]);

/** Runs `kernel` on what is floats, and the function's own rule for histograms on the rest. */
export function mixedKernel(
  name: string,
  kernel: RangeKernel,
  w: MixedWindows,
  out: Column,
  args: ScalarArgs,
  stepTimes: Float64Array,
  context: Context,
): void {
  const { histograms } = w;
  const before = new Int32Array(histograms.length + 1);
  for (let i = 0; i < histograms.length; i++) {
    before[i + 1] = (before[i] as number) + (histograms[i] === undefined ? 1 : 0);
  }
  const isFloat = (_: number, i: number) => histograms[i] === undefined;
  const onlyFloats = floatsOnly.has(name);
  const lo = new Int32Array(w.lo.length);
  const hi = new Int32Array(w.lo.length);
  for (let i = 0; i < w.lo.length; i++) {
    const from = w.lo[i] as number;
    const to = w.hi[i] as number;
    const floats = (before[to] as number) - (before[from] as number);
    if (floats === 0 || (!onlyFloats && floats < to - from)) continue;
    lo[i] = before[from] as number;
    hi[i] = before[to] as number;
    if (floats < to - from) context.notes.info(infos.ignoredInMixedRange(context.metric));
  }
  const floatWindows: Windows = {
    ...w,
    timestamps: w.timestamps.filter(isFloat),
    values: w.values.filter(isFloat),
    startTimestamps: w.startTimestamps?.filter(isFloat) ?? null,
    histograms: null,
    lo,
    hi,
  };
  kernel(floatWindows, out, args, stepTimes, context);
  if (onlyFloats) return;
  const rule = rules.get(name);
  if (rule === undefined) return;
  for (let i = 0; i < w.lo.length; i++) {
    const from = w.lo[i] as number;
    const to = w.hi[i] as number;
    const floats = (before[to] as number) - (before[from] as number);
    if (floats === to - from) continue;
    const value = rule(w, from, to, floats, context, w.ends[i] as number);
    if (value === undefined) continue;
    out.present[i] = 1;
    if (typeof value === "number") out.values[i] = value;
    else {
      out.histograms ??= Array.from<Histogram | undefined>({ length: out.present.length });
      out.histograms[i] = value;
    }
  }
}

function at(w: MixedWindows, i: number): number | Histogram {
  return w.histograms[i] ?? (w.values[i] as number);
}

const fold =
  (mean: boolean): MixedFn =>
  (w, lo, hi, floats, { metric, notes }) => {
    if (floats > 0) {
      notes.warn(warnings.mixedFloatsHistograms(metric));
      return undefined;
    }
    const sum = new HistogramFold(w.histograms[lo] as Histogram, mean);
    for (let i = lo + 1; i < hi; i++) sum.add(w.histograms[i] as Histogram, notes, metric);
    return sum.result(notes) ?? undefined;
  };

const counted =
  (
    differs: (a: number | Histogram, b: number | Histogram, w: Windows, i: number) => boolean,
  ): MixedFn =>
  (w, lo, hi) => {
    let n = 0;
    for (let i = lo + 1; i < hi; i++) if (differs(at(w, i), at(w, i - 1), w, i)) n++;
    return n;
  };

function changed(value: number | Histogram, before: number | Histogram): boolean {
  if (typeof value === "number" && typeof before === "number") {
    return value !== before && !(Number.isNaN(value) && Number.isNaN(before));
  }
  if (typeof value === "number" || typeof before === "number") return true;
  return !histogramsEqual(value, before);
}

function wasReset(
  value: number | Histogram,
  before: number | Histogram,
  w: Windows,
  i: number,
): boolean {
  if (startsAnew(w, i)) return true;
  if (typeof value === "number" && typeof before === "number") return value < before;
  if (typeof value === "number" || typeof before === "number") return true;
  return isCounterReset(value, before);
}

/** What was added between the first histogram of a window, or zero before it, and the last. */
export function histogramIncrease(
  samples: readonly Histogram[],
  isCounter: boolean,
  { metric, notes }: Context,
  resetAt: (i: number) => boolean,
  fromZero = false,
): HistogramSum | undefined {
  const first = samples[0] as Histogram;
  const last = samples.at(-1) as Histogram;
  if (isCounter && samples.some((h) => h.counterResetHint === "gauge")) {
    notes.warn(warnings.notCounter(metric));
  }
  if (!isCounter && (first.counterResetHint !== "gauge" || last.counterResetHint !== "gauge")) {
    notes.warn(warnings.notGauge(metric));
  }
  // A first sample before a reset counts for nothing, whatever its buckets are.
  const skipsFirst = isCounter && samples.length > 1 && resetAt(1);
  const base = skipsFirst ? (samples[1] as Histogram) : first;
  const custom = usesCustomBuckets(base);
  const between = isCounter ? samples.slice(skipsFirst ? 1 : 0) : [first, last];
  if (usesCustomBuckets(last) !== custom || between.some((h) => usesCustomBuckets(h) !== custom)) {
    notes.warn(warnings.mixedSchemas(metric));
    return undefined;
  }
  try {
    const sum = new HistogramSum(last);
    if (!custom) sum.reduceTo(between.reduce((low, h) => Math.min(low, h.schema), last.schema));
    if (!skipsFirst && sum.add(first, -1).reconciled) notes.info(infos.reconciled("subtraction"));
    if (isCounter) {
      for (let i = skipsFirst ? 2 : 1; i < samples.length; i++) {
        if (!resetAt(i)) continue;
        if (sum.add(samples[i - 1] as Histogram).reconciled) {
          notes.info(infos.reconciled("addition"));
        }
      }
    }
    if (fromZero) sum.add(first);
    sum.counterResetHint = "gauge";
    return sum;
  } catch (error) {
    if (!(error instanceof IncompatibleHistogramsError)) throw error;
    notes.warn(warnings.mixedSchemas(metric));
    return undefined;
  }
}

const extrapolated =
  (isCounter: boolean, isRate: boolean): MixedFn =>
  (w, lo, hi, floats, context, end) => {
    if (floats > 0) {
      context.notes.warn(warnings.mixedFloatsHistograms(context.metric));
      return undefined;
    }
    const zeroAt = isCounter ? zeroTime(w, lo, end - w.rangeMs) : null;
    if (hi - lo < 2 && zeroAt === null) return undefined;
    if (isCounter) noteOverlaps(w, lo, hi, context);
    const samples = w.histograms.slice(lo, hi) as Histogram[];
    const first = samples[0] as Histogram;
    const sum = histogramIncrease(
      samples,
      isCounter,
      context,
      (i) =>
        isCounterReset(samples[i] as Histogram, samples[i - 1] as Histogram) ||
        (isCounter && startsAnew(w, lo + i)),
      zeroAt !== null,
    );
    if (sum === undefined) return undefined;
    const { count } = sum.result();
    let factor = extrapolationFactor({
      firstTime: w.timestamps[lo] as number,
      lastTime: w.timestamps[hi - 1] as number,
      intervals: hi - 1 - lo,
      end,
      rangeMs: w.rangeMs,
      zeroShare: isCounter && count > 0 && first.count >= 0 ? first.count / count : null,
      zeroTime: zeroAt,
    });
    if (isRate) factor /= w.rangeMs / 1000;
    sum.scale(factor);
    return sum.result();
  };

const instant =
  (isRate: boolean): MixedFn =>
  (w, lo, hi, _floats, { metric, notes }) => {
    if (hi - lo < 2) return undefined;
    const last = at(w, hi - 1);
    const previous = at(w, hi - 2);
    const ms = (w.timestamps[hi - 1] as number) - (w.timestamps[hi - 2] as number);
    if (ms === 0) return undefined;
    if (typeof last === "number" && typeof previous === "number") {
      const difference = isRate && last < previous ? last : last - previous;
      return isRate ? difference / (ms / 1000) : difference;
    }
    if (typeof last === "number" || typeof previous === "number") {
      notes.warn(warnings.mixedFloatsHistograms(metric));
      return undefined;
    }
    const gauges = [last, previous].filter((h) => h.counterResetHint === "gauge").length;
    if (isRate && gauges > 0) notes.warn(warnings.notCounter(metric));
    if (!isRate && gauges < 2) notes.warn(warnings.notGauge(metric));
    const sum = new HistogramSum(last);
    try {
      if (!isRate || !(isCounterReset(last, previous) || startsAnew(w, hi - 1))) {
        if (sum.add(previous, -1).reconciled) notes.info(infos.reconciled("subtraction"));
      }
    } catch (error) {
      if (!(error instanceof IncompatibleHistogramsError)) throw error;
      notes.warn(warnings.mixedSchemas(metric));
      return undefined;
    }
    sum.counterResetHint = "gauge";
    if (isRate) sum.divide(ms / 1000);
    return sum.result();
  };

const rules: ReadonlyMap<string, MixedFn> = new Map<string, MixedFn>([
  ["rate", extrapolated(true, true)],
  ["increase", extrapolated(true, false)],
  ["delta", extrapolated(false, false)],
  ["irate", instant(true)],
  ["idelta", instant(false)],
  ["sum_over_time", fold(false)],
  ["avg_over_time", fold(true)],
  ["count_over_time", (_w, lo, hi) => hi - lo],
  ["present_over_time", () => 1],
  ["first_over_time", (w, lo) => at(w, lo)],
  ["last_over_time", (w, _lo, hi) => at(w, hi - 1)],
  ["ts_of_first_over_time", (w, lo) => (w.timestamps[lo] as number) / 1000],
  ["ts_of_last_over_time", (w, _lo, hi) => (w.timestamps[hi - 1] as number) / 1000],
  ["changes", counted(changed)],
  ["resets", counted(wasReset)],
]);
