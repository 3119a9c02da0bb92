/**
 * `/api/v1/features`: what this query node can do, by category, for the autocompletion of Prometheus' user interface.
 * What Prometheus has and a query node has not is false.
 */

import { type EngineFeature, signatures } from "@torus/promql";

const API = {
  admin: false,
  exclude_alerts: true,
  label_values_match: true,
  lifecycle: false,
  "openapi_3.1": false,
  "openapi_3.2": false,
  otlp_write_receiver: false,
  query_stats: true,
  query_warnings: true,
  remote_write_receiver: false,
  time_range_labels: true,
  time_range_series: true,
};

const KEYWORDS =
  "and atan2 bool by end group_left group_right ignoring offset on or start unless without";
/** Keywords that a feature brings. Arithmetic in durations is part of the language by now. */
const EXPERIMENTAL_KEYWORDS: Readonly<Record<string, EngineFeature | null>> = {
  anchored: "promql-extended-range-selectors",
  duration_expr: null,
  fill: "promql-binop-fill-modifiers",
  fill_left: "promql-binop-fill-modifiers",
  fill_right: "promql-binop-fill-modifiers",
  smoothed: "promql-extended-range-selectors",
};
const OPERATORS = "!= !~ % * + - / < <= == =~ > >= @ ^ and atan2 or unless";
const AGGREGATIONS = "avg bottomk count count_values group max min quantile stddev stdvar sum topk";
const EXPERIMENTAL_AGGREGATIONS = "limit_ratio limitk";

/** What `--enable-feature` may name here. */
export const ENGINE_FEATURES: readonly EngineFeature[] = [
  "promql-binop-fill-modifiers",
  "promql-delayed-name-removal",
  "promql-duration-expr",
  "promql-experimental-functions",
  "promql-extended-range-selectors",
  "use-start-timestamps",
];

export function featuresJson(enabled: readonly EngineFeature[]): string {
  const isExperimental = enabled.includes("promql-experimental-functions");
  const promql: Record<string, boolean> = {};
  for (const keyword of KEYWORDS.split(" ")) promql[keyword] = true;
  for (const [keyword, feature] of Object.entries(EXPERIMENTAL_KEYWORDS)) {
    promql[keyword] = feature === null || enabled.includes(feature);
  }
  const functions: Record<string, boolean> = {};
  for (const { name, experimental } of signatures.values())
    functions[name] = !experimental || isExperimental;
  const operators: Record<string, boolean> = {};
  for (const name of `${OPERATORS} ${AGGREGATIONS}`.split(" ")) operators[name] = true;
  for (const name of EXPERIMENTAL_AGGREGATIONS.split(" ")) operators[name] = isExperimental;
  const sorted = (all: Record<string, boolean>) =>
    Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify({
    api: API,
    promql: sorted(promql),
    promql_functions: sorted(functions),
    promql_operators: sorted(operators),
  });
}
