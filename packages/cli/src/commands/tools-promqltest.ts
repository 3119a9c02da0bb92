/**
 * `torus tools promqltest FILE...`: runs PromQL script tests, and tables of queries with their answers (.json), on the
 * engine with every experimental part enabled, as Prometheus' own runner does.
 */

import { readFileSync } from "node:fs";
import {
  ALL_FEATURES,
  Engine,
  type EngineFeature,
  runScript,
  runTable,
  type ScriptEngine,
  ScriptError,
} from "@torus/promql";
import { defineCommand, UsageError } from "../command.ts";

/** Scripts and tables assume other settings: see the table's own description of its answers. */
function scriptEngine(isTable: boolean): ScriptEngine {
  const features: EngineFeature[] = [...ALL_FEATURES];
  if (!isTable) features.push("promql-delayed-name-removal", "use-start-timestamps");
  const engine = new Engine({
    timeoutMs: 60_000,
    now: Date.now,
    enabledFeatures: new Set(features),
    ...(isTable ? { noStepSubqueryIntervalMs: 30_000 } : {}),
  });
  return {
    instant: (storage, query, timeMs) => engine.instant(storage, query, timeMs),
    range: (storage, query, { startMs, endMs, stepMs }) =>
      engine.range(storage, query, startMs, endMs, stepMs),
  };
}

export const toolsPromqltest = defineCommand({
  name: "tools promqltest",
  summary: "run PromQL script tests",
  positional: "FILE...",
  flags: {},
  run: async (_, env) => {
    if (env.args.length === 0) throw new UsageError("name a script (.test) or a table (.json)");
    let passed = 0;
    let failed = 0;
    for (const file of env.args) {
      const isTable = file.endsWith(".json");
      let text: string;
      try {
        text = readFileSync(file, "utf8");
      } catch (error) {
        throw new UsageError((error as Error).message, { cause: error });
      }
      try {
        const report = await (isTable ? runTable : runScript)(text, scriptEngine(isTable));
        passed += report.passed;
        failed += report.failures.length;
        for (const { line, name, query, difference } of report.failures) {
          const what = difference.replaceAll("\n", "\n  ");
          env.stdout.write(
            `${file}:${line}: ${name === "" ? "eval" : name}: ${query}\n  ${what}\n`,
          );
        }
      } catch (error) {
        if (!(error instanceof ScriptError)) throw error;
        failed++;
        env.stdout.write(`${file}: ${error.message}\n`);
      }
    }
    env.stdout.write(`${passed} passed, ${failed} failed\n`);
    return failed === 0 ? 0 : 1;
  },
});
