/**
 * Evaluation of a tree over a grid. Vectors stream as batches of columns, so that an aggregation over a selector
 * or a range function holds its groups only; whatever needs all series collects them, which is counted.
 */

import { sharedAggregation } from "./aggregations.ts";
import type { Binary, Expr } from "./ast.ts";
import { isComparison, isSetOp, valueType } from "./ast.ts";
import { setOperation, vectorOperation, withScalar } from "./binary.ts";
import { call } from "./calls.ts";
import { type Column, dropMetadata, type Grid, joined } from "./column.ts";
import { negated } from "./column-maps.ts";
import type { Meter } from "./meter.ts";
import type { Plan } from "./plan/plan.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { QueryRun, type QueryScope } from "./query-run.ts";
import { arithmetic, compare } from "./sample-operations.ts";
import { scalarCall } from "./scalar-calls.ts";
import { instantSelector, type RangeSeries } from "./selectors.ts";

export class Evaluation extends QueryRun {
  readonly plan: Plan;
  /** Aggregations that are written more than once, by place and steps. */
  readonly shared = new Map<string, Column[]>();
  readonly #meter: Meter | null;

  /** @param meter Where costs are counted; null where nobody asked. */
  constructor(scope: QueryScope, plan: Plan, meter: Meter | null) {
    super(scope);
    this.plan = plan;
    this.#meter = meter;
  }

  /** All columns of an operand that is read at once and not kept. */
  collectOnce(expr: Expr, grid: Grid): Promise<Column[]> {
    return this.releasing(() => this.collect(expr, grid));
  }

  async collect(expr: Expr, grid: Grid): Promise<Column[]> {
    const out: Column[] = [];
    for await (const batch of this.vector(expr, grid)) {
      let samples = 0;
      for (const column of batch) {
        for (let i = 0; i < grid.count; i++) samples += column.present[i] as number;
        out.push(column);
      }
      this.hold(samples);
      this.holdColumns(batch);
    }
    return out;
  }

  vector(expr: Expr, grid: Grid): AsyncGenerator<Column[]> {
    return this.meteredColumns(expr, this.#vector(expr, grid));
  }

  meteredColumns(expr: Expr, columns: AsyncGenerator<Column[]>): AsyncGenerator<Column[]> {
    return this.#meter === null ? columns : this.#meter.columns(expr, columns);
  }

  /** Counts what a range selector or subquery gives. */
  metered(expr: Expr, windows: AsyncGenerator<RangeSeries[]>): AsyncGenerator<RangeSeries[]> {
    return this.#meter === null ? windows : this.#meter.windows(expr, windows);
  }

  async *#vector(expr: Expr, grid: Grid): AsyncGenerator<Column[]> {
    this.check();
    switch (expr.kind) {
      case "paren":
        yield* this.vector(expr.expr, grid);
        return;
      case "vectorSelector":
        yield* instantSelector(this, expr, grid, "value");
        return;
      case "unary":
        for await (const batch of this.vector(expr.operand, grid)) {
          if (expr.op === "+") yield batch;
          else yield batch.map((column) => negated(this, column));
        }
        return;
      case "binary":
        if (valueType(expr.left) === "scalar") yield* this.#withScalar(expr, "left", grid);
        else if (valueType(expr.right) === "scalar") yield* this.#withScalar(expr, "right", grid);
        else yield await this.releasing(() => this.binary(expr, grid));
        return;
      case "aggregation":
        yield await sharedAggregation(this, expr, grid);
        return;
      case "call":
        yield* call(this, expr, grid);
        return;
      case "number":
      case "string":
      case "matrixSelector":
      case "subquery":
        throw new QueryExecutionError(`a ${expr.kind} is not an instant vector`);
    }
  }

  scalar(expr: Expr, grid: Grid): Promise<Float64Array> {
    const out = this.#scalar(expr, grid);
    return this.#meter === null ? out : this.#meter.steps(expr, out);
  }

  async #scalar(expr: Expr, grid: Grid): Promise<Float64Array> {
    const out = new Float64Array(grid.count);
    switch (expr.kind) {
      case "number":
        return out.fill(expr.value);
      case "paren":
        return this.scalar(expr.expr, grid);
      case "unary": {
        const value = await this.scalar(expr.operand, grid);
        return expr.op === "+" ? value : value.map((x) => -x);
      }
      case "binary": {
        const left = await this.scalar(expr.left, grid);
        const right = await this.scalar(expr.right, grid);
        for (let i = 0; i < grid.count; i++) {
          const a = left[i] as number;
          const b = right[i] as number;
          out[i] = isComparison(expr.op)
            ? Number(compare(expr.op, a, b))
            : arithmetic(expr.op, a, b);
        }
        return out;
      }
      case "call":
        return scalarCall(this, expr, grid, out);
      case "string":
      case "vectorSelector":
      case "matrixSelector":
      case "subquery":
      case "aggregation":
        throw new QueryExecutionError(`a ${expr.kind} is not a scalar`);
    }
  }

  /** A scalar on one side: the other's series stream through. */
  async *#withScalar(expr: Binary, at: "left" | "right", grid: Grid): AsyncGenerator<Column[]> {
    const isLeft = at === "left";
    const scalar = await this.scalar(expr[at], grid);
    const delayed = this.scope.delayedNameRemoval;
    for await (const batch of this.vector(isLeft ? expr.right : expr.left, grid)) {
      yield batch.map((column) =>
        withScalar(expr, column, scalar, isLeft, delayed, this.notes(expr)),
      );
    }
  }

  async binary(expr: Binary, grid: Grid): Promise<Column[]> {
    const delayed = this.scope.delayedNameRemoval;
    const left = await this.collect(expr.left, grid);
    const right = await this.collect(expr.right, grid);
    if (isSetOp(expr.op)) return setOperation(expr, left, right, grid.count);
    return vectorOperation(expr, left, right, grid.count, delayed, this.notes(expr));
  }
}

/** Removes the names that were to go, at the end of a query. */
export function withNamesDropped(columns: readonly Column[]): Column[] {
  return joined(
    columns.map((column) =>
      column.dropName ? { ...column, labels: dropMetadata(column.labels) } : column,
    ),
  );
}
