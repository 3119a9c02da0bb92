/** Aggregations that need all series of a step: topk and its like, limits, quantile, count_values. */

import { allBuckets, type Histogram, type Labels, usesCustomBuckets } from "@torus/model";
import { infos, type Notes, warnings } from "./annotations.ts";
import type { Aggregation } from "./ast.ts";
import { type Column, labelsKey, newColumn, withLabel } from "./column.ts";
import { groupingOf } from "./grouping.ts";
import { placeOf } from "./label-hash.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { quantileOf, sortedNanFirst } from "./sums.ts";

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
