/**
 * Endpoints that answer from the request alone (Prometheus' HTTP API): `format_query`, and those of data that no
 * endpoint of a query node is asked for. These check their parameters and answer empty, which clients take for
 * "there are none": Grafana asks for all of them when it opens a data source.
 */

import { formatExpr, PromqlParseError, parseExpr } from "@torus/promql";
import { ApiError, badParameter } from "./api-error.ts";
import { MAX_TIME, MIN_TIME, type Parameters } from "./parameters.ts";

function parsed(parameters: Parameters): ReturnType<typeof parseExpr> {
  try {
    return parseExpr(parameters.text("query"));
  } catch (error) {
    if (error instanceof PromqlParseError) throw badParameter("query", error.message);
    throw error;
  }
}

/** JSON of the expression as Prometheus prints it. */
export function formatQuery(parameters: Parameters): string {
  return JSON.stringify(formatExpr(parsed(parameters)));
}

export function noExemplars(parameters: Parameters): string {
  const start = parameters.time("start", MIN_TIME);
  const end = parameters.time("end", MAX_TIME);
  if (end < start) throw new ApiError("bad_data", "end timestamp must not be before start time");
  parsed(parameters);
  return "[]";
}

export function noMetadata(parameters: Parameters): string {
  for (const name of ["limit", "limit_per_metric"]) {
    const text = parameters.text(name);
    if (text !== "" && !/^[+-]?\d+$/.test(text)) {
      throw new ApiError("bad_data", `${name} must be a number`);
    }
  }
  return "{}";
}

export function noRules(parameters: Parameters): string {
  const type = parameters.text("type");
  if (type !== "" && type !== "alert" && type !== "record") {
    throw badParameter("type", `not supported value "${type}"`);
  }
  parameters.selectors();
  return '{"groups":[]}';
}

export const NO_ALERTS = '{"alerts":[]}';
export const NO_TARGETS = '{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}';
