/** Aggregations over a grid: those that fold take series as they stream by, the others collect. */

import { METRIC_NAME } from "@torus/model";
import { limitedByRatio, quantiles, selected, valueCounts } from "./aggregate.ts";
import type { Aggregation, Call, Expr } from "./ast.ts";
import { unwrap } from "./ast.ts";
import { warnQuantile } from "./calls.ts";
import { type Column, type Grid, joined } from "./column.ts";
import type { Evaluation } from "./evaluate.ts";
import { Folder } from "./folder.ts";
import { isLabelName, quote } from "./parse/quote.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { stringOf } from "./string-argument.ts";

const foldable: ReadonlySet<string> = new Set([
  "sum",
  "avg",
  "count",
  "min",
  "max",
  "group",
  "stddev",
  "stdvar",
]);

/** Count, value and compensation of a group at one step. */
const BYTES_OF_FOLD = 24;
/** Its key, its labels and the headers of its columns. */
const BYTES_OF_GROUP = 800;

/** An aggregation that the query writes more than once is evaluated once for the same steps. */
export async function sharedAggregation(
  evaluation: Evaluation,
  expr: Aggregation,
  grid: Grid,
): Promise<Column[]> {
  const same = evaluation.plan.repeated.get(expr);
  if (same === undefined) return evaluation.releasing(() => aggregation(evaluation, expr, grid));
  const key = `${same.start} ${grid.startMs} ${grid.stepMs} ${grid.count}`;
  let columns = evaluation.shared.get(key);
  if (columns === undefined) {
    columns = await evaluation.releasing(() => aggregation(evaluation, same, grid));
    evaluation.hold(columns.length * grid.count);
    evaluation.shared.set(key, columns);
  }
  return columns.map((column) => ({
    ...column,
    values: column.values.slice(),
    present: column.present.slice(),
    histograms: column.histograms === null ? null : [...column.histograms],
  }));
}

export async function aggregation(
  evaluation: Evaluation,
  expr: Aggregation,
  grid: Grid,
): Promise<Column[]> {
  if (foldable.has(expr.op)) {
    const folder = new Folder(expr, grid.count, evaluation.notes(expr.expr));
    for await (const batch of distinct(evaluation, expr.expr, grid))
      fold(evaluation, folder, batch, grid);
    const out = folder.result();
    evaluation.hold(out.length * grid.count);
    evaluation.holdColumns(out);
    return out;
  }
  if (expr.op === "count_values") {
    const name = stringOf(expr.param as Expr);
    if (!isLabelName(name)) throw new QueryExecutionError(`invalid label name ${quote(name)}`);
    return valueCounts(expr, await evaluation.collect(expr.expr, grid), name, grid.count);
  }
  const param = await evaluation.scalar(expr.param as Expr, grid);
  const columns = await evaluation.collect(expr.expr, grid);
  if (expr.op === "limit_ratio") {
    return limitedByRatio(columns, param, evaluation.notes(expr.param as Expr));
  }
  if (expr.op === "quantile") {
    warnQuantile(evaluation, param, expr.param as Expr);
    return quantiles(expr, columns, param, evaluation.notes(expr.expr));
  }
  return selected(expr, columns, param, evaluation.notes(expr.expr));
}

/** Groups are counted while they become more: their sums are what an aggregation holds. */
export function fold(
  evaluation: Evaluation,
  folder: Folder,
  batch: readonly Column[],
  grid: Grid,
): void {
  for (const column of batch) folder.add(column);
  evaluation.scope.charge?.(
    evaluation.heldBytes + folder.groups * (BYTES_OF_GROUP + grid.count * BYTES_OF_FOLD),
  );
}

/** What an operator reads: functions that dropped names may have made two series of one name. */
export async function* distinct(
  evaluation: Evaluation,
  expr: Expr,
  grid: Grid,
): AsyncGenerator<Column[]> {
  const inner = unwrap(expr);
  const mayCollide =
    inner.kind === "call" && !evaluation.scope.delayedNameRemoval && !namesOneMetric(inner);
  if (mayCollide) yield joined(await evaluation.collect(inner, grid));
  else yield* evaluation.vector(inner, grid);
}

/** Whether every series below the call has the same metric name, so that dropping it cannot make two alike. */
function namesOneMetric(call: Call): boolean {
  const arg = call.args
    .map(unwrap)
    .find((a) => a.kind === "vectorSelector" || a.kind === "matrixSelector");
  if (arg === undefined) return false;
  const selector = arg.kind === "matrixSelector" ? arg.selector : arg;
  return (
    selector.kind === "vectorSelector" &&
    selector.matchers.some((m) => m.name === METRIC_NAME && m.type === "=" && m.value !== "")
  );
}
