/** 2,000 counters over 24 h at 15 s, from memory: what the engine itself costs. */

import {
  labelsFromObject,
  labelValue,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
} from "@torus/model";
import { bench, describe } from "vitest";
import { Engine } from "./engine.ts";

const SERIES = 2000;
const STEP_MS = 15_000;
const SAMPLES = 5760;
const BATCH = 64;

function counters(): SeriesColumns[] {
  const timestamps = Float64Array.from({ length: SAMPLES }, (_, i) => i * STEP_MS);
  let seed = 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  return Array.from({ length: SERIES }, (_, s) => {
    const values = new Float64Array(SAMPLES);
    let value = 0;
    for (let i = 0; i < SAMPLES; i++) {
      value = random() < 0.0005 ? 0 : value + Math.floor(random() * 100);
      values[i] = value;
    }
    return {
      labels: labelsFromObject({
        __name__: "x_total",
        instance: `i${s % 200}`,
        job: `job${s % 10}`,
        pod: `p${s}`,
      }),
      timestamps,
      values,
      histograms: null,
      startTimestamps: null,
    };
  });
}

const all = counters();

const data: Queryable = {
  async *select({ matchers, mint, maxt }: SeriesSelect) {
    const from = Math.max(0, Math.ceil(mint / STEP_MS));
    const to = Math.min(SAMPLES, Math.floor(maxt / STEP_MS) + 1);
    for (let i = 0; i < all.length; i += BATCH) {
      yield all
        .slice(i, i + BATCH)
        .filter((series) => matchers.every((m) => m.matches(labelValue(series.labels, m.name))))
        .map((series) => ({
          ...series,
          timestamps: series.timestamps.subarray(from, to),
          values: series.values.subarray(from, to),
        }));
    }
  },
  labelNames: () => Promise.resolve([]),
  labelValues: () => Promise.resolve([]),
};

const engine = new Engine({ timeoutMs: 600_000, now: () => 0, maxSamples: 0 });
const END = (SAMPLES - 1) * STEP_MS;

const queries = [
  "sum by (job) (rate(x_total[5m]))",
  "x_total",
  "sum(x_total)",
  "max_over_time(x_total[1h])",
  "avg_over_time(x_total[5m])",
  "quantile_over_time(0.9, x_total[5m])",
  "topk(5, rate(x_total[5m]))",
  "histogram_quantile(0.9, sum by (job, instance) (rate(x_total[5m])))",
  "x_total / on (pod) x_total",
  "sum by (job) (rate(x_total[5m])) / sum by (job) (increase(x_total[1h]))",
];

describe("24 h in steps of 60 s", () => {
  for (const query of queries) {
    bench(
      query,
      async () => {
        await engine.range(data, query, 0, END, 60_000);
      },
      { iterations: 3, warmupIterations: 1, time: 0, warmupTime: 0 },
    );
  }
});
