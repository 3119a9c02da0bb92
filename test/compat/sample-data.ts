/**
 * An hour of samples for comparisons with another engine: gauges with gaps and NaN, series that end with a staleness
 * marker and begin late, counters with resets, a classic histogram. Scrapes are 15 s apart and begin beside the whole
 * quarter minutes, so that windows which end there have no sample at their edge.
 */

import {
  compareLabels,
  type LabelSelect,
  type Labels,
  labelsFromPairs,
  labelValue,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
  setStale,
} from "@torus/model";
import type { Random } from "@torus/testkit";

export const STEP_MS = 15_000;
const SCRAPES = 240;
const EDGE_MS = 3217;

/** Ascending by labels. */
export function sampleData(startMs: number, random: Random): SeriesColumns[] {
  const out: SeriesColumns[] = [];
  for (const job of ["api", "db", "web"]) {
    for (let i = 0; i < 5; i++) {
      const target: [string, string][] = [
        ["instance", `i${i}`],
        ["job", job],
      ];
      const zone: [string, string][] = i % 2 === 0 ? [["zone", `z${i % 4}`]] : [];
      const add = (name: string, own: [string, string][], value: (scrape: number) => number) => {
        const labels = labelsFromPairs(
          [["__name__", name], ...target, ...own].sort(([a = ""], [b = ""]) =>
            a < b ? -1 : 1,
          ) as [string, string][],
        );
        out.push(columns(labels, startMs, value, random));
      };
      add("memory_bytes", zone, () => 1e6 * (1 + random.unit()));
      add("temperature_celsius", [], () => random.unit() * 80 - 30);
      add("queue_length", zone, () => random.between(0, 1000) + random.unit());
      for (const name of ["requests_total", "errors_total"]) {
        // Far from zero, and never two resets in a window: 2.42 lets the way to zero choose how far a rate is
        // extrapolated, 3.x does not.
        let total = 1e7 * (1 + random.unit());
        const resetAt = random.between(10, 60);
        add(name, zone, (scrape) => {
          total = scrape % 100 === resetAt ? total * 0.2 : total + random.between(0, 500);
          return total;
        });
      }
      const bounds = ["0.1", "0.5", "1", "5", "+Inf"];
      const increments = Array.from({ length: SCRAPES }, () =>
        bounds.map(() => random.between(0, 50)),
      );
      bounds.forEach((le, bucket) => {
        let total = 1e6 * (bucket + 1);
        add("latency_seconds_bucket", [["le", le]], (scrape) => {
          const row = increments[scrape] as number[];
          total += row.slice(0, bucket + 1).reduce((sum, each) => sum + each, 0);
          return total;
        });
      });
    }
  }
  return out.sort((a, b) => compareLabels(a.labels, b.labels));
}

function columns(
  labels: Labels,
  startMs: number,
  value: (scrape: number) => number,
  random: Random,
): SeriesColumns {
  const isBucket = labelValue(labels, "__name__") === "latency_seconds_bucket";
  const first = !isBucket && random.unit() < 0.1 ? random.between(20, 100) : 0;
  const last = !isBucket && random.unit() < 0.1 ? random.between(120, 200) : SCRAPES;
  const isGauge = !/_total$|_bucket$/.test(labelValue(labels, "__name__"));
  const timestamps: number[] = [];
  const values: number[] = [];
  let staleAt = -1;
  for (let scrape = 0; scrape < SCRAPES; scrape++) {
    const next = value(scrape);
    if (scrape < first || scrape > last) continue;
    // A target that is away now and then; longer than the lookback once in a while.
    if (!isBucket && random.unit() < 0.02) {
      scrape += random.unit() < 0.1 ? 25 : 3;
      continue;
    }
    if (scrape === last) staleAt = timestamps.length;
    timestamps.push(startMs + scrape * STEP_MS + EDGE_MS);
    values.push(isGauge && random.unit() < 0.003 ? Number.NaN : next);
  }
  const columns = Float64Array.from(values);
  if (staleAt >= 0) setStale(columns, staleAt);
  return {
    labels,
    timestamps: Float64Array.from(timestamps),
    values: columns,
    histograms: null,
    startTimestamps: null,
  };
}

/** Series in memory as the engine reads them. */
export class SeriesInMemory implements Queryable {
  readonly #series: readonly SeriesColumns[];

  constructor(series: readonly SeriesColumns[]) {
    this.#series = series;
  }

  async *select(select: SeriesSelect): AsyncIterable<readonly SeriesColumns[]> {
    for (const series of this.#matching(select)) {
      const { timestamps, values } = series;
      let from = 0;
      while (from < timestamps.length && (timestamps[from] as number) < select.mint) from++;
      let to = from;
      while (to < timestamps.length && (timestamps[to] as number) <= select.maxt) to++;
      if (from === to) continue;
      yield [{ ...series, timestamps: timestamps.slice(from, to), values: values.slice(from, to) }];
    }
  }

  labelNames(select: LabelSelect): Promise<string[]> {
    const names = this.#matching(select).flatMap(({ labels }) =>
      labels.filter((_, i) => i % 2 === 0),
    );
    return Promise.resolve([...new Set(names)].sort());
  }

  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = this.#matching(select).map(({ labels }) => labelValue(labels, name));
    return Promise.resolve([...new Set(values)].filter((value) => value !== "").sort());
  }

  #matching({ matchers }: { matchers: LabelSelect["matchers"] }): SeriesColumns[] {
    return this.#series.filter(({ labels }) =>
      matchers.every((matcher) => matcher.matches(labelValue(labels, matcher.name))),
    );
  }
}
