/**
 * Windows that reach beyond their ends. `anchored` takes the last sample at or before the start as the value there;
 * `smoothed` takes also the first at or after the end, and interpolates at both.
 *
 *   samples    x        x      x        x
 *   window         (              ]
 *   anchored   lo              hi-1
 *   smoothed   lo                       hi-1
 */

import {
  type Histogram,
  HistogramSum,
  IncompatibleHistogramsError,
  isCounterReset,
} from "@torus/model";
import { type Notes, warnings } from "../annotations.ts";
import type { Column } from "../column.ts";
import { QueryExecutionError } from "../query-errors.ts";
import type { RangeKernel, Windows } from "./range.ts";
import { histogramIncrease } from "./range-histogram.ts";

export type Extension = "anchored" | "smoothed";

const allowed: Readonly<Record<Extension, readonly string[]>> = {
  anchored: ["changes", "delta", "increase", "rate", "resets"],
  smoothed: ["delta", "increase", "rate"],
};

/** @throws {QueryExecutionError} for a function that cannot read extended windows. */
export function checkExtension(extension: Extension, func: string): void {
  if (allowed[extension].includes(func)) return;
  throw new QueryExecutionError(
    `${extension} modifier can only be used with: ${allowed[extension].join(", ")} - not with ${func}`,
  );
}

/** Moves the bounds of windows outwards, at most `lookbackMs`. A window without a sample in or around it stays empty. */
export function extended(w: Windows, extension: Extension, lookbackMs: number): Windows {
  const { timestamps, ends, rangeMs } = w;
  const lo = new Int32Array(ends.length);
  const hi = new Int32Array(ends.length);
  for (let i = 0; i < ends.length; i++) {
    const end = ends[i] as number;
    const start = end - rangeMs;
    let from = w.lo[i] as number;
    let to = w.hi[i] as number;
    // Samples from `from` on are after the start, also where the window is empty; those before `to` are not after the end.
    if (extension === "smoothed" && (to === 0 || timestamps[to - 1] !== end)) {
      const next = timestamps[to];
      if (next !== undefined && next <= end + lookbackMs) to++;
    }
    if (to === from) continue;
    const before = timestamps[from - 1];
    if (before !== undefined && before > start - lookbackMs) from--;
    if ((timestamps[from] as number) > end) continue;
    lo[i] = from;
    hi[i] = to;
  }
  return { ...w, lo, hi };
}

type Sample = number | Histogram;

class MixedSamplesError extends Error {}

/** The value at `ms` between two samples. A counter that was reset on the way counts from zero. */
export function interpolated(
  a: Sample,
  aMs: number,
  b: Sample,
  bMs: number,
  ms: number,
  isCounter: boolean,
): Sample {
  const share = (ms - aMs) / (bMs - aMs);
  if (typeof a === "number" && typeof b === "number") {
    const from = isCounter && b < a ? 0 : a;
    return from + (b - from) * share;
  }
  if (typeof a === "number" || typeof b === "number") throw new MixedSamplesError();
  const sum = new HistogramSum(b);
  if (isCounter && isCounterReset(b, a)) {
    sum.scale(share);
    return sum.result();
  }
  sum.add(a, -1);
  sum.scale(share);
  const hint = a.counterResetHint;
  sum.add(a);
  sum.counterResetHint = hint === "gauge" || b.counterResetHint === "gauge" ? "gauge" : "unknown";
  return sum.result();
}

/** One sample where `ms` looks, by interpolation; the last one where no later one is near. */
export function smoothedSample(
  w: Windows,
  lo: number,
  hi: number,
  ms: number,
  context: { metric: string; notes: Notes },
): Sample | undefined {
  let at = hi - 1;
  while (at >= lo && (w.timestamps[at] as number) > ms) at--;
  if (at < lo) return undefined;
  const sampleAt = (i: number): Sample => w.histograms?.[i] ?? (w.values[i] as number);
  if (w.timestamps[at] === ms || at === hi - 1) return sampleAt(at);
  const gauge = w.histograms?.[at + 1]?.counterResetHint === "gauge";
  try {
    return interpolated(
      sampleAt(at),
      w.timestamps[at] as number,
      sampleAt(at + 1),
      w.timestamps[at + 1] as number,
      ms,
      w.histograms?.[at] !== undefined && !gauge,
    );
  } catch (error) {
    noteFailure(error, context);
    return undefined;
  }
}

function noteFailure(error: unknown, { metric, notes }: { metric: string; notes: Notes }): void {
  if (error instanceof MixedSamplesError) notes.warn(warnings.mixedFloatsHistograms(metric));
  else if (error instanceof IncompatibleHistogramsError) notes.warn(warnings.mixedSchemas(metric));
  else throw error;
}

/** rate, increase and delta over windows of `extended`. Null for a function without a rule of its own. */
export function extendedKernel(func: string, extension: Extension): RangeKernel | null {
  if (func !== "rate" && func !== "increase" && func !== "delta") return null;
  const isCounter = func !== "delta";
  const smoothed = extension === "smoothed";
  return (w, out, _args, _stepTimes, context) => {
    for (let i = 0; i < w.lo.length; i++) {
      const lo = w.lo[i] as number;
      const hi = w.hi[i] as number;
      if (hi <= lo) continue;
      const end = w.ends[i] as number;
      let value: Sample | undefined;
      try {
        const samples = samplesOf(w, lo, hi, end, smoothed, isCounter);
        value = increaseOf(samples, isCounter, context);
      } catch (error) {
        noteFailure(error, context);
      }
      if (value === undefined) continue;
      out.present[i] = 1;
      const seconds = func === "rate" ? w.rangeMs / 1000 : 1;
      if (typeof value === "number") out.values[i] = value / seconds;
      else setHistogram(out, i, value, seconds);
    }
  };
}

function setHistogram(out: Column, step: number, histogram: Histogram, divisor: number): void {
  const sum = new HistogramSum(histogram);
  sum.divide(divisor);
  out.histograms ??= Array.from<Histogram | undefined>({ length: out.present.length });
  out.histograms[step] = sum.result();
}

/** The window's samples with its ends interpolated; the first is the base of the increase. */
function samplesOf(
  w: Windows,
  lo: number,
  hi: number,
  end: number,
  smoothed: boolean,
  isCounter: boolean,
): { samples: Sample[]; resets: boolean[] } {
  const start = end - w.rangeMs;
  const sampleAt = (i: number): Sample => w.histograms?.[i] ?? (w.values[i] as number);
  const between = (i: number, ms: number): Sample =>
    interpolated(
      sampleAt(i),
      w.timestamps[i] as number,
      sampleAt(i + 1),
      w.timestamps[i + 1] as number,
      ms,
      isCounter,
    );
  const isReset = (i: number): boolean => {
    const now = sampleAt(i);
    const before = sampleAt(i - 1);
    if (typeof now === "number" || typeof before === "number") {
      return typeof now === "number" && typeof before === "number" && now < before;
    }
    return isCounterReset(now, before);
  };
  const samples: Sample[] = [];
  const resets: boolean[] = [];
  // An interpolated base lies after a reset between its two samples, so that is not counted again.
  let baseInterpolated = false;
  for (let i = lo; i < hi; i++) {
    const ms = w.timestamps[i] as number;
    if (smoothed && i === lo && ms < start && i + 1 < hi) {
      samples.push(between(i, start));
      resets.push(false);
      baseInterpolated = true;
      continue;
    }
    const afterBase = baseInterpolated && i === lo + 1;
    samples.push(smoothed && ms > end && i > lo ? between(i - 1, end) : sampleAt(i));
    resets.push(i > lo && !afterBase && isReset(i));
  }
  return { samples, resets };
}

function increaseOf(
  { samples, resets }: { samples: readonly Sample[]; resets: readonly boolean[] },
  isCounter: boolean,
  context: { metric: string; notes: Notes },
): Sample | undefined {
  const histograms = samples.filter((sample): sample is Histogram => typeof sample !== "number");
  if (histograms.length === 0) {
    const first = samples[0] as number;
    let result = (samples.at(-1) as number) - first;
    if (!isCounter) return result;
    for (let i = 1; i < samples.length; i++) {
      if (resets[i] === true) result += samples[i - 1] as number;
    }
    return result;
  }
  if (histograms.length < samples.length) throw new MixedSamplesError();
  return histogramIncrease(histograms, isCounter, context, (i) => resets[i] === true)?.result();
}
