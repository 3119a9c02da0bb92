/** Functions of one sample, over a column. */

import { type Histogram, scaledHistogram } from "@torus/model";
import { type Column, dropMetadata, newColumn } from "./column.ts";
import type { Evaluation } from "./evaluate.ts";

export function negated(evaluation: Evaluation, column: Column): Column {
  const out = mapped(evaluation, column, (value) => -value);
  column.histograms?.forEach((histogram, i) => {
    if (histogram === undefined || column.present[i] === 0) return;
    out.histograms ??= Array.from<Histogram | undefined>({ length: out.present.length });
    out.histograms[i] = scaledHistogram(histogram, -1);
    out.present[i] = 1;
  });
  return out;
}

/** Histograms are left out. */
export function mapped(
  evaluation: Evaluation,
  column: Column,
  fn: (value: number, step: number) => number | undefined,
): Column {
  const delayed = evaluation.scope.delayedNameRemoval;
  const out = newColumn(
    delayed ? column.labels : dropMetadata(column.labels),
    column.present.length,
    true,
  );
  for (let i = 0; i < out.present.length; i++) {
    if (column.present[i] === 0 || column.histograms?.[i] !== undefined) continue;
    const value = fn(column.values[i] as number, i);
    if (value === undefined) continue;
    out.values[i] = value;
    out.present[i] = 1;
  }
  return out;
}

export function readHistograms(
  evaluation: Evaluation,
  column: Column,
  read: (histogram: Histogram) => number,
): Column {
  const delayed = evaluation.scope.delayedNameRemoval;
  const labels = delayed ? column.labels : dropMetadata(column.labels);
  const out = newColumn(labels, column.present.length, true);
  for (let i = 0; i < out.present.length; i++) {
    const histogram = column.present[i] === 1 ? column.histograms?.[i] : undefined;
    if (histogram === undefined) continue;
    out.values[i] = read(histogram);
    out.present[i] = 1;
  }
  return out;
}
