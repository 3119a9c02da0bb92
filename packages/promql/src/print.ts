/** An expression as one line of text, in Prometheus' canonical form. */

import { type Matcher, METRIC_NAME } from "@torus/model";
import type { At, Binary, Duration, DurationExpr, Expr, VectorSelector } from "./ast.ts";
import { formatDurationMs, formatNumber } from "./parse/numbers.ts";
import { quote } from "./parse/quote.ts";

/** Parses back to an equal tree, but for positions and the way numbers and strings were written. */
export function formatExpr(expr: Expr): string {
  switch (expr.kind) {
    case "number":
      return expr.isDuration ? formatSeconds(expr.value) : formatNumber(expr.value);
    case "string":
      return quote(expr.value);
    case "vectorSelector":
      return `${formatSelector(expr)}${formatModifiers(expr)}`;
    case "matrixSelector": {
      const { selector, range } = expr;
      return `${formatSelector(selector)}[${formatDuration(range)}]${formatModifiers(selector)}`;
    }
    case "subquery": {
      const step = expr.step === null ? "" : formatDuration(expr.step);
      const brackets = `[${formatDuration(expr.range)}:${step}]`;
      return `${formatExpr(expr.expr)}${brackets}${formatAt(expr.at)}${formatOffset(expr.offset)}`;
    }
    case "call":
      return `${expr.func.name}(${expr.args.map(formatExpr).join(", ")})`;
    case "unary":
      return `${expr.op}${formatExpr(expr.operand)}`;
    case "paren":
      return `(${formatExpr(expr.expr)})`;
    case "binary":
      return `${formatExpr(expr.left)} ${expr.op}${formatMatching(expr)} ${formatExpr(expr.right)}`;
    case "aggregation": {
      const labels = formatLabelNames(expr.grouping);
      const by = expr.grouping.length > 0 ? ` by ${labels} ` : "";
      const grouping = expr.without ? ` without ${labels} ` : by;
      const param = expr.param === null ? "" : `${formatExpr(expr.param)}, `;
      return `${expr.op}${grouping}(${param}${formatExpr(expr.expr)})`;
    }
  }
}

function formatSelector(selector: VectorSelector): string {
  const { name } = selector;
  const matchers = name === "" ? selector.matchers : selector.matchers.slice(0, -1);
  if (matchers.length === 0) return name === "" ? "{}" : name;
  return `${name}{${matchers.map(formatMatcher).join(",")}}`;
}

function formatMatcher(matcher: Matcher): string {
  return `${formatName(matcher.name)}${matcher.type}${quote(matcher.value)}`;
}

function formatName(name: string): string {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) || name === METRIC_NAME ? name : quote(name);
}

function formatLabelNames(names: readonly string[]): string {
  return `(${names.map(formatName).join(", ")})`;
}

function formatModifiers(selector: VectorSelector): string {
  const extended = selector.anchored ? " anchored" : selector.smoothed ? " smoothed" : "";
  return `${extended}${formatAt(selector.at)}${formatOffset(selector.offset)}`;
}

function formatAt(at: At | null): string {
  if (at === null) return "";
  return at.type === "time" ? ` @ ${(at.ms / 1000).toFixed(3)}` : ` @ ${at.type}()`;
}

function formatOffset(offset: Duration | null): string {
  if (offset === null || (offset.expr === null && offset.ms === 0)) return "";
  return ` offset ${formatDuration(offset)}`;
}

function formatDuration(duration: Duration): string {
  return duration.expr === null ? signedDuration(duration.ms) : formatDurationExpr(duration.expr);
}

function signedDuration(ms: number): string {
  return ms < 0 ? `-${formatDurationMs(-ms)}` : formatDurationMs(ms);
}

function formatSeconds(seconds: number): string {
  return signedDuration(Math.round(seconds * 1000));
}

function formatDurationExpr(expr: DurationExpr): string {
  switch (expr.kind) {
    case "seconds":
      return expr.isDuration ? formatSeconds(expr.value) : formatNumber(expr.value);
    case "step":
    case "range":
      return `${expr.kind}()`;
    case "negate":
      return `-${formatDurationExpr(expr.operand)}`;
    case "plus":
      return `+${formatDurationExpr(expr.operand)}`;
    case "group":
      return `(${formatDurationExpr(expr.operand)})`;
    case "binary":
      return `${formatDurationExpr(expr.left)} ${expr.op} ${formatDurationExpr(expr.right)}`;
    case "min_of":
    case "max_of":
      return `${expr.kind}(${formatDurationExpr(expr.left)}, ${formatDurationExpr(expr.right)})`;
  }
}

function formatMatching(expr: Binary): string {
  let out = expr.returnBool ? " bool" : "";
  const { matching } = expr;
  if (matching === null) return out;
  const { card, on, labels, include, fillLeft, fillRight } = matching;
  const grouped = card === "many-to-one" || card === "one-to-many";
  if (labels.length > 0 || on || grouped)
    out += ` ${on ? "on" : "ignoring"} ${formatLabelNames(labels)}`;
  if (grouped)
    out += ` ${card === "many-to-one" ? "group_left" : "group_right"} ${formatLabelNames(include)}`;
  if (fillLeft !== null && Object.is(fillLeft, fillRight))
    return `${out} fill (${formatNumber(fillLeft)})`;
  if (fillLeft !== null) out += ` fill_left (${formatNumber(fillLeft)})`;
  if (fillRight !== null) out += ` fill_right (${formatNumber(fillRight)})`;
  return out;
}
