/** What stands around each selector, as Prometheus tells it to storage: the function or aggregation, its grouping. */

import { children, type Expr, type VectorSelector } from "../ast.ts";

export type Surroundings = {
  /** The innermost function or aggregation, "" where a binary operator comes before any. */
  func: string;
  /** Of an aggregation straight around the selector. */
  grouping: readonly string[];
  by: boolean;
};

const NOTHING: Surroundings = { func: "", grouping: [], by: false };

export function surroundings(expr: Expr): ReadonlyMap<VectorSelector, Surroundings> {
  const out = new Map<VectorSelector, Surroundings>();
  const open: { node: Expr; around: Surroundings }[] = [{ node: expr, around: NOTHING }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, around } = next;
    if (node.kind === "vectorSelector") out.set(node, around);
    for (const child of children(node)) open.push({ node: child, around: inside(node, around) });
  }
  return out;
}

function inside(node: Expr, around: Surroundings): Surroundings {
  switch (node.kind) {
    case "aggregation":
      return { func: node.op, grouping: node.grouping, by: !node.without };
    case "call":
      return { ...NOTHING, func: node.func.name };
    case "binary":
      return NOTHING;
    case "matrixSelector":
      return around;
    case "paren":
    case "unary":
    case "subquery":
      // The grouping is told of a selector's own parent only.
      return { ...NOTHING, func: around.func };
    case "number":
    case "string":
    case "vectorSelector":
      return NOTHING;
  }
}
