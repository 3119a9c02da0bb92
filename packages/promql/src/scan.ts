/** From a series' samples to the steps of a grid: the last sample in the lookback, or the window of each step. */

import {
  type Histogram,
  isStale,
  labelValue,
  METRIC_NAME,
  type SeriesColumns,
  wordsOf,
} from "@torus/model";
import type { Notes } from "./annotations.ts";
import { type Column, type Grid, newColumn } from "./column.ts";
import { smoothedSample } from "./functions/extended.ts";
import type { Windows } from "./functions/range.ts";

/** Where a selector looks: `atMs` pins every step to one time; `offsetMs` looks back. */
export type Placement = { atMs: number | null; offsetMs: number };

/** The time each step looks at, in ms. Ascending. */
export function referenceTimes(grid: Grid, placement: Placement): Float64Array {
  const out = new Float64Array(grid.count);
  for (let i = 0; i < grid.count; i++) {
    out[i] = (placement.atMs ?? grid.startMs + i * grid.stepMs) - placement.offsetMs;
  }
  return out;
}

/**
 * The last sample in (ref - lookbackMs, ref] of each step, none when that is a staleness marker.
 * `read` gives the samples' own times or start timestamps in seconds instead of their values; those without a start
 * are left out.
 */
export function lastSamples(
  series: SeriesColumns,
  refs: Float64Array,
  lookbackMs: number,
  read: "value" | "time" | "start",
): Column | null {
  const { timestamps, values, histograms } = series;
  const words = wordsOf(values);
  const out = newColumn(series.labels, refs.length);
  const ends = firstAfter(timestamps, refs, 0);
  let found = false;
  for (let i = 0; i < refs.length; i++) {
    const ref = refs[i] as number;
    const at = (ends[i] as number) - 1;
    if (at < 0 || (timestamps[at] as number) <= ref - lookbackMs) continue;
    const histogram = histograms?.[at];
    if (histogram === undefined ? isStale(words, at) : histogram.sumIsStale) continue;
    if (read === "start") {
      const start = series.startTimestamps?.[at] ?? 0;
      if (start === 0) continue;
      out.values[i] = start / 1000;
    }
    found = true;
    out.present[i] = 1;
    if (read === "start") continue;
    if (read === "time") out.values[i] = (timestamps[at] as number) / 1000;
    else if (histogram === undefined) out.values[i] = values[at] as number;
    else {
      out.histograms ??= Array.from<Histogram | undefined>({ length: refs.length });
      out.histograms[i] = histogram;
    }
  }
  return found ? out : null;
}

/** The values at each step by interpolation between the samples around it, both at most `lookbackMs` away. */
export function smoothedColumn(
  series: SeriesColumns,
  refs: Float64Array,
  lookbackMs: number,
  notes: Notes,
): Column | null {
  const out = newColumn(series.labels, refs.length);
  const context = { metric: labelValue(series.labels, METRIC_NAME), notes };
  const windows = windowsOf(series, refs, lookbackMs);
  let found = false;
  for (let i = 0; i < refs.length; i++) {
    const ref = refs[i] as number;
    const lo = windows.lo[i] as number;
    let hi = windows.hi[i] as number;
    const next = windows.timestamps[hi];
    if (next !== undefined && next <= ref + lookbackMs) hi++;
    const sample = smoothedSample(windows, lo, hi, ref, context);
    if (sample === undefined) continue;
    found = true;
    out.present[i] = 1;
    if (typeof sample === "number") out.values[i] = sample;
    else {
      out.histograms ??= Array.from<Histogram | undefined>({ length: refs.length });
      out.histograms[i] = sample;
    }
  }
  return found ? out : null;
}

/**
 * For each of `refs` the number of `timestamps` that are at most `ref - backMs`. Both ascend; the distance from one
 * answer to the next is tried again first, since scrapes and steps are regular.
 */
function firstAfter(timestamps: Float64Array, refs: Float64Array, backMs: number): Int32Array {
  const out = new Int32Array(refs.length);
  const n = timestamps.length;
  let at = 0;
  let distance = 1;
  for (let i = 0; i < refs.length; i++) {
    const ref = (refs[i] as number) - backMs;
    if (at < n && (timestamps[at] as number) <= ref) {
      const guess = at + distance;
      if (
        guess <= n &&
        (timestamps[guess - 1] as number) <= ref &&
        (guess === n || (timestamps[guess] as number) > ref)
      ) {
        at = guess;
      } else {
        const from = at++;
        while (at < n && (timestamps[at] as number) <= ref) at++;
        distance = at - from;
      }
    }
    out[i] = at;
  }
  return out;
}

function hasStale({ values, histograms }: SeriesColumns): boolean {
  if (histograms?.some((histogram) => histogram?.sumIsStale === true) === true) return true;
  const words = wordsOf(values);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    // The marker is a NaN, and few samples are.
    if (value !== value && isStale(words, i) && histograms?.[i] === undefined) return true;
  }
  return false;
}

/** The windows (ref - rangeMs, ref] over the samples that are not staleness markers. */
export function windowsOf(series: SeriesColumns, refs: Float64Array, rangeMs: number): Windows {
  let { timestamps, values, histograms, startTimestamps } = series;
  const words = wordsOf(values);
  const kept: number[] = [];
  if (hasStale(series)) {
    for (let i = 0; i < timestamps.length; i++) {
      const histogram = histograms?.[i];
      if (histogram === undefined ? !isStale(words, i) : !histogram.sumIsStale) kept.push(i);
    }
    const column = (from: Float64Array) => Float64Array.from(kept, (i) => from[i] as number);
    timestamps = column(timestamps);
    values = column(values);
    if (startTimestamps !== null) startTimestamps = column(startTimestamps);
    const all = histograms;
    if (all !== null) histograms = kept.map((i) => all[i]);
  }
  const lo = firstAfter(timestamps, refs, rangeMs);
  const hi = firstAfter(timestamps, refs, 0);
  return { timestamps, values, histograms, startTimestamps, lo, hi, ends: refs, rangeMs };
}
