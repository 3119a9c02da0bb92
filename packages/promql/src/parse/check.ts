/**
 * Type rules of PromQL, applied to a tree that the grammar accepts, in Prometheus' order, so that of several errors
 * the same one is told. `checked` also settles what the grammar cannot know: set operators match many to many, and
 * matching is null unless both sides are vectors.
 */

import {
  type Binary,
  type Call,
  type Expr,
  isComparison,
  isSetOp,
  type Position,
  type ValueType,
  type VectorMatching,
  type VectorSelector,
  valueType,
} from "../ast.ts";
import { PromqlParseError } from "./parse-error.ts";
import { quote } from "./quote.ts";

const documented: Readonly<Record<ValueType, string>> = {
  scalar: "scalar",
  vector: "instant vector",
  matrix: "range vector",
  string: "string",
};

/** @throws {PromqlParseError} */
export function checked(text: string, root: Expr): Expr {
  const fail = (at: Position, reason: string): never => {
    throw new PromqlParseError(text, at.start, at.end, reason);
  };

  const expectType = (expr: Expr, want: ValueType, context: string): Expr => {
    const settled = check(expr);
    const type = valueType(settled);
    if (type !== want) {
      fail(expr, `expected type ${documented[want]} in ${context}, got ${documented[type]}`);
    }
    return settled;
  };

  const check = (expr: Expr): Expr => {
    switch (expr.kind) {
      case "number":
      case "string":
        return expr;
      case "vectorSelector":
        checkSelector(expr, fail);
        return expr;
      case "matrixSelector":
        checkSelector(expr.selector, fail);
        return expr;
      case "paren":
        return { ...expr, expr: check(expr.expr) };
      case "unary": {
        const operand = check(expr.operand);
        const type = valueType(operand);
        if (type !== "scalar" && type !== "vector") {
          fail(
            expr,
            `unary expression only allowed on expressions of type scalar or instant vector, got ${quote(documented[type])}`,
          );
        }
        return { ...expr, operand };
      }
      case "subquery": {
        const inner = check(expr.expr);
        const type = valueType(inner);
        if (type !== "vector")
          fail(expr, `subquery is only allowed on instant vector, got ${type} instead`);
        return { ...expr, expr: inner };
      }
      case "aggregation": {
        const inner = expectType(expr.expr, "vector", "aggregation expression");
        if (expr.param === null) return { ...expr, expr: inner };
        const want = expr.op === "count_values" ? "string" : "scalar";
        return {
          ...expr,
          expr: inner,
          param: expectType(expr.param, want, "aggregation parameter"),
        };
      }
      case "call":
        return { ...expr, args: checkArguments(expr) };
      case "binary":
        return checkBinary(expr, check(expr.left), check(expr.right), fail);
    }
  };

  const checkArguments = (call: Call): Expr[] => {
    const { func, args } = call;
    const name = quote(func.name);
    const count = func.args.length;
    if (func.variadic === 0) {
      if (args.length !== count) {
        fail(call, `expected ${count} argument(s) in call to ${name}, got ${args.length}`);
      }
    } else {
      const least = count - 1;
      const most = least + func.variadic;
      if (args.length < least) {
        fail(call, `expected at least ${least} argument(s) in call to ${name}, got ${args.length}`);
      }
      if (func.variadic > 0 && args.length > most) {
        fail(call, `expected at most ${most} argument(s) in call to ${name}, got ${args.length}`);
      }
    }
    const selectors = func.name === "info" ? args[1] : undefined;
    if (selectors !== undefined) {
      const type = valueType(selectors);
      if (type !== "vector") {
        fail(
          call,
          `expected type instant vector in call to function ${name}, got ${documented[type]}`,
        );
      }
      if (selectors.kind !== "vectorSelector") fail(selectors, "expected label selectors only");
      else if (selectors.name !== "") {
        fail(selectors, "expected label selectors only, got vector selector instead");
      }
    }
    return args.map((arg, i) => {
      // The data selector of info() may match everything: it only narrows the info series.
      if (arg === selectors) return arg;
      const want = func.args[Math.min(i, count - 1)] as ValueType;
      return expectType(arg, want, `call to function ${name}`);
    });
  };

  return check(root);
}

function checkSelector(
  selector: VectorSelector,
  fail: (at: Position, reason: string) => never,
): void {
  if (selector.name !== "") {
    for (const matcher of selector.matchers.slice(0, -1)) {
      if (matcher.name === "__name__") {
        fail(
          selector,
          `metric name must not be set twice: ${quote(selector.name)} or ${quote(matcher.value)}`,
        );
      }
    }
  } else if (selector.matchers.every((matcher) => matcher.matchesEmpty)) {
    fail(selector, "vector selector must contain at least one non-empty matcher");
  }
}

function checkBinary(
  expr: Binary,
  left: Expr,
  right: Expr,
  fail: (at: Position, reason: string) => never,
): Binary {
  const { op, returnBool } = expr;
  const matching = expr.matching as VectorMatching;
  const at = { start: expr.opStart, end: expr.opEnd };
  const leftType = valueType(left);
  const rightType = valueType(right);
  if (returnBool && !isComparison(op))
    fail(at, "bool modifier can only be used on comparison operators");
  if (isComparison(op) && !returnBool && leftType === "scalar" && rightType === "scalar") {
    fail(at, "comparisons between scalars must use BOOL modifier");
  }
  const both = matching.labels.find((label) => matching.on && matching.include.includes(label));
  if (both !== undefined) {
    fail(at, `label ${quote(both)} must not occur in ON and GROUP clause at once`);
  }
  for (const side of [left, right]) {
    const type = valueType(side);
    if (type !== "scalar" && type !== "vector") {
      fail(side, "binary expression must contain only scalar and instant vector types");
    }
  }
  const filled = matching.fillLeft !== null || matching.fillRight !== null;
  const grouped = matching.card === "many-to-one" || matching.card === "one-to-many";
  if (leftType !== "vector" || rightType !== "vector") {
    if (matching.labels.length > 0)
      fail(expr, "vector matching only allowed between instant vectors");
    if (filled) fail(expr, "filling in missing series only allowed between instant vectors");
    if (isSetOp(op)) {
      fail(expr, `set operator ${quote(op)} not allowed in binary scalar expression`);
    }
    return { ...expr, left, right, matching: null };
  }
  if (!isSetOp(op)) return { ...expr, left, right };
  if (grouped) fail(expr, `no grouping allowed for ${quote(op)} operation`);
  if (filled) fail(expr, "filling in missing series not allowed for set operators");
  return { ...expr, left, right, matching: { ...matching, card: "many-to-many" } };
}
