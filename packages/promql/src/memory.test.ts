/** What a query holds, as it tells its caller: groups times steps for an aggregation, whatever the number of series. */

import { labelsFromObject, type Queryable } from "@torus/model";
import { expect, test } from "vitest";
import { Engine } from "./engine.ts";

const STEPS = 500;
const STEP_MS = 60_000;
const GROUPS = 5;

/** `count` series of floats, made as they stream by into the same columns. */
function streaming(count: number): Queryable {
  const timestamps = Float64Array.from({ length: STEPS }, (_, i) => i * STEP_MS);
  const values = new Float64Array(STEPS);
  return {
    async *select() {
      await Promise.resolve();
      for (let i = 0; i < count; i++) {
        values.fill(i);
        const labels = labelsFromObject({
          __name__: "x_total",
          group: String(i % GROUPS),
          i: String(i).padStart(7, "0"),
        });
        yield [{ labels, timestamps, values, histograms: null, startTimestamps: null }];
      }
    },
    labelNames: () => Promise.resolve([]),
    labelValues: () => Promise.resolve([]),
  };
}

const engine = new Engine({ timeoutMs: 600_000, maxSamples: 0, now: () => 0 });

async function mostBytes(query: string, series: number): Promise<number> {
  let most = 0;
  await engine.range(streaming(series), query, 0, (STEPS - 1) * STEP_MS, STEP_MS, {
    charge: (held) => (most = Math.max(most, held)),
  });
  return most;
}

test.each([
  "sum by (group) (x_total)",
  "avg by (group) (rate(x_total[5m]))",
  "max by (group) (abs(x_total)) * 2",
  "stddev by (group) (-x_total)",
  "count(x_total > 1)",
  "sum by (group) (x_total) / (sum by (group) (x_total) + 1)",
])("%s holds as much for ten thousand series as for fifty", async (query) => {
  const few = await mostBytes(query, 50);
  const many = await mostBytes(query, 10_000);
  expect(many).toBe(few);
  // A fold has 24 bytes a step; a few columns of its result beside it.
  expect(few).toBeGreaterThan(0);
  expect(few).toBeLessThan(GROUPS * STEPS * 24 * 6);
});

test.each(["x_total", "topk(3, x_total)", "quantile by (group) (0.5, x_total)"])(
  "%s holds all its series, and says so",
  async (query) => {
    const bytes = await mostBytes(query, 400);
    expect(bytes).toBeGreaterThan(400 * STEPS * 8);
    expect(bytes).toBeLessThan(400 * STEPS * 8 * 3);
  },
);
