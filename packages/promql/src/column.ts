/**
 * What operators pass on: one series over all steps of a grid.
 *
 *   step       0    1    2    3
 *   values    1.0  2.0   ?   4.0
 *   present    1    1    0    1
 */

import {
  compareStrings,
  type Histogram,
  type Labels,
  labelValue,
  METRIC_NAME,
  withoutLabels,
} from "@torus/model";
import { QueryExecutionError } from "./query-errors.ts";

/** The instants of an evaluation: startMs + i * stepMs for i in 0..count-1. */
export type Grid = { readonly startMs: number; readonly stepMs: number; readonly count: number };

export type Column = {
  labels: Labels;
  values: Float64Array;
  /** 1 where there is a sample. */
  present: Uint8Array;
  /** The histogram of step i, or undefined where it is a float; null for floats only. */
  histograms: (Histogram | undefined)[] | null;
  /** With delayed name removal: the name goes when the result is made. */
  dropName: boolean;
};

export function newColumn(labels: Labels, count: number, dropName = false): Column {
  return {
    labels,
    values: new Float64Array(count),
    present: new Uint8Array(count),
    histograms: null,
    dropName,
  };
}

/** About what a column takes in memory; of histograms a small one each. */
export function columnBytes({ labels, present, histograms }: Column): number {
  let bytes = 200 + present.length * (histograms === null ? 9 : 209);
  for (const text of labels) bytes += 24 + text.length;
  return bytes;
}

const metadataLabels: ReadonlySet<string> = new Set([METRIC_NAME, "__type__", "__unit__"]);

/** What was made of label sets: storage gives the same array when a series comes again. */
const unnamed = new WeakMap<Labels, Labels>();
const keys = new WeakMap<Labels, string>();

export function dropMetadata(labels: Labels): Labels {
  let out = unnamed.get(labels);
  if (out === undefined) {
    out = withoutLabels(labels, metadataLabels);
    unnamed.set(labels, out);
  }
  return out;
}

/** A string that two label sets share when and only when they are equal. */
export function labelsKey(labels: Labels): string {
  let key = keys.get(labels);
  if (key === undefined) {
    key = labels.join("\u0000");
    keys.set(labels, key);
  }
  return key;
}

/** `{__name__="up", job="node"}`, as Prometheus' errors show label sets. */
export function braced(labels: Labels): string {
  const pairs: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    pairs.push(`${labels[i]}=${JSON.stringify(labels[i + 1])}`);
  }
  return `{${pairs.join(", ")}}`;
}

/** The labels of `names` only, sorted as in `labels`. */
export function onlyLabels(labels: Labels, names: ReadonlySet<string>): Labels {
  const out: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    if (names.has(labels[i] as string)) out.push(labels[i] as string, labels[i + 1] as string);
  }
  return out;
}

/** `labels` with `name` set to `value`; the empty value removes it. */
export function withLabel(labels: Labels, name: string, value: string): Labels {
  if (labelValue(labels, name) === value) return labels;
  const out: string[] = [];
  let placed = value === "";
  for (let i = 0; i < labels.length; i += 2) {
    const other = labels[i] as string;
    if (!placed && compareStrings(other, name) > 0) {
      out.push(name, value);
      placed = true;
    }
    if (other !== name) out.push(other, labels[i + 1] as string);
  }
  if (!placed) out.push(name, value);
  return out;
}

/**
 * Joins columns of equal labels, which a function that drops or changes labels can make, and `or` whose sides have
 * the same series at different steps.
 * @throws {QueryExecutionError} when two have a sample at the same step.
 */
export function joined(columns: readonly Column[]): Column[] {
  const byKey = new Map<string, Column>();
  // Columns may be a common subexpression's, which others read too: what is changed is a copy.
  const copies = new Set<Column>();
  for (const column of columns) {
    const key = labelsKey(column.labels);
    let first = byKey.get(key);
    if (first === undefined) {
      byKey.set(key, column);
      continue;
    }
    if (!copies.has(first)) {
      first = {
        ...first,
        present: first.present.slice(),
        values: first.values.slice(),
        histograms: first.histograms?.slice() ?? null,
      };
      copies.add(first);
      byKey.set(key, first);
    }
    for (let i = 0; i < column.present.length; i++) {
      if (column.present[i] === 0) continue;
      if (first.present[i] === 1) {
        throw new QueryExecutionError("vector cannot contain metrics with the same labelset");
      }
      first.present[i] = 1;
      first.values[i] = column.values[i] as number;
      const histogram = column.histograms?.[i];
      if (histogram !== undefined) {
        first.histograms ??= Array.from<Histogram | undefined>({ length: column.present.length });
        first.histograms[i] = histogram;
      }
    }
  }
  return [...byKey.values()];
}
