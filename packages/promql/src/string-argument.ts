/** String arguments of functions, which the checker has seen to be literals. */

import type { Expr } from "./ast.ts";
import { QueryExecutionError } from "./query-errors.ts";

export function stringOf(expr: Expr): string {
  let inner = expr;
  while (inner.kind === "paren") inner = inner.expr;
  if (inner.kind !== "string") throw new QueryExecutionError(`a ${inner.kind} is not a string`);
  return inner.value;
}
