/**
 * The functions of PromQL as the checker sees them: argument types, how many, and the type they return
 * (Prometheus 3.14, promql/parser/functions.go). The engine has their implementations under the same names.
 */

import type { ValueType } from "./ast.ts";

export type FunctionSignature = {
  readonly name: string;
  readonly args: readonly ValueType[];
  /** 0: exactly `args`. n > 0: the last may be left out, or repeated to at most n more. -1: repeated freely. */
  readonly variadic: number;
  readonly returns: ValueType;
  /** Needs the feature promql-experimental-functions. */
  readonly experimental: boolean;
};

const shapes: readonly (readonly [
  names: string,
  args: readonly ValueType[],
  returns: ValueType,
  variadic?: number,
  experimental?: boolean,
])[] = [
  [
    "abs acos acosh asin asinh atan atanh ceil cos cosh deg exp floor ln log10 log2 rad sgn sin sinh sqrt tan tanh",
    ["vector"],
    "vector",
  ],
  [
    "absent histogram_avg histogram_count histogram_stddev histogram_stdvar histogram_sum",
    ["vector"],
    "vector",
  ],
  ["sort sort_desc timestamp", ["vector"], "vector"],
  [
    "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate last_over_time",
    ["matrix"],
    "vector",
  ],
  [
    "max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time",
    ["matrix"],
    "vector",
  ],
  [
    "mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time",
    ["matrix"],
    "vector",
    0,
    true,
  ],
  ["start_timestamp", ["vector"], "vector", 0, true],
  ["clamp", ["vector", "scalar", "scalar"], "vector"],
  ["clamp_max clamp_min", ["vector", "scalar"], "vector"],
  [
    "day_of_month day_of_week day_of_year days_in_month hour minute month year",
    ["vector"],
    "vector",
    1,
  ],
  ["double_exponential_smoothing", ["matrix", "scalar", "scalar"], "vector", 0, true],
  ["histogram_fraction", ["scalar", "scalar", "vector"], "vector"],
  ["histogram_quantile", ["scalar", "vector"], "vector"],
  ["histogram_quantiles", ["vector", "string", "scalar"], "vector", 9, true],
  ["info", ["vector", "vector"], "vector", 1, true],
  ["label_join", ["vector", "string", "string", "string"], "vector", -1],
  ["label_replace", ["vector", "string", "string", "string", "string"], "vector"],
  ["pi time", [], "scalar"],
  ["start end step range", [], "scalar", 0, true],
  ["max_of min_of", ["scalar", "scalar"], "scalar", 0, true],
  ["predict_linear", ["matrix", "scalar"], "vector"],
  ["quantile_over_time", ["scalar", "matrix"], "vector"],
  ["round", ["vector", "scalar"], "vector", 1],
  ["scalar", ["vector"], "scalar"],
  ["sort_by_label sort_by_label_desc", ["vector", "string"], "vector", -1, true],
  ["vector", ["scalar"], "vector"],
];

export const signatures: ReadonlyMap<string, FunctionSignature> = new Map(
  shapes.flatMap(([names, args, returns, variadic = 0, experimental = false]) =>
    names
      .split(" ")
      .map((name) => [name, { name, args, variadic, returns, experimental }] as const),
  ),
);
