/**
 * Selectors of which only histograms' counts and sums are read. For these Prometheus detects counter resets while it
 * reads, so that histograms say "reset" or "not_reset" where storage does not know; annotations depend on it.
 */

import { type Histogram, isCounterReset, type SeriesColumns } from "@torus/model";
import { children, type Expr, type VectorSelector } from "../ast.ts";

const totals: ReadonlySet<string> = new Set(["histogram_count", "histogram_sum", "histogram_avg"]);
const whole: ReadonlySet<string> = new Set([
  "histogram_quantile",
  "histogram_quantiles",
  "histogram_fraction",
]);

export function selectorsOfTotals(expr: Expr): ReadonlySet<VectorSelector> {
  const out = new Set<VectorSelector>();
  const walk = (node: Expr, inTotals: boolean, spoilt: boolean): void => {
    if (node.kind === "vectorSelector") {
      if (inTotals && !spoilt) out.add(node);
      return;
    }
    let now = inTotals;
    let bad = spoilt || node.kind === "subquery";
    if (node.kind === "call") {
      if (totals.has(node.func.name)) now = true;
      if (whole.has(node.func.name)) bad = true;
    }
    if (node.kind === "binary" && (node.op === "</" || node.op === ">/")) bad = true;
    for (const child of children(node)) walk(child, now, bad);
  };
  walk(expr, false, false);
  return out;
}

export function withResetsDetected(series: SeriesColumns): SeriesColumns {
  if (series.histograms === null) return series;
  let previous: Histogram | null = null;
  const histograms = series.histograms.map((h) => {
    if (h === undefined || h.sumIsStale) return h;
    const before = previous;
    previous = h;
    if (h.counterResetHint !== "unknown" || before === null) return h;
    const counterResetHint = isCounterReset(h, before) ? "reset" : "not_reset";
    return { ...h, counterResetHint } as const;
  });
  return { ...series, histograms };
}
