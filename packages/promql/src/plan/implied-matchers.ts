/**
 * Matchers that an operand of a binary operator gets from the other: of `a * on (job) b{job="x"}` only series of `a`
 * with that job can have a partner. They pass where no answer can change by it:
 *
 *   one side -> many side (right to left where both are one), and <- -> and, left of unless -> right
 *
 * not the other way, because series that are twice on the one side are an error whether or not they have a partner.
 */

import { type Matcher, METRIC_NAME } from "@torus/model";
import {
  type Binary,
  children,
  type Expr,
  unwrap,
  type VectorMatching,
  type VectorSelector,
} from "../ast.ts";

export function impliedMatchers(expr: Expr): ReadonlyMap<VectorSelector, readonly Matcher[]> {
  const out = new Map<VectorSelector, Matcher[]>();
  const open: Expr[] = [expr];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.kind === "binary") ofOperands(node, out);
    open.push(...children(node));
  }
  return out;
}

function ofOperands(node: Binary, out: Map<VectorSelector, Matcher[]>): void {
  const { op, matching } = node;
  const left = unwrap(node.left);
  const right = unwrap(node.right);
  if (matching === null || matching.fillLeft !== null || matching.fillRight !== null) return;
  if (left.kind !== "vectorSelector" || right.kind !== "vectorSelector") return;
  const give = (from: VectorSelector, to: VectorSelector) => {
    const known = out.get(to) ?? [];
    const given = from.matchers.filter(
      (matcher) =>
        isShared(matcher.name, matching) && ![...to.matchers, ...known].some(isLike(matcher)),
    );
    if (given.length > 0) out.set(to, [...known, ...given]);
  };
  if (op === "or") return;
  if (op === "and" || op === "unless") {
    give(left, right);
    if (op === "and") give(right, left);
    return;
  }
  if (matching.card === "one-to-many") give(left, right);
  else give(right, left);
}

/** Whether partners have the same value of the label. */
function isShared(name: string, { on, labels }: VectorMatching): boolean {
  if (on) return labels.includes(name);
  return name !== METRIC_NAME && !labels.includes(name);
}

function isLike(a: Matcher): (b: Matcher) => boolean {
  return (b) => a.name === b.name && a.type === b.type && a.value === b.value;
}
