/** A plan as a tree of named operators, and what each cost when it was run. */

import { type Aggregation, children, type Expr, type VectorSelector } from "../ast.ts";
import { formatExpr } from "../print.ts";
import type { Plan, SelectorPlan } from "./plan.ts";

export type PlanNode = { name: string; children: readonly PlanNode[] };

/** What an operator and those below it took; several evaluations of one place in one. */
export type OperatorCost = {
  /** Waiting for storage included. */
  timeMs: number;
  /** That it gave: of selectors those that were read. */
  samples: number;
  /** The most that it gave at a time. */
  peakSamples: number;
};

export type AnalysisNode = OperatorCost & { name: string; children: readonly AnalysisNode[] };

export function explainPlan(plan: Plan): PlanNode {
  return tree(plan, plan.expr, (name, _, below) => ({ name, children: below }));
}

const NO_COST: OperatorCost = { timeMs: 0, samples: 0, peakSamples: 0 };

export function analysisOf(plan: Plan, costs: ReadonlyMap<Expr, OperatorCost>): AnalysisNode {
  return tree<AnalysisNode>(plan, plan.expr, (name, expr, below) => ({
    name,
    ...(costs.get(expr) ?? NO_COST),
    children: below,
  }));
}

/** Indented by two blanks a level, a line each. */
export function formatPlan({ name, children: below }: PlanNode, indent = ""): string {
  return `${indent}${name}\n${below.map((child) => formatPlan(child, `${indent}  `)).join("")}`;
}

function tree<T>(plan: Plan, expr: Expr, make: (name: string, expr: Expr, below: T[]) => T): T {
  if (expr.kind === "paren") return tree(plan, expr.expr, make);
  const below = expr.kind === "matrixSelector" ? [] : children(expr);
  return make(
    nameOf(plan, expr),
    expr,
    below.map((child) => tree(plan, child, make)),
  );
}

function nameOf(plan: Plan, expr: Expr): string {
  switch (expr.kind) {
    case "number":
    case "string":
      return `[literal] ${formatExpr(expr)}`;
    case "vectorSelector":
      return `[vectorSelector] ${formatExpr(expr)}${detailsOf(plan, expr)}`;
    case "matrixSelector":
      return `[matrixSelector] ${formatExpr(expr)}${detailsOf(plan, expr.selector)}`;
    case "subquery":
      return `[subquery] ${formatExpr({ ...expr, expr: { ...NOTHING } }).slice(1)}`;
    case "call":
      return `[function] ${expr.func.name}`;
    case "unary":
      return `[unary] ${expr.op}`;
    case "binary": {
      const text = formatExpr({ ...expr, left: NOTHING, right: NOTHING });
      return `[binary] ${text.slice(2, -2)}`;
    }
    case "aggregation":
      return `[aggregate] ${aggregationText(expr)}${onceFor(plan, expr)}`;
    case "paren":
      return nameOf(plan, expr.expr);
  }
}

/** Stands in the place of operands, and is cut off again. */
const NOTHING = {
  kind: "number",
  value: 0,
  isDuration: false,
  start: 0,
  end: 0,
} as const satisfies Expr;

function aggregationText(expr: Aggregation): string {
  const text = formatExpr({ ...expr, param: null, expr: NOTHING });
  return text.slice(0, -"(0)".length).trimEnd();
}

function onceFor({ repeated }: Plan, expr: Aggregation): string {
  const one = repeated.get(expr);
  if (one === undefined) return "";
  const places = [...repeated.values()].filter((other) => other === one).length;
  return one === expr ? `, evaluated once for ${places} places` : ", evaluated elsewhere";
}

function detailsOf({ selectors }: Plan, selector: VectorSelector): string {
  const plan = selectors.get(selector);
  return plan === undefined ? "" : `${impliedText(plan)}${rangeText(plan)}${labelsText(plan)}`;
}

function impliedText({ matchers, ownMatchers }: SelectorPlan): string {
  const implied = matchers.slice(ownMatchers);
  if (implied.length === 0) return "";
  const texts = implied.map(({ name, type, value }) => `${name}${type}${JSON.stringify(value)}`);
  return ` implied {${texts.join(",")}}`;
}

function rangeText({ range: { mint, maxt } }: SelectorPlan): string {
  return ` from ${timeText(mint)} to ${timeText(maxt)}`;
}

/** Times beyond what dates can say stay milliseconds. */
function timeText(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}

function labelsText({ projection }: SelectorPlan): string {
  if (projection === null) return "";
  const { include, labels } = projection;
  return ` labels ${include ? "" : "without "}(${labels.join(", ")})`;
}
