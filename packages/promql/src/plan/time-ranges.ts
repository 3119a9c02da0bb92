/** The times that each selector reads for all steps of a query, through `@`, offsets and subqueries. */

import { type At, children, type Duration, type Expr, type VectorSelector } from "../ast.ts";
import { durationMs } from "./durations.ts";

/** Milliseconds; 0 for the step of an instant query. */
export type TimeScope = {
  startMs: number;
  endMs: number;
  stepMs: number;
  lookbackDeltaMs: number;
  noStepSubqueryIntervalMs: number;
};

/** Milliseconds, both inclusive. */
export type TimeRange = { mint: number; maxt: number };

/** In the order of the text. @throws {QueryExecutionError} when a duration divides by zero. */
export function timeRanges(expr: Expr, scope: TimeScope): ReadonlyMap<VectorSelector, TimeRange> {
  const out = new Map<VectorSelector, TimeRange>();
  const { startMs, endMs, lookbackDeltaMs: lookback } = scope;
  const ms = (duration: Duration | null) =>
    duration === null
      ? 0
      : durationMs(duration, { stepMs: scope.stepMs, rangeMs: endMs - startMs });
  const pinned = (at: At | null) => {
    if (at === null) return null;
    if (at.type === "time") return at.ms;
    return at.type === "start" ? startMs : endMs;
  };
  /** Steps lie between `from` and `to`. */
  const walk = (node: Expr, from: number, to: number): void => {
    switch (node.kind) {
      case "vectorSelector": {
        const at = pinned(node.at);
        const offset = ms(node.offset);
        out.set(node, {
          mint: (at ?? from) - offset - lookback + 1,
          maxt: (at ?? to) - offset + (node.smoothed ? lookback : 0),
        });
        return;
      }
      case "matrixSelector": {
        const { selector } = node;
        const at = pinned(selector.at);
        const offset = ms(selector.offset);
        const { anchored, smoothed } = selector;
        out.set(selector, {
          mint: (at ?? from) - offset - ms(node.range) + 1 - (anchored || smoothed ? lookback : 0),
          maxt: (at ?? to) - offset + (smoothed ? lookback : 0),
        });
        return;
      }
      case "subquery": {
        const at = pinned(node.at);
        const offset = ms(node.offset);
        const stepMs = ms(node.step) || scope.noStepSubqueryIntervalMs;
        const first = firstStep((at ?? from) - offset - ms(node.range), stepMs);
        const last = (at ?? to) - offset;
        walk(node.expr, first, first + Math.floor((last - first) / stepMs) * stepMs);
        return;
      }
      case "call":
        if (node.func.name === "timestamp") {
          walkTimestamp(node.args[0] as Expr, from, to);
          return;
        }
        for (const child of node.args) walk(child, from, to);
        return;
      case "number":
      case "string":
      case "aggregation":
      case "binary":
      case "unary":
      case "paren":
        for (const child of children(node)) walk(child, from, to);
    }
  };
  /** `timestamp` of a selector with `@` does not see its offset. */
  const walkTimestamp = (node: Expr, from: number, to: number): void => {
    walk(node, from, to);
    const inner = node.kind === "paren" ? node.expr : node;
    if (inner.kind !== "vectorSelector" || inner.at === null) return;
    const offset = ms(inner.offset);
    const { mint, maxt } = out.get(inner) as TimeRange;
    out.set(inner, { mint: mint + offset, maxt: maxt + offset });
  };
  walk(expr, startMs, endMs);
  return out;
}

/** The first multiple of the step after `after`. */
export function firstStep(after: number, stepMs: number): number {
  const step = stepMs * Math.trunc(after / stepMs);
  return step <= after ? step + stepMs : step;
}
