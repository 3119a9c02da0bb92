/**
 * Common subexpressions: aggregations that a query writes more than once, as in `sum(a) / (sum(a) + sum(b))`. Their
 * results are small, groups times steps, which a selector's are not.
 */

import { type Aggregation, children, type Expr } from "../ast.ts";

/** Longer ones are not compared, so that deep nesting costs no more than its length. */
const MAX_LENGTH = 1000;

/**
 * From each aggregation that is written more than once to the last of the same text, which stands for all: annotations
 * are told with the last place. Empty without the query's text.
 */
export function repeatedAggregations(
  expr: Expr,
  text: string,
): ReadonlyMap<Aggregation, Aggregation> {
  const byText = new Map<string, Aggregation[]>();
  const open: Expr[] = text === "" ? [] : [expr];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.kind === "aggregation" && node.end - node.start <= MAX_LENGTH) {
      const written = text.slice(node.start, node.end);
      const same = byText.get(written);
      if (same === undefined) byText.set(written, [node]);
      else same.push(node);
    }
    open.push(...children(node));
  }
  const out = new Map<Aggregation, Aggregation>();
  for (const same of byText.values()) {
    if (same.length < 2) continue;
    const last = same.reduce((a, b) => (b.start > a.start ? b : a));
    for (const node of same) out.set(node, last);
  }
  return out;
}
