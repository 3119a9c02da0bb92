/** One counter of many series over a day, straight from blocks: what decoding, windows and sums cost together. */

import { existsSync } from "node:fs";
import path from "node:path";
import { labelsFromObject } from "@torus/model";
import { Engine } from "@torus/promql";
import { BlockBuilder, DataDirectory, DirectoryColumns } from "@torus/tsdb";
import { STEP_MS } from "./history.ts";

const RANGE_MS = 7_200_000;
const HOURS = 24;
const START_MS = Math.floor(1_700_000_000_000 / RANGE_MS) * RANGE_MS;
const WARM = 3;
const REPEATS = 5;

/** Blocks of two hours, each made by itself so that no more than its samples are in memory. */
async function writeCounter(dir: string, series: number): Promise<void> {
  const values = new Float64Array(1);
  const bits = new BigUint64Array(values.buffer);
  const labels = Array.from({ length: series }, (_, s) =>
    labelsFromObject({
      __name__: "x_total",
      instance: `10.16.0.${s % 250}:8080`,
      job: `job-${s % 8}`,
      pod: `pod-${s}`,
    }),
  );
  const totals = new Float64Array(series);
  let seed = 1;
  for (let from = 0; from < HOURS * 3_600_000; from += RANGE_MS) {
    const builder = new BlockBuilder(RANGE_MS);
    for (let at = from; at < from + RANGE_MS; at += STEP_MS) {
      for (let s = 0; s < series; s++) {
        seed = (seed * 48_271) % 2_147_483_647;
        values[0] = seed % 5000 === 0 ? 0 : (totals[s] as number) + (seed % 100);
        totals[s] = values[0];
        builder.add(labels[s] as (typeof labels)[number], START_MS + at, bits[0] as bigint);
      }
    }
    await builder.write(dir, Date.now);
  }
}

/** CPU seconds of `sum by (job) (rate(x_total[5m]))` in steps of a minute; the mean of several. */
export async function counterCpuSeconds(dir: string, series: number): Promise<number> {
  const data = path.join(dir, "counter");
  if (!existsSync(data)) await writeCounter(data, series);
  const queryable = new DirectoryColumns(new DataDirectory(data));
  const engine = new Engine({ timeoutMs: 60_000, now: Date.now });
  const run = () =>
    engine.range(
      queryable,
      "sum by (job) (rate(x_total[5m]))",
      START_MS,
      START_MS + HOURS * 3_600_000,
      60_000,
    );
  for (let i = 0; i < WARM; i++) await run();
  const before = process.cpuUsage();
  for (let i = 0; i < REPEATS; i++) await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6 / REPEATS;
}
