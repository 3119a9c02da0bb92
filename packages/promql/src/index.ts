export { formatFloat } from "./aggregate.ts";
export type {
  AggregateOp,
  Aggregation,
  ArithmeticOp,
  At,
  Binary,
  BinaryOp,
  Call,
  ComparisonOp,
  Duration,
  DurationExpr,
  Expr,
  MatrixSelector,
  NumberLiteral,
  Paren,
  Position,
  SetOp,
  StringLiteral,
  Subquery,
  Unary,
  ValueType,
  VectorMatching,
  VectorSelector,
} from "./ast.ts";
export { children, isComparison, isSetOp, valueType } from "./ast.ts";
export type { EngineFeature, EngineOptions, QueryOptions, QueryTimes } from "./engine.ts";
export { Engine } from "./engine.ts";
export { describePosition, PromqlParseError } from "./parse/parse-error.ts";
export type { Feature } from "./parse/token-cursor.ts";
export type { ParseOptions } from "./parse.ts";
export { ALL_FEATURES, parseExpr, parseMetricSelector } from "./parse.ts";
export type { AnalysisNode, OperatorCost, PlanNode } from "./plan/explain.ts";
export { formatPlan } from "./plan/explain.ts";
export { formatExpr } from "./print.ts";
export type { ScriptFailure, ScriptReport } from "./promqltest/run.ts";
export { runScript } from "./promqltest/run.ts";
export type { ScriptEngine } from "./promqltest/script-engine.ts";
export { ScriptError } from "./promqltest/script-error.ts";
export { runTable } from "./promqltest/table.ts";
export { QueryCanceledError, QueryExecutionError, QueryTimeoutError } from "./query-errors.ts";
export type { QueryResult, QueryStats, ResultSeries } from "./result.ts";
export type { FunctionSignature } from "./signatures.ts";
export { signatures } from "./signatures.ts";
