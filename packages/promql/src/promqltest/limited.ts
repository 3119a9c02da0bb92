/**
 * The result of limitk: any k series of a group are right (Prometheus takes the first that storage gives), so a case is
 * held to which series may be chosen and how many each step has, not to one choice.
 */

import type { Labels } from "@torus/model";
import type { Aggregation, Expr } from "../ast.ts";
import { groupingOf } from "../grouping.ts";
import { ALL_FEATURES, parseExpr } from "../parse.ts";
import type { ResultSeries } from "../result.ts";
import { type ExpectedSeries, floatsEqual } from "./compare.ts";

/** The limitk at the root of a query, or null. */
export function limitkOf(query: string): Aggregation | null {
  let node: Expr = parseExpr(query, { enabledFeatures: ALL_FEATURES });
  while (node.kind === "paren") node = node.expr;
  return node.kind === "aggregation" && node.op === "limitk" ? node : null;
}

/** `candidates` are what the limitk chose from. Null for a right answer, else a sentence. */
export function compareLimited(
  node: Aggregation,
  want: readonly ExpectedSeries[],
  got: readonly ResultSeries[],
  candidates: readonly ResultSeries[],
): string | null {
  const byLabels = new Map(candidates.map((series) => [JSON.stringify(series.labels), series]));
  for (const series of got) {
    const key = JSON.stringify(series.labels);
    const from = byLabels.get(key);
    if (from === undefined) return `${key} is not among the series that limitk chooses from`;
    for (let i = 0; i < series.timestamps.length; i++) {
      const at = from.timestamps.indexOf(series.timestamps[i] as number);
      if (at < 0 || !floatsEqual(from.values[at] as number, series.values[i] as number))
        return `${key} differs from its input at ${series.timestamps[i]} ms`;
    }
  }
  const labelsOf = groupingOf(node);
  const counted = (all: readonly { labels: Labels; times: Iterable<number> }[]) => {
    const counts = new Map<string, number>();
    for (const { labels, times } of all) {
      for (const t of times) {
        const key = `${JSON.stringify(labelsOf(labels))} at ${t} ms`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    return counts;
  };
  const expected = counted(want.map(({ labels, points }) => ({ labels, times: points.keys() })));
  const actual = counted(got.map(({ labels, timestamps }) => ({ labels, times: timestamps })));
  for (const key of new Set([...expected.keys(), ...actual.keys()])) {
    if (expected.get(key) !== actual.get(key))
      return `${key}: expected ${expected.get(key) ?? 0} series, got ${actual.get(key) ?? 0}`;
  }
  return null;
}
