/**
 * Native histograms with custom buckets out of classic ones, as `load_with_nhcb` stores them: per timestamp one of the
 * `_bucket{le}`, `_count` and `_sum` series of a metric.
 */

import {
  CUSTOM_BUCKETS_SCHEMA,
  type Histogram,
  type Labels,
  labelsFromPairs,
  labelValue,
  METRIC_NAME,
  mergeLabels,
  withoutLabels,
} from "@torus/model";
import { parseNumber } from "../parse/numbers.ts";
import { layOut } from "./histogram-notation.ts";
import type { StoredSeries } from "./script-storage.ts";

type Classic = { buckets: [le: number, cumulative: number][]; count: number | null; sum: number };

const nameAndLe: ReadonlySet<string> = new Set([METRIC_NAME, "le"]);

export function nhcbSeries(classic: readonly StoredSeries[]): StoredSeries[] {
  const found = new Map<string, { labels: Labels; at: Map<number, Classic> }>();
  for (const { labels, samples } of classic) {
    const match = /^(.*)_(bucket|count|sum)$/s.exec(labelValue(labels, METRIC_NAME));
    if (match === null) continue;
    const [, base = "", suffix] = match;
    const le = suffix === "bucket" ? parseNumber(labelValue(labels, "le")) : Number.NaN;
    if (le === null) continue;
    const own = mergeLabels(
      withoutLabels(labels, nameAndLe),
      labelsFromPairs([[METRIC_NAME, base]]),
    );
    const key = JSON.stringify(own);
    const metric = found.get(key) ?? { labels: own, at: new Map<number, Classic>() };
    found.set(key, metric);
    for (const { t, value } of samples.values()) {
      if (typeof value !== "number") continue;
      const point = metric.at.get(t) ?? { buckets: [], count: null, sum: 0 };
      metric.at.set(t, point);
      if (suffix === "bucket") point.buckets.push([le, value]);
      else if (suffix === "count") point.count = value;
      else point.sum = value;
    }
  }
  return [...found.values()].map(({ labels, at }) => {
    const samples: StoredSeries["samples"] = new Map();
    for (const [t, point] of at) {
      const value = customHistogram(point);
      if (value !== null) samples.set(t, { t, value, startTimestamp: 0 });
    }
    return { labels, samples };
  });
}

/** Null where the buckets make no histogram: none at all, or counts that fall as the bound rises. */
function customHistogram(point: Classic): Histogram | null {
  const sorted = point.buckets.toSorted(([a], [b]) => a - b);
  const last = sorted.at(-1);
  const count = point.count ?? last?.[1];
  if (count === undefined) return null;
  const bounds: number[] = [];
  const counts = new Map<number, number>();
  let before = 0;
  const add = (cumulative: number, index: number) => {
    if (cumulative < before) return false;
    if (cumulative > before) counts.set(index, cumulative - before);
    before = cumulative;
    return true;
  };
  for (const [le, cumulative] of sorted) {
    if (!add(cumulative, bounds.length)) return null;
    if (le !== Number.POSITIVE_INFINITY) bounds.push(le);
  }
  if (last?.[0] !== Number.POSITIVE_INFINITY && !add(count, bounds.length)) return null;
  const { spans, buckets } = layOut(counts);
  return {
    isInteger: false,
    counterResetHint: "unknown",
    schema: CUSTOM_BUCKETS_SCHEMA,
    zeroThreshold: 0,
    zeroCount: 0,
    count,
    sum: point.sum,
    sumIsStale: false,
    positiveSpans: spans,
    negativeSpans: [],
    positiveBuckets: buckets,
    negativeBuckets: new Float64Array(0),
    customValues: Float64Array.from(bounds),
  };
}
