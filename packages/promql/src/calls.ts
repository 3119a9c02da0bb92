/** Function calls over a grid. */

import { EMPTY_LABELS, type Histogram, labelValue, METRIC_NAME } from "@torus/model";
import type { Call, Expr, VectorSelector } from "./ast.ts";
import { unwrap, valueType } from "./ast.ts";
import { braced, type Column, dropMetadata, type Grid, joined, newColumn } from "./column.ts";
import { mapped, readHistograms } from "./column-maps.ts";
import type { Evaluation } from "./evaluate.ts";
import { labelsOfAbsent } from "./functions/absent.ts";
import { dateFunctions, elementwise } from "./functions/elementwise.ts";
import { extendedKernel } from "./functions/extended.ts";
import {
  fractionOfHistograms,
  quantileOfHistograms,
  quantilesOfHistograms,
} from "./functions/histogram.ts";
import { enriched, infoRequest } from "./functions/info.ts";
import { replaceLabel } from "./functions/label.ts";
import { histogramVariance } from "./functions/native-histogram.ts";
import { rangeKernels } from "./functions/range.ts";
import { type MixedWindows, mixedKernel } from "./functions/range-histogram.ts";
import { sorted } from "./functions/sort.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { referenceTimes } from "./scan.ts";
import { extensionOf, instantSelector, looksAt, timesOf, windowsOfRange } from "./selectors.ts";
import { stringOf } from "./string-argument.ts";

const DATE_DEFAULTS_TO_NOW = dateFunctions;

/** Range functions that keep the metric name. */
const keepsName: ReadonlySet<string> = new Set(["last_over_time", "first_over_time"]);

const histogramReaders: ReadonlyMap<string, (histogram: Histogram) => number> = new Map([
  ["histogram_count", (histogram: Histogram) => histogram.count],
  ["histogram_sum", (histogram: Histogram) => histogram.sum],
  ["histogram_avg", (histogram: Histogram) => histogram.sum / histogram.count],
  ["histogram_stdvar", histogramVariance],
  ["histogram_stddev", (histogram: Histogram) => Math.sqrt(histogramVariance(histogram))],
]);

/** timestamp() of a selector with `@` does not see its offset, in Prometheus and here. */
function withoutOffsetAt(selector: VectorSelector): VectorSelector {
  return selector.at === null ? selector : { ...selector, offset: null };
}

export async function* call(
  evaluation: Evaluation,
  expr: Call,
  grid: Grid,
): AsyncGenerator<Column[]> {
  const name = expr.func.name;
  const delayed = evaluation.scope.delayedNameRemoval;
  const args = expr.args;
  const first = args[0] as Expr;
  if (name === "absent_over_time" || name === "absent") {
    yield [await absent(evaluation, expr, grid)];
    return;
  }
  if (args.some((arg) => valueType(arg) === "matrix")) {
    yield* rangeCall(evaluation, expr, grid);
    return;
  }
  const toDate = DATE_DEFAULTS_TO_NOW.get(name);
  if (toDate !== undefined && args.length === 0) {
    const out = newColumn(EMPTY_LABELS, grid.count);
    for (let i = 0; i < grid.count; i++) {
      out.values[i] = toDate((grid.startMs + i * grid.stepMs) / 1000, 0, 0) as number;
      out.present[i] = 1;
    }
    yield [out];
    return;
  }
  const map = elementwise.get(name) ?? toDate;
  if (map !== undefined) {
    const a = args[1] === undefined ? null : await evaluation.scalar(args[1], grid);
    const b = args[2] === undefined ? null : await evaluation.scalar(args[2], grid);
    for await (const batch of evaluation.vector(first, grid)) {
      yield batch.map((column) =>
        mapped(evaluation, column, (value, i) =>
          map(
            value,
            a === null ? Number.NaN : (a[i] as number),
            b === null ? Number.NaN : (b[i] as number),
          ),
        ),
      );
    }
    return;
  }
  const read = histogramReaders.get(name);
  if (read !== undefined) {
    for await (const batch of evaluation.vector(first, grid)) {
      yield batch.map((column) => readHistograms(evaluation, column, read));
    }
    return;
  }
  switch (name) {
    case "vector": {
      const values = await evaluation.scalar(first, grid);
      yield [
        {
          ...newColumn(EMPTY_LABELS, grid.count),
          values,
          present: new Uint8Array(grid.count).fill(1),
        },
      ];
      return;
    }
    case "timestamp": {
      const inner = unwrap(first);
      const batches =
        inner.kind === "vectorSelector"
          ? evaluation.meteredColumns(
              inner,
              instantSelector(
                evaluation,
                inner,
                grid,
                "time",
                timesOf(evaluation, withoutOffsetAt(inner), grid),
              ),
            )
          : evaluation.vector(first, grid);
      for await (const batch of batches) {
        yield batch.map((column) =>
          mapped(evaluation, { ...column, histograms: null }, (value, i) =>
            inner.kind === "vectorSelector" ? value : (grid.startMs + i * grid.stepMs) / 1000,
          ),
        );
      }
      return;
    }
    case "start_timestamp": {
      const inner = unwrap(first);
      if (inner.kind !== "vectorSelector") return;
      for await (const batch of instantSelector(evaluation, inner, grid, "start")) {
        yield batch.map((column) => mapped(evaluation, column, (value) => value));
      }
      return;
    }
    case "sort":
    case "sort_desc":
    case "sort_by_label":
    case "sort_by_label_desc":
      yield sorted(expr, await evaluation.collectOnce(first, grid), grid);
      return;
    case "histogram_quantile": {
      const q = await evaluation.scalar(first, grid);
      warnQuantile(evaluation, q, first);
      const vector = args[1] as Expr;
      const columns = await evaluation.collectOnce(vector, grid);
      yield quantileOfHistograms(columns, q, delayed, evaluation.notes(vector));
      return;
    }
    case "histogram_quantiles": {
      const quantiles: Float64Array[] = [];
      for (const arg of args.slice(2)) {
        const q = await evaluation.scalar(arg, grid);
        warnQuantile(evaluation, q, arg);
        quantiles.push(q);
      }
      yield quantilesOfHistograms(
        await evaluation.collectOnce(first, grid),
        stringOf(args[1] as Expr),
        quantiles,
        grid.count,
        delayed,
        evaluation.notes(first),
      );
      return;
    }
    case "histogram_fraction": {
      const from = await evaluation.scalar(first, grid);
      const to = await evaluation.scalar(args[1] as Expr, grid);
      const vector = args[2] as Expr;
      const columns = await evaluation.collectOnce(vector, grid);
      yield fractionOfHistograms(columns, from, to, delayed, evaluation.notes(vector));
      return;
    }
    case "info":
      yield await info(evaluation, expr, grid);
      return;
    case "label_replace":
    case "label_join": {
      const texts = args.slice(1).map(stringOf);
      const relabel = replaceLabel(name, texts);
      const out = (await evaluation.collectOnce(first, grid)).map((column) => ({
        ...column,
        labels: relabel(column.labels),
        dropName: texts[0] === METRIC_NAME ? false : column.dropName,
      }));
      yield joined(out);
      return;
    }
    default:
      throw new QueryExecutionError(`function "${name}" is not supported yet`);
  }
}

export async function* rangeCall(
  evaluation: Evaluation,
  expr: Call,
  grid: Grid,
): AsyncGenerator<Column[]> {
  const name = expr.func.name;
  const matrixArg = expr.args.find((arg) => valueType(arg) === "matrix") as Expr;
  const window = unwrap(matrixArg);
  const extension = window.kind === "matrixSelector" ? extensionOf(window.selector) : null;
  const reaching = extension === null ? null : extendedKernel(name, extension);
  const kernel = reaching ?? rangeKernels.get(name);
  if (kernel === undefined)
    throw new QueryExecutionError(`function "${name}" is not supported yet`);
  const args = await Promise.all(
    expr.args.filter((arg) => arg !== matrixArg).map((arg) => evaluation.scalar(arg, grid)),
  );
  if (name === "quantile_over_time")
    warnQuantile(evaluation, args[0] as Float64Array, expr.args[0] as Expr);
  const stepTimes = referenceTimes(grid, { atMs: null, offsetMs: 0 });
  const delayed = evaluation.scope.delayedNameRemoval;
  const drop = !keepsName.has(name);
  const notes = evaluation.notes(matrixArg);
  for await (const batch of windowsOfRange(evaluation, matrixArg, grid, name)) {
    const out: Column[] = [];
    for (const { labels, windows, dropName } of batch) {
      const column = newColumn(
        drop && !delayed ? dropMetadata(labels) : labels,
        grid.count,
        drop || dropName,
      );
      const context = { metric: labelValue(labels, METRIC_NAME), notes };
      if (windows.histograms === null || reaching !== null)
        kernel(windows, column, args, stepTimes, context);
      else {
        mixedKernel(name, kernel, windows as MixedWindows, column, args, stepTimes, context);
      }
      if (!column.present.includes(1)) continue;
      out.push(column);
      if (name === "rate" || name === "increase") {
        const metric = labelValue(labels, METRIC_NAME);
        if (metric !== "" && !/_(total|sum|count|bucket)$/.test(metric)) {
          evaluation.annotate(
            "info",
            `metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${JSON.stringify(metric)}`,
            matrixArg,
          );
        }
      }
    }
    yield out;
  }
}

/** Info series are read where the selectors of the first argument look, when all look at one place. */
export async function info(evaluation: Evaluation, expr: Call, grid: Grid): Promise<Column[]> {
  const [first, second] = expr.args as [Expr, Expr?];
  const base = await evaluation.collectOnce(first, grid);
  const inner = second === undefined ? null : unwrap(second);
  const request = infoRequest(inner?.kind === "vectorSelector" ? inner.matchers : []);
  const refs = referenceTimes(grid, { atMs: null, offsetMs: 0 });
  const looks = looksAt(evaluation, first, refs);
  const [common = refs] = looks;
  const same = looks.every((other) => other.every((ms, i) => ms === common[i]));
  const selector: VectorSelector = {
    kind: "vectorSelector",
    start: expr.start,
    end: expr.end,
    name: "",
    matchers: request.matchers,
    offset: null,
    at: null,
    anchored: false,
    smoothed: false,
  };
  const times: Column[] = [];
  const at = same ? common : refs;
  for await (const batch of instantSelector(evaluation, selector, grid, "time", at)) {
    times.push(...batch);
  }
  for await (const batch of instantSelector(evaluation, selector, grid, "value", at)) {
    const bad = batch.find((column) => column.histograms !== null);
    if (bad !== undefined) {
      throw new QueryExecutionError(
        `this should be an info metric, with float samples: ${braced(bad.labels)}`,
      );
    }
  }
  return enriched(base, times, request, grid.count);
}

/** One series of the labels that equality matchers name, where nothing is. */
export async function absent(evaluation: Evaluation, expr: Call, grid: Grid): Promise<Column> {
  const arg = unwrap(expr.args[0] as Expr);
  const there = new Uint8Array(grid.count);
  if (expr.func.name === "absent") {
    for await (const batch of evaluation.vector(arg, grid)) {
      for (const column of batch)
        column.present.forEach((bit, i) => (there[i] = (there[i] as number) | bit));
    }
  } else {
    for await (const batch of windowsOfRange(evaluation, arg, grid, expr.func.name)) {
      for (const { windows } of batch) {
        for (let i = 0; i < grid.count; i++)
          if ((windows.hi[i] as number) > (windows.lo[i] as number)) there[i] = 1;
      }
    }
  }
  const labels = labelsOfAbsent(arg);
  const out = newColumn(labels, grid.count);
  for (let i = 0; i < grid.count; i++) {
    out.present[i] = 1 - (there[i] as number);
    out.values[i] = 1;
  }
  return out;
}

export function warnQuantile(evaluation: Evaluation, q: Float64Array, at: Expr): void {
  for (const value of q) {
    if (value >= 0 && value <= 1) continue;
    const text = Number.isNaN(value)
      ? "NaN"
      : value === Infinity
        ? "+Inf"
        : String(value).replace("Infinity", "Inf");
    evaluation.annotate("warning", `quantile value should be between 0 and 1, got ${text}`, at);
  }
}
