/** A matrix of 2,000 series with 1,440 points each, 2.9 million in all: `npx vitest bench --run packages/query` */

import { labelsFromObject } from "@torus/model";
import type { QueryResult } from "@torus/promql";
import { bench, describe } from "vitest";
import { queryAnswer } from "./json-writer.ts";

const SERIES = 2000;
const POINTS = 1440;

function matrix(valueOf: (random: number) => number): QueryResult {
  let seed = 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  const timestamps = Float64Array.from({ length: POINTS }, (_, i) => 1.7e12 + i * 60_000);
  return {
    type: "matrix",
    series: Array.from({ length: SERIES }, (_, i) => ({
      labels: labelsFromObject({ __name__: "x_total", instance: `i${i % 200}`, pod: `p${i}` }),
      timestamps,
      values: Float64Array.from({ length: POINTS }, () => valueOf(random())),
      histograms: null,
    })),
    warnings: [],
    infos: [],
    stats: { totalQueryableSamples: 0, peakSamples: 0 },
  };
}

const whole = matrix((random) => Math.floor(random * 1e6));
const rates = matrix((random) => (random * 1000) / 3);

const NO_EXTRAS = { stats: null, analysis: null, warnings: [], infos: [] };
let bytes = 0;
const write = (result: QueryResult) => {
  for (const part of queryAnswer(result, NO_EXTRAS)) bytes += part.length;
};
const stringify = (result: QueryResult) => {
  if (result.type !== "matrix") return;
  const series = result.series.map(({ labels, timestamps, values }) => ({
    metric: labels,
    values: Array.from(timestamps, (ms, i) => [ms / 1000, String(values[i])]),
  }));
  bytes += JSON.stringify(series).length;
};

const SHORT = { iterations: 3, warmupIterations: 1, time: 0, warmupTime: 0 };
describe("whole numbers", () => {
  bench("the writer", () => write(whole), SHORT);
  bench("JSON.stringify", () => stringify(whole), SHORT);
});
describe("rates of 16 digits", () => {
  bench("the writer", () => write(rates), SHORT);
  bench("JSON.stringify", () => stringify(rates), SHORT);
});
