/** Which labels of a selector's series can reach the answer, or decide which series meet. */

import {
  type Aggregation,
  type Binary,
  type Call,
  children,
  type Expr,
  type VectorSelector,
} from "../ast.ts";

/** The named labels only, or all but these. */
export type Projection = { include: boolean; labels: readonly string[] };

const keepsSeries: ReadonlySet<string> = new Set(["topk", "bottomk", "limitk", "limit_ratio"]);
/** They read or write labels by name. */
const readsLabels: ReadonlySet<string> = new Set([
  "label_replace",
  "label_join",
  "info",
  "sort_by_label",
  "sort_by_label_desc",
]);
const readsBuckets: ReadonlySet<string> = new Set([
  "histogram_quantile",
  "histogram_quantiles",
  "histogram_fraction",
]);

/** Without those selectors of which all labels are wanted. */
export function projections(expr: Expr): ReadonlyMap<VectorSelector, Projection> {
  const out = new Map<VectorSelector, Projection>();
  const open: { node: Expr; wanted: Projection | null }[] = [{ node: expr, wanted: null }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, wanted } = next;
    if (node.kind === "vectorSelector" && wanted !== null) out.set(node, wanted);
    const below = wantedBelow(node, wanted);
    for (const child of children(node)) open.push({ node: child, wanted: below });
  }
  return out;
}

function wantedBelow(node: Expr, wanted: Projection | null): Projection | null {
  switch (node.kind) {
    case "aggregation":
      return ofAggregation(node, wanted);
    case "call":
      return ofCall(node, wanted);
    case "binary":
      return ofBinary(node, wanted);
    case "number":
    case "string":
    case "vectorSelector":
    case "matrixSelector":
    case "subquery":
    case "unary":
    case "paren":
      return wanted;
  }
}

function ofAggregation(node: Aggregation, wanted: Projection | null): Projection | null {
  // Which series are chosen depends on all labels in limit_ratio, and on their order elsewhere.
  if (keepsSeries.has(node.op)) return null;
  if (!node.without) return { include: true, labels: node.grouping };
  if (wanted?.include !== true) return { include: false, labels: node.grouping };
  return null;
}

function ofCall(node: Call, wanted: Projection | null): Projection | null {
  const { name } = node.func;
  if (readsLabels.has(name)) return null;
  if (name === "absent" || name === "absent_over_time") return { include: true, labels: [] };
  return readsBuckets.has(name) ? alsoWith(wanted, ["le"]) : wanted;
}

function ofBinary({ matching }: Binary, wanted: Projection | null): Projection | null {
  if (matching === null) return wanted;
  // All labels but those left out decide who meets whom.
  if (!matching.on) return null;
  return alsoWith(wanted, [...matching.labels, ...matching.include]);
}

function alsoWith(wanted: Projection | null, names: readonly string[]): Projection | null {
  if (wanted === null) return null;
  const { include, labels } = wanted;
  if (include) return { include, labels: [...new Set([...labels, ...names])] };
  return { include, labels: labels.filter((label) => !names.includes(label)) };
}
