/**
 * What a query thread answers from a query's text alone, and what endpoints of a query node have nothing to tell of
 * (Prometheus' HTTP API): these check their parameters and answer empty, which clients take for "there are none".
 */

import { MatcherRegexError } from "@torus/model";
import { children, type Expr, formatExpr, PromqlParseError, parseExpr } from "@torus/promql";
import { ApiError, badParameter } from "./api-error.ts";
import { astJson } from "./ast-json.ts";
import { goString } from "./json-writer.ts";
import type { Parameters } from "./parameters.ts";

/** What is done with the text of a query that is not evaluated. */
export type TextTask = "format" | "parse" | "exemplars";

/** @returns JSON; of exemplars only whether the expression selects any series. @throws {ApiError} when the text is no expression */
export function textAnswer(task: TextTask, query: string): string {
  let expr: ReturnType<typeof parseExpr>;
  try {
    expr = parseExpr(query);
  } catch (error) {
    if (!(error instanceof PromqlParseError || error instanceof MatcherRegexError)) throw error;
    if (task === "exemplars") throw new ApiError("bad_data", error.message);
    throw badParameter("query", error.message);
  }
  switch (task) {
    case "format":
      return goString(formatExpr(expr));
    case "parse":
      return astJson(expr);
    case "exemplars":
      return hasSelector(expr) ? "[]" : "null";
  }
}

function hasSelector(expr: Expr): boolean {
  return expr.kind === "vectorSelector" || children(expr).some(hasSelector);
}

export function noRules(parameters: Parameters): string {
  const type = parameters.text("type");
  if (type !== "" && type !== "alert" && type !== "record") {
    throw badParameter("type", `not supported value "${type}"`);
  }
  return '{"groups":[]}';
}

/** Paths under /api/v1 that answer the same always, and the JSON. */
export const CONSTANT_ANSWERS: Readonly<Record<string, string>> = {
  alerts: '{"alerts":[]}',
  alertmanagers: '{"activeAlertmanagers":[],"droppedAlertmanagers":[]}',
  notifications: "[]",
  scrape_pools: '{"scrapePools":[]}',
  targets: '{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}',
  "targets/metadata": "[]",
  "status/config": '{"yaml":""}',
};
