/** Which labels the groups of an aggregation have. */

import { type Labels, METRIC_NAME, withoutLabels } from "@torus/model";
import type { Aggregation } from "./ast.ts";
import { onlyLabels } from "./column.ts";

export function groupingOf(node: Aggregation): (labels: Labels) => Labels {
  const names = new Set(node.grouping);
  if (!node.without) return (labels) => onlyLabels(labels, names);
  names.add(METRIC_NAME);
  return (labels) => withoutLabels(labels, names);
}
