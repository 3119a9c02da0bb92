/** Selectors and subqueries over a grid: their samples at each step, or the windows of each step. */

import {
  compareLabels,
  EMPTY_LABELS,
  type Histogram,
  type Labels,
  type SeriesColumns,
} from "@torus/model";
import type { Expr, Subquery, VectorSelector } from "./ast.ts";
import { children, unwrap, valueType } from "./ast.ts";
import { type Column, dropMetadata, type Grid, newColumn } from "./column.ts";
import type { Evaluation } from "./evaluate.ts";
import { checkExtension, type Extension, extended } from "./functions/extended.ts";
import { type Windows } from "./functions/range.ts";
import { withResetsDetected } from "./plan/histogram-totals.ts";
import { QueryExecutionError } from "./query-errors.ts";
import type { ResultSeries } from "./result.ts";
import { lastSamples, referenceTimes, smoothedColumn, windowsOf } from "./scan.ts";

/** A subquery may skip samples, so what a histogram knows of resets since the one before does not hold. */
function withoutHint(h: Histogram | undefined): Histogram | undefined {
  if (h === undefined || h.counterResetHint === "gauge") return h;
  return { ...h, counterResetHint: "unknown" };
}

/** A series with the windows of all steps. */
export type RangeSeries = { labels: Labels; windows: Windows; dropName: boolean };

export function extensionOf(selector: VectorSelector): Extension | null {
  if (selector.anchored) return "anchored";
  return selector.smoothed ? "smoothed" : null;
}

export async function* seriesOf(
  evaluation: Evaluation,
  selector: VectorSelector,
  mint: number,
  maxt: number,
  grid: Grid,
  rangeMs: number,
): AsyncGenerator<readonly SeriesColumns[]> {
  // The info series of info() are in no text, and so in no plan.
  const plan = evaluation.plan.selectors.get(selector);
  const { func, grouping, by } = plan?.surroundings ?? { func: "", grouping: [], by: false };
  const batches = evaluation.scope.queryable.select({
    mint,
    maxt,
    matchers: plan?.matchers ?? selector.matchers,
    skipChunks: false,
    limit: 0,
    startTimes: evaluation.scope.useStartTimestamps && rangeMs > 0,
    signal: evaluation.scope.signal,
    hints: { stepMs: grid.stepMs, rangeMs, func, grouping, by },
    onWarning: (text) => evaluation.warningPlaces.set(text, ""),
  });
  const detects = plan?.readsTotals === true;
  for await (const batch of batches) {
    evaluation.check();
    yield detects ? batch.map(withResetsDetected) : batch;
  }
}

export function timesOf(
  evaluation: Evaluation,
  of: VectorSelector | Subquery,
  grid: Grid,
): Float64Array {
  return referenceTimes(grid, {
    atMs: evaluation.at(of.at),
    offsetMs: evaluation.duration(of.offset),
  });
}

export async function* instantSelector(
  evaluation: Evaluation,
  selector: VectorSelector,
  grid: Grid,
  read: "value" | "time" | "start",
  refs: Float64Array = timesOf(evaluation, selector, grid),
): AsyncGenerator<Column[]> {
  if (refs.length === 0) return;
  const lookback = evaluation.scope.lookbackDeltaMs;
  const mint = (refs[0] as number) - lookback + 1;
  const last = refs[refs.length - 1] as number;
  const maxt = selector.smoothed ? last + lookback : last;
  const notes = evaluation.notes(selector);
  for await (const batch of seriesOf(evaluation, selector, mint, maxt, grid, 0)) {
    const out: Column[] = [];
    let samples = 0;
    for (const series of batch) {
      const column = selector.smoothed
        ? smoothedColumn(series, refs, lookback, notes)
        : lastSamples(series, refs, lookback, read);
      if (column === null) continue;
      for (let i = 0; i < grid.count; i++) samples += column.present[i] as number;
      out.push(column);
    }
    evaluation.totalSamples += samples;
    evaluation.hold(samples);
    yield out;
    evaluation.held -= samples;
  }
}

/** The windows of a range selector or subquery, a batch of series at a time. */
export function windowsOfRange(
  evaluation: Evaluation,
  expr: Expr,
  grid: Grid,
  func: string,
): AsyncGenerator<RangeSeries[]> {
  return evaluation.metered(unwrap(expr), readWindows(evaluation, expr, grid, func));
}

async function* readWindows(
  evaluation: Evaluation,
  expr: Expr,
  grid: Grid,
  func: string,
): AsyncGenerator<RangeSeries[]> {
  const inner = unwrap(expr);
  if (inner.kind === "subquery") {
    const before = evaluation.held;
    const bytesBefore = evaluation.heldBytes;
    const all = await subquery(evaluation, inner, grid);
    const samples = evaluation.held - before;
    yield all;
    evaluation.held -= samples;
    evaluation.heldBytes = bytesBefore;
    return;
  }
  if (inner.kind !== "matrixSelector")
    throw new QueryExecutionError(`a ${inner.kind} is not a range vector`);
  const { selector } = inner;
  const rangeMs = evaluation.duration(inner.range);
  const refs = referenceTimes(grid, {
    atMs: evaluation.at(selector.at),
    offsetMs: evaluation.duration(selector.offset),
  });
  if (refs.length === 0) return;
  const extension = extensionOf(selector);
  if (extension !== null && func !== "") checkExtension(extension, func);
  const lookback = evaluation.scope.lookbackDeltaMs;
  const mint = (refs[0] as number) - rangeMs + 1 - (extension === null ? 0 : lookback);
  const maxt = (refs[refs.length - 1] as number) + (extension === "smoothed" ? lookback : 0);
  const withStarts = evaluation.scope.useStartTimestamps && extension === null;
  for await (const batch of seriesOf(evaluation, selector, mint, maxt, grid, rangeMs)) {
    let samples = 0;
    const out = batch.map((series) => {
      samples += series.timestamps.length;
      const given = withStarts ? series : { ...series, startTimestamps: null };
      const windows = windowsOf(given, refs, rangeMs);
      return {
        labels: series.labels,
        windows: extension === null ? windows : extended(windows, extension, lookback),
        dropName: false,
      };
    });
    evaluation.totalSamples += samples;
    evaluation.hold(samples);
    yield out;
    evaluation.held -= samples;
  }
}

export async function subquery(
  evaluation: Evaluation,
  expr: Subquery,
  grid: Grid,
): Promise<RangeSeries[]> {
  const rangeMs = evaluation.duration(expr.range);
  const stepMs =
    (expr.step === null ? 0 : evaluation.duration(expr.step)) ||
    evaluation.scope.noStepSubqueryIntervalMs;
  const refs = referenceTimes(grid, {
    atMs: evaluation.at(expr.at),
    offsetMs: evaluation.duration(expr.offset),
  });
  if (refs.length === 0) return [];
  const after = (refs[0] as number) - rangeMs;
  let startMs = stepMs * Math.trunc(after / stepMs);
  if (startMs <= after) startMs += stepMs;
  const last = refs[refs.length - 1] as number;
  const count = last < startMs ? 0 : Math.floor((last - startMs) / stepMs) + 1;
  if (count === 0) return [];
  if (evaluation.scope.maxSamples > 0 && count > evaluation.scope.maxSamples)
    evaluation.hold(count);
  const inner: Grid = { startMs, stepMs, count };
  const columns =
    valueType(expr.expr) === "scalar"
      ? [
          {
            ...newColumn(EMPTY_LABELS, count),
            values: await evaluation.scalar(expr.expr, inner),
            present: new Uint8Array(count).fill(1),
          },
        ]
      : await evaluation.collect(expr.expr, inner);
  return columns.map((column) => {
    let n = 0;
    for (let i = 0; i < count; i++) n += column.present[i] as number;
    const timestamps = new Float64Array(n);
    const values = new Float64Array(n);
    const histograms =
      column.histograms === null ? null : Array.from<Histogram | undefined>({ length: n });
    n = 0;
    for (let i = 0; i < count; i++) {
      if (column.present[i] === 0) continue;
      timestamps[n] = startMs + i * stepMs;
      if (histograms !== null) histograms[n] = withoutHint(column.histograms?.[i]);
      values[n++] = column.values[i] as number;
    }
    const series = {
      labels: column.labels,
      timestamps,
      values,
      histograms,
      startTimestamps: null,
    };
    return {
      labels: column.labels,
      windows: windowsOf(series, refs, rangeMs),
      dropName: column.dropName,
    };
  });
}

/** A range selector or subquery as the result of an instant query: the samples of its one window. */
export async function rangeVector(
  evaluation: Evaluation,
  expr: Expr,
  timeMs: number,
): Promise<ResultSeries[]> {
  const out: ResultSeries[] = [];
  for await (const batch of windowsOfRange(
    evaluation,
    expr,
    { startMs: timeMs, stepMs: 1, count: 1 },
    "",
  )) {
    for (const { labels, windows, dropName } of batch) {
      const lo = windows.lo[0] as number;
      const hi = windows.hi[0] as number;
      if (hi <= lo) continue;
      evaluation.hold(hi - lo);
      evaluation.heldBytes += 200 + 16 * (hi - lo);
      evaluation.scope.charge?.(evaluation.heldBytes);
      out.push({
        labels: dropName ? dropMetadata(labels) : labels,
        timestamps: windows.timestamps.slice(lo, hi),
        values: windows.values.slice(lo, hi),
        histograms: windows.histograms?.slice(lo, hi) ?? null,
      });
    }
  }
  return out.sort((a, b) => compareLabels(a.labels, b.labels));
}

/** The times that each selector below sees at the steps. */
export function looksAt(evaluation: Evaluation, expr: Expr, refs: Float64Array): Float64Array[] {
  if (expr.kind !== "vectorSelector" && expr.kind !== "subquery") {
    return children(expr).flatMap((child) => looksAt(evaluation, child, refs));
  }
  const atMs = evaluation.at(expr.at);
  const offsetMs = evaluation.duration(expr.offset);
  const moved = refs.map((ms) => (atMs ?? ms) - offsetMs);
  return expr.kind === "subquery" ? looksAt(evaluation, expr.expr, moved) : [moved];
}
