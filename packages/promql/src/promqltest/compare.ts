/** The rules by which a result equals what a script expects; null for equal, else a sentence. */

import {
  compareLabels,
  formatLabels,
  type Histogram,
  isStale,
  type Labels,
  wordsOf,
} from "@torus/model";
import type { QueryResult, ResultSeries } from "../result.ts";
import { bucketMap, formatHistogram } from "./histogram-notation.ts";
import type { TextMatch } from "./script.ts";
import type { Point, SeriesLine } from "./series-line.ts";

const SMALLEST_NORMAL = 2.2250738585072014e-308;
const TOLERANCE = 1e-6;

/** A stale marker never gets here: NaNs are equal to each other. */
export function floatsEqual(a: number, b: number): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b);
  if (a === b) return true;
  const difference = Math.abs(a - b);
  const sum = Math.abs(a) + Math.abs(b);
  if (a === 0 || b === 0 || sum < SMALLEST_NORMAL) return difference < TOLERANCE * SMALLEST_NORMAL;
  return difference / Math.min(sum, Number.MAX_VALUE) < TOLERANCE;
}

export function histogramsEqual(want: Histogram, got: Histogram, compareHint: boolean): boolean {
  return (
    want.schema === got.schema &&
    floatsEqual(want.zeroThreshold, got.zeroThreshold) &&
    floatsEqual(want.zeroCount, got.zeroCount) &&
    floatsEqual(want.count, got.count) &&
    floatsEqual(want.sum, got.sum) &&
    want.customValues.length === got.customValues.length &&
    want.customValues.every((bound, i) => bound === got.customValues[i]) &&
    bucketsEqual(want, got, "positive") &&
    bucketsEqual(want, got, "negative") &&
    (!compareHint || want.counterResetHint === got.counterResetHint)
  );
}

function bucketsEqual(want: Histogram, got: Histogram, side: "positive" | "negative"): boolean {
  const a = bucketMap(want[`${side}Spans`], want[`${side}Buckets`]);
  const b = bucketMap(got[`${side}Spans`], got[`${side}Buckets`]);
  return a.size === b.size && [...a].every(([i, n]) => floatsEqual(n, b.get(i) ?? Number.NaN));
}

export type ExpectedSeries = {
  labels: Labels;
  /** By timestamp in milliseconds. */
  points: Map<number, Exclude<Point, null>>;
};

/** Places the points of lines at their times. A line without any point expects nothing. */
export function expectedSeries(
  lines: readonly SeriesLine[],
  startMs: number,
  stepMs: number,
): ExpectedSeries[] {
  return lines
    .map(({ labels, points }) => {
      const placed = new Map<number, Exclude<Point, null>>();
      points.forEach((point, i) => {
        if (point !== null) placed.set(startMs + i * stepMs, point);
      });
      return { labels, points: placed };
    })
    .filter(({ points }) => points.size > 0);
}

export function compareSeries(
  want: readonly ExpectedSeries[],
  got: readonly ResultSeries[],
  rules: { ordered: boolean; sorted: boolean },
): string | null {
  const left = new Map(want.map((series, i) => [JSON.stringify(series.labels), { series, i }]));
  for (const [i, series] of got.entries()) {
    const before = got[i - 1];
    if (rules.sorted && before !== undefined && compareLabels(before.labels, series.labels) > 0) {
      return `result is not sorted by labels at ${formatLabels(series.labels)}`;
    }
    const key = JSON.stringify(series.labels);
    const expected = left.get(key);
    if (expected === undefined) return `unexpected series ${formatSeries(series)}`;
    left.delete(key);
    if (rules.ordered && expected.i !== i) {
      return `${formatLabels(series.labels)} expected at position ${expected.i + 1}, got ${i + 1}`;
    }
    const difference = comparePoints(expected.series, series);
    if (difference !== null) return difference;
  }
  const [missing] = left.values();
  return missing === undefined ? null : `series ${formatLabels(missing.series.labels)} is missing`;
}

function comparePoints(want: ExpectedSeries, got: ResultSeries): string | null {
  const words = wordsOf(got.values);
  const at = (i: number) => `${formatLabels(got.labels)} at ${got.timestamps[i]} ms`;
  for (let i = 0; i < got.timestamps.length; i++) {
    const point = want.points.get(got.timestamps[i] as number);
    const histogram = got.histograms?.[i];
    const shown = histogram === undefined ? String(got.values[i]) : formatHistogram(histogram);
    if (point === undefined) return `${at(i)}: expected no point, got ${shown}`;
    if (!pointsEqual(point, histogram, got.values[i] as number, isStale(words, i))) {
      return `${at(i)}: expected ${formatPoint(point)}, got ${shown}`;
    }
  }
  if (got.timestamps.length < want.points.size) {
    const times = new Set(got.timestamps);
    const missing = [...want.points.keys()].find((t) => !times.has(t));
    return `${formatLabels(got.labels)} at ${missing} ms: point is missing`;
  }
  return null;
}

function pointsEqual(
  want: Exclude<Point, null>,
  histogram: Histogram | undefined,
  value: number,
  stale: boolean,
): boolean {
  switch (want.kind) {
    case "stale":
      return histogram === undefined && stale;
    case "float":
      return histogram === undefined && !stale && floatsEqual(want.value, value);
    case "histogram":
      return histogram !== undefined && histogramsEqual(want.histogram, histogram, want.hintGiven);
  }
}

function formatPoint(point: Exclude<Point, null>): string {
  if (point.kind === "stale") return "stale";
  return point.kind === "float" ? String(point.value) : formatHistogram(point.histogram);
}

function formatSeries(series: ResultSeries): string {
  const points = Array.from(series.timestamps, (t, i) => {
    const histogram = series.histograms?.[i];
    return `${histogram === undefined ? series.values[i] : formatHistogram(histogram)}@${t}`;
  });
  return `${formatLabels(series.labels)} ${points.slice(0, 5).join(" ")}${points.length > 5 ? " …" : ""}`;
}

export function textMatches(match: TextMatch, text: string): boolean {
  if (match.kind === "any") return true;
  return match.kind === "text" ? match.text === text : match.regex.test(text);
}

export function compareAnnotations(
  kind: "warning" | "info",
  want: readonly TextMatch[],
  none: boolean,
  got: readonly string[],
): string | null {
  if (none && got.length > 0) return `expected no ${kind}, got ${got.join("; ")}`;
  if (want.length > 0 && got.length === 0) return `expected a ${kind}, got none`;
  const texts = want.filter((match) => match.kind !== "any");
  for (const match of texts) {
    if (!got.some((text) => textMatches(match, text))) {
      const wanted =
        match.kind === "regex" ? String(match.regex) : match.kind === "text" ? match.text : "";
      return `expected ${kind} ${wanted}, got ${got.join("; ")}`;
    }
  }
  if (want.length === 0 || texts.length < want.length) return null;
  const stray = got.find((text) => !texts.some((match) => textMatches(match, text)));
  return stray === undefined ? null : `unexpected ${kind} ${stray}`;
}

export function compareScalar(want: number, got: QueryResult): string | null {
  if (got.type !== "scalar") return `expected the scalar ${want}, got a ${got.type}`;
  return floatsEqual(want, got.value) ? null : `expected ${want}, got ${got.value}`;
}
