/** Durations that depend on the query's step and range, in milliseconds. */

import type { Duration, DurationExpr } from "../ast.ts";
import { QueryExecutionError } from "../query-errors.ts";

export type DurationScope = { stepMs: number; rangeMs: number };

/** @throws {QueryExecutionError} on division by zero. */
export function durationMs(duration: Duration, scope: DurationScope): number {
  if (duration.expr === null) return duration.ms;
  return Math.round(seconds(duration.expr, scope) * 1000);
}

function seconds(expr: DurationExpr, scope: DurationScope): number {
  switch (expr.kind) {
    case "seconds":
      return expr.value;
    case "step":
      return scope.stepMs / 1000;
    case "range":
      return scope.rangeMs / 1000;
    case "negate":
      return -seconds(expr.operand, scope);
    case "plus":
    case "group":
      return seconds(expr.operand, scope);
    case "min_of":
      return Math.min(seconds(expr.left, scope), seconds(expr.right, scope));
    case "max_of":
      return Math.max(seconds(expr.left, scope), seconds(expr.right, scope));
    case "binary": {
      const left = seconds(expr.left, scope);
      const right = seconds(expr.right, scope);
      switch (expr.op) {
        case "+":
          return left + right;
        case "-":
          return left - right;
        case "*":
          return left * right;
        case "^":
          return left ** right;
        case "/":
          if (right === 0) throw new QueryExecutionError("division by zero");
          return left / right;
        case "%":
          if (right === 0) throw new QueryExecutionError("modulo by zero");
          return left % right;
      }
    }
  }
}
