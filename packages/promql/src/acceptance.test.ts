import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Engine } from "./engine.ts";
import { ALL_FEATURES } from "./parse.ts";
import { runScript } from "./promqltest/run.ts";
import { runTable } from "./promqltest/table.ts";

const folder = new URL("../../../../shared/promqltest/", import.meta.url);

const engine = new Engine({
  timeoutMs: 60_000,
  now: () => 0,
  enabledFeatures: new Set([
    ...ALL_FEATURES,
    "promql-delayed-name-removal" as const,
    "use-start-timestamps" as const,
  ]),
});

/** Every script file with the number of its cases. */
const files: readonly (readonly [name: string, cases: number])[] = [
  ["aggregators", 96],
  ["at_modifier", 47],
  ["collision", 1],
  ["duration_expression", 35],
  ["extended_vectors", 101],
  ["fill-modifier", 28],
  ["functions", 259],
  ["histograms", 111],
  ["info", 32],
  ["limit", 22],
  ["literals", 15],
  ["name_label_dropping", 18],
  ["native_histograms", 313],
  ["operators", 128],
  ["range_queries", 11],
  ["selectors", 19],
  ["staleness", 10],
  ["start_timestamps", 16],
  ["subquery", 20],
  ["trig_functions", 11],
  ["type_and_unit", 35],
  ["thanos-multistore/aggregators", 25],
];

describe.skipIf(!existsSync(folder))("script tests (skipped where their files are missing)", () => {
  test.each(files)("%s passes whole: %i cases", async (name, cases) => {
    const report = await runScript(readFileSync(new URL(`${name}.test`, folder), "utf8"), {
      instant: (storage, query, timeMs) => engine.instant(storage, query, timeMs),
      range: (storage, query, { startMs, endMs, stepMs }) =>
        engine.range(storage, query, startMs, endMs, stepMs),
    });
    expect(report).toEqual({ passed: cases, failures: [] });
  });

  test("the table of queries with Prometheus' answers passes whole: 239 cases", async () => {
    const table = new Engine({
      timeoutMs: 60_000,
      now: () => 0,
      noStepSubqueryIntervalMs: 30_000,
      enabledFeatures: ALL_FEATURES,
    });
    const text = readFileSync(new URL("promql-engine.json", folder), "utf8");
    const report = await runTable(text, {
      instant: (storage, query, timeMs) => table.instant(storage, query, timeMs),
      range: (storage, query, { startMs, endMs, stepMs }) =>
        table.range(storage, query, startMs, endMs, stepMs),
    });
    expect(report).toEqual({ passed: 239, failures: [] });
  });
});
