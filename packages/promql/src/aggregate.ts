/**
 * Aggregations. Those that fold (sum, avg, count, min, max, group, stddev, stdvar) hold groups times steps and
 * take series as they pass; topk, quantile and count_values need all series of a step.
 */

import {
  allBuckets,
  type Histogram,
  type Labels,
  labelValue,
  METRIC_NAME,
  usesCustomBuckets,
  withoutLabels,
} from "@torus/model";
import { infos, type Notes, warnings } from "./annotations.ts";
import type { Aggregation } from "./ast.ts";
import { type Column, labelsKey, newColumn, onlyLabels, withLabel } from "./column.ts";
import { HistogramFold } from "./histogram-fold.ts";
import { placeOf } from "./label-hash.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { compensate, quantileOf, sortedNanFirst } from "./sums.ts";

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

export function groupingOf(node: Aggregation): (labels: Labels) => Labels {
  const names = new Set(node.grouping);
  if (!node.without) return (labels) => onlyLabels(labels, names);
  names.add(METRIC_NAME);
  return (labels) => withoutLabels(labels, names);
}

function groups(
  node: Aggregation,
  columns: readonly Column[],
): Map<string, { labels: Labels; members: Column[] }> {
  const labelsOf = groupingOf(node);
  const out = new Map<string, { labels: Labels; members: Column[] }>();
  for (const column of columns) {
    const labels = labelsOf(column.labels);
    const key = labelsKey(labels);
    const group = out.get(key);
    if (group === undefined) out.set(key, { labels, members: [column] });
    else group.members.push(column);
  }
  return out;
}

function isFloatAt(column: Column, step: number, op: string, notes: Notes): boolean {
  if (column.histograms?.[step] === undefined) return true;
  notes.info(infos.ignoredInAggregation(op));
  return false;
}

export function quantiles(
  node: Aggregation,
  columns: readonly Column[],
  q: Float64Array,
  notes: Notes,
): Column[] {
  return [...groups(node, columns).values()].map(({ labels, members }) => {
    const out = newColumn(labels, q.length);
    for (let i = 0; i < q.length; i++) {
      const there = members.filter(
        (column) => column.present[i] === 1 && isFloatAt(column, i, "quantile", notes),
      );
      if (there.length === 0) continue;
      out.values[i] = quantileOf(
        q[i] as number,
        sortedNanFirst(Float64Array.from(there, (column) => column.values[i] as number)),
      );
      out.present[i] = 1;
    }
    return out;
  });
}

/** The double above the largest 64-bit integer. */
const MAX_INT64 = 2 ** 63;

/**
 * A share of the series of every step, by where the hash of their labels lies in [0, 1): below the ratio, or for a
 * negative one above 1 + ratio, so that two ratios that differ by 1 divide them.
 */
export function limitedByRatio(
  columns: readonly Column[],
  ratio: Float64Array,
  notes: Notes,
): Column[] {
  const capped = ratio.map((value) => {
    if (Number.isNaN(value)) throw new QueryExecutionError("Ratio value is NaN");
    if (value >= -1 && value <= 1) return value;
    const limit = Math.sign(value);
    notes.warn(warnings.ratio(formatShort(value), String(limit)));
    return limit;
  });
  return columns.map((column) => {
    const place = placeOf(column.labels);
    const present = column.present.map((bit, i) => {
      const limit = capped[i] as number;
      return (limit >= 0 ? place < limit : place >= 1 + limit) ? bit : 0;
    });
    return { ...column, present };
  });
}

/** topk, bottomk and limitk. With one step the result is ordered as Prometheus orders an instant vector. */
export function selected(
  node: Aggregation,
  columns: readonly Column[],
  k: Float64Array,
  notes: Notes,
): Column[] {
  const largest = node.op === "topk";
  /** Equal values keep their order; NaN is last. */
  const precedes = (a: number, b: number) =>
    largest
      ? a > b || (Number.isNaN(b) && !Number.isNaN(a))
      : a < b || (Number.isNaN(b) && !Number.isNaN(a));
  const out: Column[] = [];
  for (const { members } of groups(node, columns).values()) {
    const kept = members.map((column) => ({ ...column, present: new Uint8Array(k.length) }));
    let order = kept;
    for (let i = 0; i < k.length; i++) {
      const wanted = k[i] as number;
      if (Number.isNaN(wanted)) throw new QueryExecutionError("Parameter value is NaN");
      if (Math.abs(wanted) > MAX_INT64) {
        throw new QueryExecutionError(`Scalar value ${formatShort(wanted)} overflows int64`);
      }
      if (wanted < 1) continue;
      const size = Math.min(Math.trunc(wanted), members.length);
      const best: number[] = [];
      for (let m = 0; m < members.length; m++) {
        const column = members[m] as Column;
        if (column.present[i] === 0) continue;
        if (node.op === "limitk") {
          if (best.length < size) best.push(m);
          continue;
        }
        if (column.histograms !== null && !isFloatAt(column, i, node.op, notes)) continue;
        const value = column.values[i] as number;
        let at = best.length;
        while (at > 0 && precedes(value, members[best[at - 1] as number]?.values[i] as number))
          at--;
        if (at === size) continue;
        if (best.length === size) best.pop();
        best.splice(at, 0, m);
      }
      for (const m of best) (kept[m] as Column).present[i] = 1;
      if (k.length === 1) order = best.map((m) => kept[m] as (typeof kept)[number]);
    }
    out.push(...order);
  }
  return out;
}

/** Go's shortest 'f' form, the label value of count_values. */
export function formatFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (Object.is(value, -0)) return "-0";
  const text = String(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return text;
  const [, minus, head, tail = "", exponent] = match as unknown as [
    string,
    string,
    string,
    string | undefined,
    string,
  ];
  const e = Number(exponent);
  return e < 0
    ? `${minus}0.${"0".repeat(-e - 1)}${head}${tail}`
    : `${minus}${head}${tail}${"0".repeat(e - tail.length)}`;
}

/** `{count:2, sum:3, [-0.5,0.5]:1, (1,2]:1}`, as Prometheus writes a histogram in one line. */
export function formatHistogram(h: Histogram): string {
  const parts = [`{count:${formatShort(h.count)}, sum:${formatShort(h.sum)}`];
  const custom = usesCustomBuckets(h);
  for (const { lower, upper, count } of allBuckets(h)) {
    if (count === 0) continue;
    const open = lower < 0 && (upper >= 0 || !custom) ? "[" : "(";
    const close = upper < 0 && !custom ? ")" : "]";
    parts.push(`${open}${formatShort(lower)},${formatShort(upper)}${close}:${formatShort(count)}`);
  }
  return `${parts.join(", ")}}`;
}

/** Go's shortest 'g' form: exponents below -4 and from 21. */
function formatShort(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || !Number.isFinite(value) || (size >= 1e-4 && size < 1e21)) {
    return formatFloat(value);
  }
  return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
}

export function valueCounts(
  node: Aggregation,
  columns: readonly Column[],
  name: string,
  count: number,
): Column[] {
  const labelsOf = groupingOf(node);
  const out = new Map<string, Column>();
  for (const column of columns) {
    const base = labelsOf(column.labels);
    for (let i = 0; i < count; i++) {
      if (column.present[i] === 0) continue;
      const histogram = column.histograms?.[i];
      const text =
        histogram === undefined
          ? formatFloat(column.values[i] as number)
          : formatHistogram(histogram);
      const labels = withLabel(base, name, text);
      const key = labelsKey(labels);
      let result = out.get(key);
      if (result === undefined) out.set(key, (result = newColumn(labels, count)));
      result.present[i] = 1;
      result.values[i] = (result.values[i] as number) + 1;
    }
  }
  return [...out.values()];
}
