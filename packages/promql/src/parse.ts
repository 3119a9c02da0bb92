/** The front of the language: text to checked tree, and text to matchers. */

import type { Matcher } from "@torus/model";
import type { Expr } from "./ast.ts";
import { checked } from "./parse/check.ts";
import { Parser } from "./parse/parser.ts";
import type { Feature } from "./parse/token-cursor.ts";

export type ParseOptions = { enabledFeatures?: ReadonlySet<Feature> };

export const ALL_FEATURES: ReadonlySet<Feature> = new Set<Feature>([
  "promql-experimental-functions",
  "promql-extended-range-selectors",
  "promql-binop-fill-modifiers",
  "promql-duration-expr",
]);

/** Duration expressions are part of the language since Prometheus 3.14; the others are asked for. */
const DEFAULT_FEATURES: ReadonlySet<Feature> = new Set<Feature>(["promql-duration-expr"]);

/** The tree of `text`, its types checked. @throws {PromqlParseError} */
export function parseExpr(text: string, options: ParseOptions = {}): Expr {
  const features = new Set([...DEFAULT_FEATURES, ...(options.enabledFeatures ?? [])]);
  return checked(text, new Parser(text, features).whole());
}

/**
 * The matchers of a series selector: `match[]` of the HTTP API, and tools. Whether one that matches everything is
 * allowed is the caller's to say. @throws {PromqlParseError}
 */
export function parseMetricSelector(text: string): readonly Matcher[] {
  return new Parser(text, DEFAULT_FEATURES).wholeSelector().matchers;
}
