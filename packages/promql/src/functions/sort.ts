/** sort, sort_desc, sort_by_label and sort_by_label_desc. */

import { compareLabels, compareStrings, labelValue } from "@torus/model";
import type { Call } from "../ast.ts";
import type { Column, Grid } from "../column.ts";
import { stringOf } from "../string-argument.ts";

/** An instant vector in order; a range query is sorted by labels in the end, and passes. */
export function sorted(expr: Call, columns: Column[], grid: Grid): Column[] {
  if (grid.count !== 1) return columns;
  let there = columns.filter((column) => column.present[0] === 1);
  const descending = expr.func.name.endsWith("_desc");
  if (expr.func.name.startsWith("sort_by_label")) {
    const names = expr.args.slice(1).map(stringOf);
    const numeric = new Intl.Collator("en", { numeric: true });
    return there.sort((a, b) => {
      for (const name of names) {
        const x = labelValue(a.labels, name);
        const y = labelValue(b.labels, name);
        const order = numeric.compare(x, y) || compareStrings(x, y);
        if (order !== 0) return descending ? -order : order;
      }
      const order = compareLabels(a.labels, b.labels);
      return descending ? -order : order;
    });
  }
  there = there.filter((column) => column.histograms?.[0] === undefined);
  return there.sort((a, b) => {
    const x = a.values[0] as number;
    const y = b.values[0] as number;
    if (Number.isNaN(x) || Number.isNaN(y))
      return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    if (x === y) return 0;
    return x < y === descending ? 1 : -1;
  });
}
