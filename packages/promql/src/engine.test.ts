import type { Queryable, SeriesColumns } from "@torus/model";
import { setStale } from "@torus/model";
import { expect, test } from "vitest";
import { Engine } from "./engine.ts";
import { ScriptStorage } from "./promqltest/script-storage.ts";
import { QueryCanceledError } from "./query-errors.ts";

const engine = new Engine({ timeoutMs: 60_000, now: () => 0 });

/** One counter of `job`, a sample each 15 s from 0. */
function counter(job: string, values: Float64Array): SeriesColumns {
  return {
    labels: ["__name__", "x_total", "job", job],
    timestamps: values.map((_, i) => i * 15_000),
    values,
    histograms: null,
    startTimestamps: null,
  };
}

function storage(...series: SeriesColumns[]): Queryable {
  return {
    async *select({ mint, maxt }) {
      for (const one of series) {
        const inside = [...one.timestamps.keys()].filter((i) => {
          const t = one.timestamps[i] as number;
          return t >= mint && t <= maxt;
        });
        const from = inside[0] ?? 0;
        const to = from + inside.length;
        yield [
          {
            ...one,
            timestamps: one.timestamps.slice(from, to),
            values: one.values.slice(from, to),
          },
        ];
      }
    },
    labelNames: () => Promise.resolve(["__name__", "job"]),
    labelValues: () => Promise.resolve([]),
  };
}

test("rates are summed by label over all steps, resets included", async () => {
  const rising = Float64Array.from({ length: 41 }, (_, i) => i * 15);
  const reset = Float64Array.from({ length: 41 }, (_, i) => (i < 30 ? i * 15 : (i - 30) * 15));
  const data = storage(counter("a", rising), counter("b", reset));
  const result = await engine.range(
    data,
    "sum by (job) (rate(x_total[1m]))",
    120_000,
    600_000,
    60_000,
  );
  if (result.type !== "matrix") throw new Error(result.type);
  expect(result.series.map((series) => series.labels)).toEqual([
    ["job", "a"],
    ["job", "b"],
  ]);
  expect(result.series[0]?.timestamps).toHaveLength(9);
  for (const value of result.series[0]?.values ?? []) expect(value).toBeCloseTo(1, 12);
});

test("a window is open on the left", async () => {
  const data = storage(counter("a", Float64Array.of(1, 2, 3, 4, 5)));
  const result = await engine.instant(data, "count_over_time(x_total[30s])", 60_000);
  expect(result.type === "vector" && result.series[0]?.values[0]).toBe(2);
});

test("a range selector as an instant query gives the samples themselves", async () => {
  const data = storage(counter("a", Float64Array.of(1, 2, 3, 4, 5)));
  const result = await engine.instant(data, "x_total[30s]", 60_000);
  if (result.type !== "matrix") throw new Error(result.type);
  expect([...(result.series[0]?.timestamps ?? [])]).toEqual([45_000, 60_000]);
  expect([...(result.series[0]?.values ?? [])]).toEqual([4, 5]);
});

test("a staleness marker ends a series for selectors and is no sample of a window", async () => {
  const values = Float64Array.of(1, 2, 3);
  setStale(values, 2);
  const data = storage(counter("a", values));
  expect(await engine.instant(data, "x_total", 30_000)).toMatchObject({ series: [] });
  const counted = await engine.instant(data, "count_over_time(x_total[1m])", 30_000);
  expect(counted.type === "vector" && counted.series[0]?.values[0]).toBe(2);
});

test("more samples than allowed are an error", async () => {
  const small = new Engine({ timeoutMs: 60_000, now: () => 0, maxSamples: 2 });
  const data = storage(counter("a", Float64Array.of(1, 2, 3)));
  await expect(small.range(data, "x_total", 0, 30_000, 15_000)).rejects.toThrow(
    "query processing would load too many samples into memory in query execution",
  );
});

test("an aborted query is canceled and a late one times out", async () => {
  const data = storage(counter("a", Float64Array.of(1)));
  await expect(
    engine.instant(data, "x_total", 0, { signal: AbortSignal.abort() }),
  ).rejects.toBeInstanceOf(QueryCanceledError);
  let now = 0;
  const late = new Engine({ timeoutMs: 1, now: () => (now += 10) });
  await expect(late.instant(data, "x_total", 0)).rejects.toThrow("query timed out");
});

test("two partners on the one side of a match are an error", async () => {
  const data = storage(counter("a", Float64Array.of(1)), counter("b", Float64Array.of(1)));
  await expect(engine.instant(data, "x_total + on() x_total", 0)).rejects.toThrow(
    "many-to-many matching not allowed: matching labels must be unique on one side",
  );
});

test("trimming is for histograms only", async () => {
  await expect(engine.instant(new ScriptStorage(), "1 </ 2", 0)).rejects.toThrow(
    'operator "</" not allowed for Scalar operations',
  );
});

test("an aggregation that is written twice reads its series once and gives the same answer", async () => {
  const data = storage(counter("a", Float64Array.of(1)), counter("b", Float64Array.of(3)));
  const selects: string[] = [];
  const watched: Queryable = {
    select: (select) => {
      selects.push(select.hints.func);
      return data.select(select);
    },
    labelNames: (select) => data.labelNames(select),
    labelValues: (name, select) => data.labelValues(name, select),
  };
  const twice = await engine.instant(watched, "sum(x_total) / (sum(x_total) + 4)", 0);
  expect(selects).toHaveLength(1);
  const apart = await engine.instant(watched, "sum(x_total) / (sum( x_total) + 4)", 0);
  expect(selects).toHaveLength(3);
  expect(twice).toMatchObject({ type: "vector", series: [{ values: Float64Array.of(0.5) }] });
  expect(apart).toMatchObject({ series: [{ values: Float64Array.of(0.5) }] });
});
