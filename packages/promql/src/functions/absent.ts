/** The labels of what absent and absent_over_time find missing: those that equality matchers name once. */

import { EMPTY_LABELS, type Labels, labelsFromPairs, METRIC_NAME } from "@torus/model";
import type { Expr } from "../ast.ts";

export function labelsOfAbsent(arg: Expr): Labels {
  const selector = arg.kind === "matrixSelector" ? arg.selector : arg;
  let labels = EMPTY_LABELS;
  if (selector.kind === "vectorSelector") {
    const seen = new Map<string, number>();
    for (const matcher of selector.matchers)
      seen.set(matcher.name, (seen.get(matcher.name) ?? 0) + 1);
    labels = labelsFromPairs(
      selector.matchers
        .filter((m) => m.type === "=" && m.name !== METRIC_NAME && seen.get(m.name) === 1)
        .map((m) => [m.name, m.value] as const),
    );
  }
  return labels;
}
