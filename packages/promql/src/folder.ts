/**
 * Aggregations that fold (sum, avg, count, min, max, group, stddev, stdvar): they hold groups times steps and take
 * series as they pass.
 */

import { type Histogram, type Labels, labelValue, METRIC_NAME } from "@torus/model";
import { infos, type Notes, warnings } from "./annotations.ts";
import type { Aggregation } from "./ast.ts";
import { type Column, labelsKey, newColumn } from "./column.ts";
import { groupingOf } from "./grouping.ts";
import { HistogramFold } from "./histogram-fold.ts";
import { compensate } from "./sums.ts";

type Group = {
  labels: Labels;
  dropName: boolean;
  /** Series that gave a sample so far, by step. */
  counts: Float64Array;
  /** Sum, extreme or mean; `c` is its compensation. */
  values: Float64Array;
  c: Float64Array;
  /** Sums of squared distances with their compensation; incremental means for `avg` after an overflow. */
  aux: Float64Array;
  auxC: Float64Array;
  overflown: Uint8Array | null;
  /** Sums of histograms by step, for `sum` and `avg`. */
  histograms: (HistogramFold | undefined)[] | null;
};

export class Folder {
  readonly #node: Aggregation;
  readonly #count: number;
  readonly #groups = new Map<string, Group>();
  readonly #labelsOf: (labels: Labels) => Labels;
  readonly #notes: Notes;

  constructor(node: Aggregation, count: number, notes: Notes) {
    this.#node = node;
    this.#notes = notes;
    this.#count = count;
    this.#labelsOf = groupingOf(node);
  }

  #groupOf(column: Column): Group {
    const labels = this.#labelsOf(column.labels);
    const key = labelsKey(labels);
    let group = this.#groups.get(key);
    if (group === undefined) {
      const spread = this.#node.op === "stddev" || this.#node.op === "stdvar" ? this.#count : 0;
      group = {
        labels,
        dropName: column.dropName,
        counts: new Float64Array(this.#count),
        values: new Float64Array(this.#count),
        c: new Float64Array(this.#count),
        aux: new Float64Array(spread),
        auxC: new Float64Array(spread),
        overflown: null,
        histograms: null,
      };
      this.#groups.set(key, group);
    }
    group.dropName ||= column.dropName;
    return group;
  }

  get groups(): number {
    return this.#groups.size;
  }

  add(column: Column): void {
    const { op } = this.#node;
    const group = this.#groupOf(column);
    const { counts, values, c, aux, auxC } = group;
    const { present } = column;
    const given = column.values;
    const histograms = op === "count" || op === "group" ? null : column.histograms;
    const count = this.#count;
    if (op === "sum" && histograms === null) {
      addToSums(group, given, present);
      return;
    }
    for (let i = 0; i < count; i++) {
      if (present[i] === 0) continue;
      const histogram = histograms?.[i];
      if (histogram !== undefined) {
        this.#addHistogram(group, i, histogram, column.labels);
        continue;
      }
      const n = (counts[i] as number) + 1;
      counts[i] = n;
      const value = given[i] as number;
      switch (op) {
        case "sum": {
          const sum = values[i] as number;
          const next = sum + value;
          c[i] = n === 1 ? 0 : compensate(sum, value, next, c[i] as number);
          values[i] = next;
          break;
        }
        case "avg":
          this.#average(group, i, n, value);
          break;
        case "min":
          if (n === 1 || value < (values[i] as number) || Number.isNaN(values[i]))
            values[i] = value;
          break;
        case "max":
          if (n === 1 || value > (values[i] as number) || Number.isNaN(values[i]))
            values[i] = value;
          break;
        case "stddev":
        case "stdvar": {
          const delta = value - ((values[i] as number) + (c[i] as number));
          const step = delta / n;
          const next = (values[i] as number) + step;
          c[i] = compensate(values[i] as number, step, next, c[i] as number);
          values[i] = next;
          const add = delta * (value - (next + (c[i] as number)));
          const nextAux = (aux[i] as number) + add;
          auxC[i] = compensate(aux[i] as number, add, nextAux, auxC[i] as number);
          aux[i] = nextAux;
          break;
        }
        case "count":
        case "group":
        case "topk":
        case "bottomk":
        case "limitk":
        case "limit_ratio":
        case "count_values":
        case "quantile":
          break;
      }
    }
  }

  #addHistogram(group: Group, i: number, histogram: Histogram, labels: Labels): void {
    const { op } = this.#node;
    if (op !== "sum" && op !== "avg") {
      this.#notes.info(infos.ignoredInAggregation(op));
      return;
    }
    group.histograms ??= Array.from<HistogramFold | undefined>({ length: this.#count });
    const fold = group.histograms[i];
    if (fold === undefined) group.histograms[i] = new HistogramFold(histogram, op === "avg");
    else fold.add(histogram, this.#notes, labelValue(labels, METRIC_NAME));
  }

  /** A sum while it is finite, an incremental mean from where it would overflow. */
  #average(group: Group, i: number, n: number, value: number): void {
    const { values, c } = group;
    if (n === 1) {
      values[i] = value;
      return;
    }
    const old = values[i] as number;
    if (group.overflown?.[i] !== 1) {
      const next = old + value;
      if (Number.isFinite(next) || !Number.isFinite(old) || !Number.isFinite(value)) {
        c[i] = compensate(old, value, next, c[i] as number);
        values[i] = next;
        return;
      }
      group.overflown ??= new Uint8Array(this.#count);
      group.overflown[i] = 1;
      values[i] = old / (n - 1);
      c[i] = (c[i] as number) / (n - 1);
    }
    const kept = (n - 1) / n;
    const mean = kept * (values[i] as number);
    const next = mean + value / n;
    c[i] = compensate(mean, value / n, next, kept * (c[i] as number));
    values[i] = next;
  }

  result(): Column[] {
    const { op } = this.#node;
    const out: Column[] = [];
    for (const group of this.#groups.values()) {
      const column = newColumn(group.labels, this.#count, group.dropName);
      for (let i = 0; i < this.#count; i++) {
        const n = group.counts[i] as number;
        const fold = group.histograms?.[i];
        if (fold !== undefined) {
          if (n > 0) {
            this.#notes.warn(warnings.mixedInAggregation);
            continue;
          }
          const histogram = fold.result(this.#notes);
          if (histogram === null) continue;
          column.histograms ??= Array.from<Histogram | undefined>({ length: this.#count });
          column.histograms[i] = histogram;
          column.present[i] = 1;
          continue;
        }
        if (n === 0) continue;
        column.present[i] = 1;
        const value = group.values[i] as number;
        const c = group.c[i] as number;
        column.values[i] =
          op === "count"
            ? n
            : op === "group"
              ? 1
              : op === "sum"
                ? value + c
                : op === "avg"
                  ? group.overflown?.[i] === 1
                    ? value + c
                    : value / n + c / n
                  : op === "stdvar"
                    ? ((group.aux[i] as number) + (group.auxC[i] as number)) / n
                    : op === "stddev"
                      ? Math.sqrt(((group.aux[i] as number) + (group.auxC[i] as number)) / n)
                      : value;
      }
      out.push(column);
    }
    return out;
  }
}

/** What most queries do, in a loop without a choice. */
function addToSums({ counts, values, c }: Group, given: Float64Array, present: Uint8Array): void {
  for (let i = 0; i < present.length; i++) {
    if (present[i] === 0) continue;
    const value = given[i] as number;
    const n = (counts[i] as number) + 1;
    counts[i] = n;
    const sum = values[i] as number;
    const next = sum + value;
    values[i] = next;
    if (n > 1) c[i] = compensate(sum, value, next, c[i] as number);
  }
}
