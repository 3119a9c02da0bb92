/**
 * The typed tree of a PromQL expression, as the parser makes it and the engine reads it.
 *
 * Every node carries `start` and `end`, UTF-16 offsets into the query text, `end` exclusive; `describePosition`
 * turns one into the `line:column` of Prometheus. Times are milliseconds. Parentheses are kept as nodes, so that
 * a tree prints as it was written. Positions of modifiers belong to the node they modify: `up[5m] offset 1m` is one
 * matrix selector from the `u` to the last `m`.
 */

import type { Matcher } from "@torus/model";
import type { FunctionSignature } from "./signatures.ts";

export type ValueType = "scalar" | "vector" | "matrix" | "string";

export type Position = { readonly start: number; readonly end: number };

export type Expr =
  | NumberLiteral
  | StringLiteral
  | VectorSelector
  | MatrixSelector
  | Subquery
  | Call
  | Unary
  | Binary
  | Aggregation
  | Paren;

export type NumberLiteral = Position & {
  readonly kind: "number";
  readonly value: number;
  /** Written as a duration (`5m`), which the printer keeps. */
  readonly isDuration: boolean;
};

export type StringLiteral = Position & { readonly kind: "string"; readonly value: string };

/** Where `@` pins an evaluation: a time, or the start or end of the whole query. */
export type At =
  | { readonly type: "time"; readonly ms: number }
  | { readonly type: "start" | "end" };

/**
 * A range, offset or step. `ms` counts when `expr` is null. Otherwise it depends on the query's step or range or
 * was written as arithmetic: `resolveDurations` fills it in, and `ms` is 0 until then.
 */
export type Duration = Position & { readonly ms: number; readonly expr: DurationExpr | null };

export type DurationExpr =
  /** In seconds, whether written as a number or as a duration. */
  | (Position & { readonly kind: "seconds"; readonly value: number; readonly isDuration: boolean })
  | (Position & { readonly kind: "step" | "range" })
  | (Position & { readonly kind: "negate" | "plus" | "group"; readonly operand: DurationExpr })
  | (Position & {
      readonly kind: "binary";
      readonly op: "+" | "-" | "*" | "/" | "%" | "^";
      readonly left: DurationExpr;
      readonly right: DurationExpr;
    })
  | (Position & {
      readonly kind: "min_of" | "max_of";
      readonly left: DurationExpr;
      readonly right: DurationExpr;
    });

export type VectorSelector = Position & {
  readonly kind: "vectorSelector";
  /** The metric name when it was written outside the braces, else "". The matchers hold it in either case. */
  readonly name: string;
  readonly matchers: readonly Matcher[];
  /** Null when none was written. Positive looks back. */
  readonly offset: Duration | null;
  readonly at: At | null;
  readonly anchored: boolean;
  readonly smoothed: boolean;
};

/** `offset`, `@`, `anchored` and `smoothed` stand in the inner selector. */
export type MatrixSelector = Position & {
  readonly kind: "matrixSelector";
  readonly selector: VectorSelector;
  readonly range: Duration;
};

export type Subquery = Position & {
  readonly kind: "subquery";
  readonly expr: Expr;
  readonly range: Duration;
  /** Null takes the engine's default interval. */
  readonly step: Duration | null;
  readonly offset: Duration | null;
  readonly at: At | null;
};

export type Call = Position & {
  readonly kind: "call";
  readonly func: FunctionSignature;
  readonly args: readonly Expr[];
};

export type Unary = Position & {
  readonly kind: "unary";
  readonly op: "+" | "-";
  readonly operand: Expr;
};

export type Paren = Position & { readonly kind: "paren"; readonly expr: Expr };

export type ArithmeticOp = "+" | "-" | "*" | "/" | "%" | "^" | "atan2" | "</" | ">/";
export type ComparisonOp = "==" | "!=" | ">" | "<" | ">=" | "<=";
export type SetOp = "and" | "or" | "unless";
export type BinaryOp = ArithmeticOp | ComparisonOp | SetOp;

export type VectorMatching = {
  /** `many-to-one` is group_left; set operators are `many-to-many`. */
  readonly card: "one-to-one" | "many-to-one" | "one-to-many" | "many-to-many";
  /** `on(labels)`, else `ignoring(labels)`, also when neither was written. */
  readonly on: boolean;
  readonly labels: readonly string[];
  /** The labels in `group_left(…)` or `group_right(…)`. */
  readonly include: readonly string[];
  /** The value that stands for a missing partner on that side; null when it drops the pair. */
  readonly fillLeft: number | null;
  readonly fillRight: number | null;
};

export type Binary = Position & {
  readonly kind: "binary";
  readonly op: BinaryOp;
  /** Where the operator stands. */
  readonly opStart: number;
  readonly opEnd: number;
  readonly left: Expr;
  readonly right: Expr;
  /** `bool` after a comparison. */
  readonly returnBool: boolean;
  /** Null unless both sides are vectors. */
  readonly matching: VectorMatching | null;
};

export type AggregateOp =
  | "sum"
  | "avg"
  | "count"
  | "min"
  | "max"
  | "group"
  | "stddev"
  | "stdvar"
  | "topk"
  | "bottomk"
  | "count_values"
  | "quantile"
  | "limitk"
  | "limit_ratio";

export type Aggregation = Position & {
  readonly kind: "aggregation";
  readonly op: AggregateOp;
  readonly expr: Expr;
  /** The k, ratio, quantile or label name in front; null for those without. */
  readonly param: Expr | null;
  readonly grouping: readonly string[];
  readonly without: boolean;
};

const comparisons: ReadonlySet<string> = new Set(["==", "!=", ">", "<", ">=", "<="]);
const setOps: ReadonlySet<string> = new Set(["and", "or", "unless"]);

export function isComparison(op: BinaryOp): op is ComparisonOp {
  return comparisons.has(op);
}

export function isSetOp(op: BinaryOp): op is SetOp {
  return setOps.has(op);
}

export function valueType(expr: Expr): ValueType {
  switch (expr.kind) {
    case "number":
      return "scalar";
    case "string":
      return "string";
    case "vectorSelector":
    case "aggregation":
      return "vector";
    case "matrixSelector":
    case "subquery":
      return "matrix";
    case "call":
      return expr.func.returns;
    case "unary":
      return valueType(expr.operand);
    case "paren":
      return valueType(expr.expr);
    case "binary":
      return valueType(expr.left) === "scalar" && valueType(expr.right) === "scalar"
        ? "scalar"
        : "vector";
  }
}

/** The expressions directly below, in the order they are written. A matrix selector has its vector selector. */
export function children(expr: Expr): readonly Expr[] {
  switch (expr.kind) {
    case "number":
    case "string":
    case "vectorSelector":
      return [];
    case "matrixSelector":
      return [expr.selector];
    case "subquery":
    case "paren":
      return [expr.expr];
    case "call":
      return expr.args;
    case "unary":
      return [expr.operand];
    case "binary":
      return [expr.left, expr.right];
    case "aggregation":
      return expr.param === null ? [expr.expr] : [expr.param, expr.expr];
  }
}

/** Without the parentheses around it. */
export function unwrap(expr: Expr): Expr {
  return expr.kind === "paren" ? unwrap(expr.expr) : expr;
}
