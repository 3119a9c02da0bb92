/**
 * The logical plan of a query: its tree, and what the passes found out about each selector and aggregation before
 * anything is read. Evaluation follows it; `explainPlan` prints it.
 */

import type { Matcher } from "@torus/model";
import type { Aggregation, Expr, VectorSelector } from "../ast.ts";
import { selectorsOfTotals } from "./histogram-totals.ts";
import { impliedMatchers } from "./implied-matchers.ts";
import { type Projection, projections } from "./projection.ts";
import { repeatedAggregations } from "./repeated.ts";
import { type Surroundings, surroundings } from "./surroundings.ts";
import { type TimeRange, type TimeScope, timeRanges } from "./time-ranges.ts";

export type SelectorPlan = {
  /** The selector's own, and behind them those that the other operand implies. */
  matchers: readonly Matcher[];
  ownMatchers: number;
  range: TimeRange;
  surroundings: Surroundings;
  /** null where all labels are wanted. */
  projection: Projection | null;
  /** Only counts and sums of histograms are read. */
  readsTotals: boolean;
};

export type Plan = {
  expr: Expr;
  selectors: ReadonlyMap<VectorSelector, SelectorPlan>;
  /** Aggregations that are written more than once, with the one that stands for all. */
  repeated: ReadonlyMap<Aggregation, Aggregation>;
};

/**
 * @param text The query as it was written; "" when it came as a tree.
 * @throws {QueryExecutionError} when a duration divides by zero.
 */
export function planOf(expr: Expr, text: string, scope: TimeScope): Plan {
  const implied = impliedMatchers(expr);
  const totals = selectorsOfTotals(expr);
  const around = surroundings(expr);
  const projected = projections(expr);
  const selectors = new Map<VectorSelector, SelectorPlan>();
  for (const [selector, range] of timeRanges(expr, scope)) {
    selectors.set(selector, {
      matchers: [...selector.matchers, ...(implied.get(selector) ?? [])],
      ownMatchers: selector.matchers.length,
      range,
      surroundings: around.get(selector) as Surroundings,
      projection: projected.get(selector) ?? null,
      readsTotals: totals.has(selector),
    });
  }
  return { expr, selectors, repeated: repeatedAggregations(expr, text) };
}
