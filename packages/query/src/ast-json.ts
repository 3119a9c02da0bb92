/**
 * An expression's tree as `/api/v1/parse_query` gives it (Prometheus' HTTP API): objects with their keys sorted, times
 * in milliseconds. A duration that is known only with the query's step is 0.
 */

import { valueText } from "@torus/kernels";
import type { Matcher } from "@torus/model";
import type { At, Duration, Expr, VectorMatching, VectorSelector } from "@torus/promql";
import { formatPlain, goString } from "./json-writer.ts";

export function astJson(expr: Expr): string {
  switch (expr.kind) {
    case "number":
      return object({ type: '"numberLiteral"', val: `"${formatPlain(expr.value)}"` });
    case "string":
      return object({ type: '"stringLiteral"', val: goString(expr.value) });
    case "paren":
      return object({ expr: astJson(expr.expr), type: '"parenExpr"' });
    case "unary":
      return object({ expr: astJson(expr.operand), op: `"${expr.op}"`, type: '"unaryExpr"' });
    case "vectorSelector":
      return object({ ...selector(expr), type: '"vectorSelector"' });
    case "matrixSelector":
      return object({
        ...selector(expr.selector),
        range: ms(expr.range),
        type: '"matrixSelector"',
      });
    case "subquery":
      return object({
        alignEvalTime: "false",
        expr: astJson(expr.expr),
        offset: ms(expr.offset),
        range: ms(expr.range),
        ...pinned(expr.at),
        step: ms(expr.step),
        type: '"subquery"',
      });
    case "call": {
      const { name, args, variadic, returns } = expr.func;
      return object({
        args: `[${expr.args.map(astJson).join(",")}]`,
        func: object({
          argTypes: list(args),
          name: `"${name}"`,
          returnType: `"${returns}"`,
          variadic: String(variadic),
        }),
        type: '"call"',
      });
    }
    case "aggregation":
      return object({
        expr: astJson(expr.expr),
        grouping: list(expr.grouping),
        op: `"${expr.op}"`,
        param: expr.param === null ? "null" : astJson(expr.param),
        type: '"aggregation"',
        without: String(expr.without),
      });
    case "binary":
      return object({
        bool: String(expr.returnBool),
        lhs: astJson(expr.left),
        matching: expr.matching === null ? "null" : matching(expr.matching),
        op: goString(expr.op),
        rhs: astJson(expr.right),
        type: '"binaryExpr"',
      });
  }
}

/** @param fields Their texts are JSON already. */
function object(fields: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map(([name, json]) => `"${name}":${json}`).join(",")}}`;
}

function list(texts: readonly string[]): string {
  return `[${texts.map(goString).join(",")}]`;
}

function ms(duration: Duration | null): string {
  return String(duration?.ms ?? 0);
}

function pinned(at: At | null): { startOrEnd: string; timestamp: string } {
  return {
    startOrEnd: at === null || at.type === "time" ? "null" : `"${at.type}"`,
    timestamp: at?.type === "time" ? String(at.ms) : "null",
  };
}

function selector(node: VectorSelector): Record<string, string> {
  const { name, matchers, offset, at, anchored, smoothed } = node;
  return {
    anchored: String(anchored),
    matchers: `[${matchers.map(matcher).join(",")}]`,
    name: goString(name),
    offset: ms(offset),
    smoothed: String(smoothed),
    ...pinned(at),
  };
}

function matcher({ type, name, value }: Matcher): string {
  return object({ name: goString(name), type: `"${type}"`, value: goString(value) });
}

function matching({ card, on, labels, include, fillLeft, fillRight }: VectorMatching): string {
  const fill = (value: number | null) => (value === null ? "null" : valueText(value));
  return object({
    card: `"${card}"`,
    fillValues: object({ lhs: fill(fillLeft), rhs: fill(fillRight) }),
    include: list(include),
    labels: list(labels),
    on: String(on),
  });
}
