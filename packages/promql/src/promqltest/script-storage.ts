/**
 * The storage of script tests: series in memory, in one store or several that each answer for a range of time.
 * A query sees the union of what the stores hold.
 */

import {
  compareLabels,
  compareStrings,
  type Histogram,
  type LabelSelect,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
  setStale,
} from "@torus/model";
import { nhcbSeries } from "./nhcb.ts";
import type { LoadedSeries } from "./script.ts";

export type StoredSample = {
  t: number;
  /** Null for the staleness marker. */
  value: number | Histogram | null;
  /** Milliseconds, 0 where unknown. */
  startTimestamp: number;
};

export type StoredSeries = { labels: Labels; samples: Map<number, StoredSample> };

type Store = { mintMs: number; maxtMs: number; series: Map<string, StoredSeries> };

/** Series per batch; small, so that readers that keep a batch too long are found out. */
const BATCH = 4;

export class ScriptStorage implements Queryable {
  #stores: Store[] = [];

  clear(): void {
    this.#stores = [];
  }

  addStore(mintMs: number, maxtMs: number): void {
    this.#stores.push({ mintMs, maxtMs, series: new Map() });
  }

  load(loaded: readonly LoadedSeries[], intervalMs: number, withNhcb: boolean): void {
    if (this.#stores.length === 0)
      this.addStore(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
    const store = this.#stores.at(-1) as Store;
    const added = loaded.map((series) => storedSeries(series, intervalMs));
    for (const series of withNhcb ? [...added, ...nhcbSeries(added)] : added) {
      const key = JSON.stringify(series.labels);
      const old = store.series.get(key);
      if (old === undefined) store.series.set(key, series);
      else for (const [t, sample] of series.samples) old.samples.set(t, sample);
    }
  }

  async *select(select: SeriesSelect): AsyncIterable<readonly SeriesColumns[]> {
    const found = this.#matching(select);
    for (let i = 0; i < found.length; i += BATCH) yield found.slice(i, i + BATCH).map(columnsOf);
  }

  labelNames(select: LabelSelect): Promise<string[]> {
    const names = this.#matching(select).flatMap(({ labels }) =>
      labels.filter((_, i) => i % 2 === 0),
    );
    return Promise.resolve([...new Set(names)].sort(compareStrings));
  }

  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = this.#matching(select).map(({ labels }) => labelValue(labels, name));
    return Promise.resolve(
      [...new Set(values)].filter((value) => value !== "").sort(compareStrings),
    );
  }

  #matching(select: {
    mint: number;
    maxt: number;
    matchers: readonly Matcher[];
  }): { labels: Labels; samples: StoredSample[] }[] {
    const merged = new Map<string, Map<number, StoredSample>>();
    const labels = new Map<string, Labels>();
    for (const store of this.#stores) {
      const mint = Math.max(select.mint, store.mintMs);
      const maxt = Math.min(select.maxt, store.maxtMs);
      for (const [key, series] of store.series) {
        if (!select.matchers.every((m) => m.matches(labelValue(series.labels, m.name)))) continue;
        const samples = merged.get(key) ?? new Map<number, StoredSample>();
        for (const [t, sample] of series.samples)
          if (t >= mint && t <= maxt) samples.set(t, sample);
        merged.set(key, samples);
        labels.set(key, series.labels);
      }
    }
    return [...merged]
      .filter(([, samples]) => samples.size > 0)
      .map(([key, samples]) => ({
        labels: labels.get(key) as Labels,
        samples: [...samples.values()].sort((a, b) => a.t - b.t),
      }))
      .sort((a, b) => compareLabels(a.labels, b.labels));
  }
}

function storedSeries(loaded: LoadedSeries, intervalMs: number): StoredSeries {
  const samples = new Map<number, StoredSample>();
  loaded.line.points.forEach((point, i) => {
    if (point === null) return;
    const t = i * intervalMs;
    const relative = loaded.startTimestamps?.[i] ?? null;
    const value =
      point.kind === "stale" ? null : point.kind === "float" ? point.value : point.histogram;
    samples.set(t, { t, value, startTimestamp: relative === null ? 0 : t + relative });
  });
  return { labels: loaded.line.labels, samples };
}

function columnsOf(series: { labels: Labels; samples: StoredSample[] }): SeriesColumns {
  const { labels, samples } = series;
  const values = new Float64Array(samples.length);
  const histograms: (Histogram | undefined)[] = [];
  samples.forEach(({ value }, i) => {
    if (value === null) setStale(values, i);
    else if (typeof value === "number") values[i] = value;
    histograms.push(typeof value === "object" && value !== null ? value : undefined);
  });
  const starts = Float64Array.from(samples, (sample) => sample.startTimestamp);
  return {
    labels,
    timestamps: Float64Array.from(samples, (sample) => sample.t),
    values,
    histograms: histograms.some((h) => h !== undefined) ? histograms : null,
    startTimestamps: starts.some((start) => start !== 0) ? starts : null,
  };
}
