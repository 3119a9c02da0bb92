/**
 * Query tables: JSON lists of a load script, a query and its result, as promql-engine's tests are given.
 * Values are [milliseconds, text] pairs, histograms in the notation of script tests.
 */

import { type Labels, labelsFromObject } from "@torus/model";
import { parseNumber } from "../parse/numbers.ts";
import type { QueryResult, ResultSeries } from "../result.ts";
import {
  compareAnnotations,
  compareScalar,
  compareSeries,
  type ExpectedSeries,
} from "./compare.ts";
import { parseHistogram } from "./histogram-notation.ts";
import { compareLimited, limitkOf } from "./limited.ts";
import type { ScriptReport } from "./run.ts";
import { parseScript, type TextMatch } from "./script.ts";
import type { ScriptEngine } from "./script-engine.ts";
import { ScriptError } from "./script-error.ts";
import { ScriptStorage } from "./script-storage.ts";
import type { Point } from "./series-line.ts";

type Pair = readonly [ms: number, text: string];

type TableSeries = {
  metric?: Record<string, string>;
  value_ms?: Pair;
  values_ms?: readonly Pair[];
  histogram_ms?: Pair;
  histograms_ms?: readonly Pair[];
};

type TableCase = {
  id: string;
  load: string;
  query: string;
  kind: "instant" | "range";
  start_ms: number;
  end_ms: number;
  step_ms: number;
  result_type?: string;
  result?: readonly TableSeries[] | Pair;
  error?: string;
  warnings?: readonly string[];
  infos?: readonly string[];
};

/** @throws {ScriptError} when the text is no table. */
export async function runTable(text: string, engine: ScriptEngine): Promise<ScriptReport> {
  const report: ScriptReport = { passed: 0, failures: [] };
  for (const [i, one] of readTable(text).entries()) {
    const difference = await runCase(one, engine);
    if (difference === null) report.passed++;
    else report.failures.push({ line: i + 1, name: one.id, query: one.query, difference });
  }
  return report;
}

function readTable(text: string): TableCase[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ScriptError("the table is not JSON", { cause: error });
  }
  if (!Array.isArray(parsed)) throw new ScriptError("the table is not a list");
  return parsed.map((one: Partial<TableCase> | null, i) => {
    const complete =
      typeof one?.query === "string" &&
      typeof one.load === "string" &&
      (one.kind === "instant" || one.kind === "range") &&
      typeof one.start_ms === "number";
    if (!complete)
      throw new ScriptError(`entry ${i + 1} of the table lacks load, query, kind or start_ms`);
    return one as TableCase;
  });
}

async function runCase(one: TableCase, engine: ScriptEngine): Promise<string | null> {
  const storage = new ScriptStorage();
  for (const command of parseScript(one.load)) {
    if (command.kind === "load") storage.load(command.series, command.intervalMs, command.withNhcb);
  }
  const times = { startMs: one.start_ms, endMs: one.end_ms, stepMs: one.step_ms };
  // A range without a step is one instant, and its result a vector.
  const ask = (query: string) =>
    one.kind === "instant" || one.step_ms === 0
      ? engine.instant(storage, query, one.start_ms)
      : engine.range(storage, query, times);
  let result: QueryResult;
  try {
    result = await ask(one.query);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (one.error === undefined) return `failed: ${message}`;
    return message === one.error ? null : `expected the error ${one.error}, got ${message}`;
  }
  if (one.error !== undefined) return `expected the error ${one.error}, got a result`;
  const annotations =
    compareAnnotations("warning", textsOf(one.warnings), false, result.warnings) ??
    compareAnnotations("info", textsOf(one.infos), false, result.infos);
  if (annotations !== null) return annotations;
  const limitk = limitkOf(one.query);
  if (limitk === null) return compareResult(one, result);
  const input = await ask(one.query.slice(limitk.expr.start, limitk.expr.end));
  return compareLimited(limitk, wanted(one), seriesOf(result), seriesOf(input));
}

function textsOf(texts: readonly string[] | undefined): TextMatch[] {
  return (texts ?? []).map((text) => ({ kind: "text", text }));
}

function compareResult(one: TableCase, result: QueryResult): string | null {
  if (one.result_type === "scalar") {
    // Some entries have the pair in a list of one.
    const [first, text] = one.result as Pair | readonly [Pair];
    return compareScalar(numberOf(typeof first === "number" ? (text as string) : first[1]), result);
  }
  if (result.type !== one.result_type) return `expected a ${one.result_type}, got a ${result.type}`;
  if (result.type !== "vector" && result.type !== "matrix") return null;
  return compareSeries(wanted(one), result.series, {
    ordered: false,
    sorted: result.type === "matrix",
  });
}

function wanted(one: TableCase): ExpectedSeries[] {
  return ((one.result ?? []) as readonly TableSeries[]).map(expectedOf);
}

function seriesOf(result: QueryResult): readonly ResultSeries[] {
  return result.type === "vector" || result.type === "matrix" ? result.series : [];
}

function expectedOf(series: TableSeries): ExpectedSeries {
  const labels: Labels = labelsFromObject(series.metric ?? {});
  const points = new Map<number, Exclude<Point, null>>();
  const floats = series.values_ms ?? (series.value_ms === undefined ? [] : [series.value_ms]);
  for (const [ms, text] of floats) points.set(ms, { kind: "float", value: numberOf(text) });
  const histograms =
    series.histograms_ms ?? (series.histogram_ms === undefined ? [] : [series.histogram_ms]);
  for (const [ms, text] of histograms) {
    const { histogram, hintGiven } = parseHistogram(text.replace(/^\{\{|\}\}$/g, ""));
    points.set(ms, { kind: "histogram", histogram, hintGiven });
  }
  return { labels, points };
}

function numberOf(text: string): number {
  const value = parseNumber(text);
  if (value === null) throw new ScriptError(`bad value ${text}`);
  return value;
}
