/**
 * The storage of script tests: series in memory, in one store or several that each answer for a range of time.
 * A query sees the union of what the stores hold.
 */

import {
  type CounterResetHint,
  compareLabels,
  compareStrings,
  type Histogram,
  isCounterReset,
  type LabelSelect,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
  sameBounds,
  setStale,
} from "@torus/model";
import { nhcbSeries } from "./nhcb.ts";
import type { LoadedSeries } from "./script.ts";

export type StoredSample = {
  t: number;
  /** Null for the staleness marker. */
  value: number | Histogram | null;
  /** The histogram as a TSDB gives it back; see `readBack`. */
  read?: Histogram;
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
      readBack(old ?? series);
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

/**
 * Sets what the reset hints of a series' histograms are after storage: chunks begin where counters are reset, the layout
 * changes or a float stands between, and only within a chunk is it known that nothing was reset.
 */
function readBack(series: StoredSeries): void {
  let previous: Histogram | null = null;
  for (const sample of [...series.samples.values()].sort((a, b) => a.t - b.t)) {
    const { value } = sample;
    if (typeof value !== "object" || value === null) {
      previous = null;
      continue;
    }
    sample.read = { ...value, counterResetHint: hintInChunk(value, previous) };
    previous = value;
  }
}

function hintInChunk(h: Histogram, previous: Histogram | null): CounterResetHint {
  if (h.counterResetHint === "gauge") return "gauge";
  const continues =
    previous !== null &&
    previous.counterResetHint !== "gauge" &&
    h.counterResetHint !== "reset" &&
    h.schema === previous.schema &&
    h.zeroThreshold === previous.zeroThreshold &&
    sameBounds(h.customValues, previous.customValues) &&
    !isCounterReset({ ...h, counterResetHint: "unknown" }, previous);
  return continues ? "not_reset" : "unknown";
}

function columnsOf(series: { labels: Labels; samples: StoredSample[] }): SeriesColumns {
  const { labels, samples } = series;
  const values = new Float64Array(samples.length);
  const histograms: (Histogram | undefined)[] = [];
  samples.forEach(({ value, read }, i) => {
    if (value === null) setStale(values, i);
    else if (typeof value === "number") values[i] = value;
    histograms.push(typeof value === "object" && value !== null ? (read ?? value) : undefined);
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
