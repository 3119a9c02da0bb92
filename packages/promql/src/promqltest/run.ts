/**
 * Runs script tests. Each `eval instant` is also asked with `@ time` put on its selectors, at other times, and as a
 * range query around its time; the answers must be the same.
 */

import { children, type Expr } from "../ast.ts";
import { ALL_FEATURES, parseExpr } from "../parse.ts";
import type { QueryResult, ResultSeries } from "../result.ts";
import {
  compareAnnotations,
  compareScalar,
  compareSeries,
  expectedSeries,
  floatsEqual,
  textMatches,
} from "./compare.ts";
import { type Command, parseScript } from "./script.ts";
import type { ScriptEngine } from "./script-engine.ts";
import { ScriptStorage } from "./script-storage.ts";

type Eval = Extract<Command, { kind: "eval" }>;

export type ScriptFailure = {
  line: number;
  /** The name of the case, or "". */
  name: string;
  query: string;
  /** What was expected and what came. */
  difference: string;
};

export type ScriptReport = { passed: number; failures: ScriptFailure[] };

/** @throws {ScriptError} when the script cannot be read. */
export async function runScript(text: string, engine: ScriptEngine): Promise<ScriptReport> {
  const storage = new ScriptStorage();
  const report: ScriptReport = { passed: 0, failures: [] };
  for (const command of parseScript(text)) {
    switch (command.kind) {
      case "clear":
        storage.clear();
        break;
      case "store":
        storage.addStore(command.mintMs, command.maxtMs);
        break;
      case "load":
        storage.load(command.series, command.intervalMs, command.withNhcb);
        break;
      case "eval": {
        const difference = await runEval(command, storage, engine);
        if (difference === null) report.passed++;
        else {
          const { line, name, query } = command;
          report.failures.push({ line, name, query, difference });
        }
      }
    }
  }
  return report;
}

async function runEval(
  command: Eval,
  storage: ScriptStorage,
  engine: ScriptEngine,
): Promise<string | null> {
  const { query, times } = command;
  if (times.kind === "range") {
    return withResult(
      command,
      () => engine.range(storage, query, times),
      (result) => compareMatrix(command, result, times.startMs, times.stepMs),
    );
  }
  const asked: [note: string, query: string, atMs: number][] = [["", query, times.atMs]];
  if (command.expect.fail === null) {
    for (const [pinned, atMs] of pinnedQueries(query, times.atMs)) {
      asked.push([`as ${pinned} at ${atMs} ms: `, pinned, atMs]);
    }
  }
  for (const [note, text, atMs] of asked) {
    const difference = await withResult(
      command,
      () => engine.instant(storage, text, atMs),
      (result) => compareInstant(command, result, atMs),
    );
    if (difference !== null) return note + difference;
    const around = await runAround(command, text, atMs, storage, engine);
    if (around !== null) return `${note}in a range query around its time: ${around}`;
  }
  return null;
}

async function withResult(
  command: Eval,
  ask: () => Promise<QueryResult>,
  compare: (result: QueryResult) => string | null,
): Promise<string | null> {
  const { expect } = command;
  let result: QueryResult;
  try {
    result = await ask();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (expect.fail === null) return `failed: ${message}`;
    if (textMatches(expect.fail, message)) return null;
    const wanted = expect.fail.kind === "text" ? expect.fail.text : "another text";
    return `expected the error ${wanted}, got ${message}`;
  }
  if (expect.fail !== null) return "expected an error, got a result";
  return (
    compareAnnotations("warning", expect.warn, expect.noWarn, result.warnings) ??
    compareAnnotations("info", expect.info, expect.noInfo, result.infos) ??
    compare(result)
  );
}

function compareInstant(command: Eval, result: QueryResult, atMs: number): string | null {
  const { expect } = command;
  if (expect.string !== null) {
    if (result.type !== "string") return `expected a string, got a ${result.type}`;
    return result.value === expect.string ? null : `expected ${expect.string}, got ${result.value}`;
  }
  if (expect.rangeVector !== null) {
    const { startMs, stepMs } = expect.rangeVector;
    return compareMatrix(command, result, startMs, stepMs);
  }
  if (command.scalar !== null) return compareScalar(command.scalar, result);
  if (result.type !== "vector") return `expected a vector, got a ${result.type}`;
  const want = expectedSeries(command.series, atMs, 0);
  const late = result.series.find((series) => series.timestamps[0] !== atMs);
  if (late !== undefined)
    return `expected a point at ${atMs} ms, got one at ${late.timestamps[0]} ms`;
  return compareSeries(want, result.series, { ordered: expect.ordered, sorted: false });
}

function compareMatrix(
  command: Eval,
  result: QueryResult,
  startMs: number,
  stepMs: number,
): string | null {
  if (result.type !== "matrix") return `expected a matrix, got a ${result.type}`;
  const want = expectedSeries(command.series, startMs, stepMs);
  return compareSeries(want, result.series, { ordered: false, sorted: true });
}

async function runAround(
  command: Eval,
  query: string,
  atMs: number,
  storage: ScriptStorage,
  engine: ScriptEngine,
): Promise<string | null> {
  const { expect, scalar, series } = command;
  if (expect.fail !== null || expect.string !== null || expect.rangeVector !== null) return null;
  if (mentions(query, boundedByQuery)) return null;
  let result: QueryResult;
  try {
    const minute = 60_000;
    result = await engine.range(storage, query, {
      startMs: atMs - minute,
      endMs: atMs + minute,
      stepMs: minute,
    });
  } catch (error) {
    return `failed: ${error instanceof Error ? error.message : String(error)}`;
  }
  // Order and values of an ordered result belong to instant queries alone.
  if (expect.ordered) return null;
  if (result.type !== "matrix") return `expected a matrix, got a ${result.type}`;
  const points = result.series.flatMap((one) => pointAt(one, atMs));
  if (scalar !== null) {
    const got = points[0]?.values[0] ?? Number.NaN;
    return points.length === 1 && floatsEqual(scalar, got)
      ? null
      : `expected ${scalar}, got ${got}`;
  }
  return compareSeries(expectedSeries(series, atMs, 0), points, { ordered: false, sorted: true });
}

function pointAt(series: ResultSeries, atMs: number): ResultSeries[] {
  const i = series.timestamps.indexOf(atMs);
  if (i < 0) return [];
  return [
    {
      labels: series.labels,
      timestamps: series.timestamps.slice(i, i + 1),
      values: series.values.slice(i, i + 1),
      histograms: series.histograms?.slice(i, i + 1) ?? null,
    },
  ];
}

/** Functions whose value depends on the time of evaluation though their arguments are pinned. */
const dependOnTime: ReadonlySet<string> = new Set(
  "days_in_month day_of_month day_of_week day_of_year hour minute month year predict_linear time timestamp start end range step".split(
    " ",
  ),
);
const boundedByQuery: ReadonlySet<string> = new Set(["start", "end", "range", "step"]);

function mentions(query: string, names: ReadonlySet<string>): boolean {
  const words = query.toLowerCase().matchAll(/([a-z_]+)\s*\(/g);
  return [...words].some(([, name = ""]) => names.has(name));
}

/** The query with `@ time` on each selector and subquery that has none, and the times to ask it at. */
export function pinnedQueries(query: string, atMs: number): [query: string, atMs: number][] {
  if (mentions(query, dependOnTime)) return [];
  const root = parseExpr(query, { enabledFeatures: ALL_FEATURES });
  const ends: number[] = [];
  const collect = (expr: Expr): void => {
    if (expr.kind === "matrixSelector") {
      if (expr.selector.at === null) ends.push(expr.end);
    } else if (expr.kind === "vectorSelector" || expr.kind === "subquery") {
      // What is inside a pinned subquery moves with it.
      if (expr.at === null) ends.push(expr.end);
    } else for (const child of children(expr)) collect(child);
  };
  collect(root);
  let pinned = query;
  for (const end of ends.sort((a, b) => b - a)) {
    pinned = `${pinned.slice(0, end)} @ ${(atMs / 1000).toFixed(3)} ${pinned.slice(end)}`;
  }
  const others =
    atMs === 0 ? [-1_000, 0, 1_000] : [-10 * atMs, 0, Math.trunc(atMs / 5), atMs, 10 * atMs];
  return others.map((t) => [pinned, t]);
}
