/** The counter-reset pass over columns, and replicas chosen between after it. */

import type { WireChunk } from "@torus/protocol";
import { encodeSamples } from "@torus/tsdb";
import { expect, test } from "vitest";
import type { Columns } from "./columns.ts";
import { columnTotals, counterTotals } from "./counter-resets.ts";
import { dedupColumns } from "./dedup.ts";

const columns = (samples: readonly (readonly [ms: number, value: number])[]): Columns => ({
  timestamps: Float64Array.from(samples, ([ms]) => ms),
  values: Float64Array.from(samples, ([, value]) => value),
  histograms: null,
  startTimestamps: null,
});
const samplesOf = ({ timestamps, values }: Columns) =>
  [...timestamps].map((t, i) => [t, values[i]]);

const falling = columns([
  [0, 10],
  [15_000, 20],
  [30_000, Number.NaN],
  [45_000, 5],
  [60_000, 7],
]);
const totals = [
  [0, 10],
  [15_000, 20],
  [45_000, 25],
  [60_000, 27],
];

test("values that fall go on from the total, NaN is left out", () => {
  expect(samplesOf(columnTotals(falling))).toEqual(totals);
});

test.each(["penalty", "chain"] as const)(
  "one replica of a counter, copies joined before, is a running total by %s",
  (algorithm) => {
    expect(samplesOf(dedupColumns([falling], algorithm, "rate"))).toEqual(totals);
  },
);

test("without a counter function values stay as they are", () => {
  expect(samplesOf(dedupColumns([falling], "chain", ""))).toEqual(samplesOf(falling));
});

test("floats are totals whether their chunks have room for start timestamps or not", () => {
  const values = new BigUint64Array(Float64Array.of(5, 8, 2, 4).buffer);
  const samples = {
    times: BigInt64Array.of(1000n, 2000n, 3000n, 4000n),
    startTimes: BigInt64Array.of(1n, 1n, 2500n, 2500n),
    values,
    histograms: null,
  };
  for (const withStartTimes of [false, true]) {
    const chunks = encodeSamples(samples, withStartTimes).map(
      (chunk): WireChunk => ({ ...chunk, hash: 0n, aggregate: "raw" }),
    );
    expect(samplesOf(counterTotals(chunks))).toEqual([
      [1000, 5],
      [2000, 8],
      [3000, 10],
      [4000, 12],
    ]);
  }
});
