/** histogram_quantile, histogram_quantiles and histogram_fraction over classic and native histograms at once. */

import { type Histogram, labelValue, METRIC_NAME, withoutLabels } from "@torus/model";
import { infos, type Notes, warnings } from "../annotations.ts";
import { type Column, dropMetadata, joined, labelsKey, newColumn, withLabel } from "../column.ts";
import { QueryExecutionError } from "../query-errors.ts";
import {
  bucketFraction,
  bucketQuantile,
  type CumulativeBucket,
  parseBound,
} from "./classic-histogram.ts";
import { histogramFraction, histogramQuantile } from "./native-histogram.ts";

const bucketLabel: ReadonlySet<string> = new Set(["le"]);

type ClassicGroup = { first: Column; buckets: { bound: number; column: Column }[] };

/** A reader of one histogram at a step; `metric` is "" where the name is gone. */
type Reader = {
  native(h: Histogram, step: number, metric: string): number;
  classic(buckets: readonly CumulativeBucket[], step: number, metric: string): number;
};

function read(
  columns: readonly Column[],
  count: number,
  delayed: boolean,
  notes: Notes,
  reader: Reader,
): Column[] {
  const groups = new Map<string, ClassicGroup>();
  for (const column of columns) {
    if (!hasFloat(column)) continue;
    const le = labelValue(column.labels, "le");
    const bound = parseBound(le);
    if (bound === undefined) {
      const metric = delayed ? labelValue(column.labels, METRIC_NAME) : "";
      notes.warn(
        `bucket label "le" is missing or has a malformed value of ${JSON.stringify(le)}${metric === "" ? "" : ` for metric name ${JSON.stringify(metric)}`}`,
      );
      continue;
    }
    const key = labelsKey(withoutLabels(column.labels, bucketLabel));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: column, buckets: [{ bound, column }] });
    else group.buckets.push({ bound, column });
  }
  const out: Column[] = [];
  const spoilt = new Map<ClassicGroup, Uint8Array>();
  const bucketsAt = (group: ClassicGroup, step: number): CumulativeBucket[] => {
    const there: CumulativeBucket[] = [];
    for (const { bound, column } of group.buckets) {
      if (column.present[step] === 1 && column.histograms?.[step] === undefined)
        there.push({ bound, count: column.values[step] as number });
    }
    return there;
  };
  for (const column of columns) {
    if (column.histograms === null) continue;
    const metric = labelValue(column.labels, METRIC_NAME);
    const group = groups.get(labelsKey(column.labels));
    const result = newColumn(delayed ? column.labels : dropMetadata(column.labels), count, true);
    for (let i = 0; i < count; i++) {
      const histogram = column.present[i] === 1 ? column.histograms[i] : undefined;
      if (histogram === undefined) continue;
      if (group !== undefined && bucketsAt(group, i).length > 0) {
        notes.warn(warnings.mixedClassicNative(delayed ? metric : ""));
        let marks = spoilt.get(group);
        if (marks === undefined) spoilt.set(group, (marks = new Uint8Array(count)));
        marks[i] = 1;
        continue;
      }
      result.values[i] = reader.native(histogram, i, delayed ? metric : "");
      result.present[i] = 1;
    }
    out.push(result);
  }
  for (const group of groups.values()) {
    const labels = withoutLabels(group.first.labels, bucketLabel);
    const metric = labelValue(labels, METRIC_NAME);
    const result = newColumn(delayed ? labels : dropMetadata(labels), count, true);
    const marks = spoilt.get(group);
    for (let i = 0; i < count; i++) {
      if (marks?.[i] === 1) continue;
      const buckets = bucketsAt(group, i);
      if (buckets.length === 0) continue;
      result.values[i] = reader.classic(buckets, i, delayed ? metric : "");
      result.present[i] = 1;
    }
    out.push(result);
  }
  return joined(out);
}

function hasFloat(column: Column): boolean {
  if (column.histograms === null) return true;
  return column.present.some((bit, i) => bit === 1 && column.histograms?.[i] === undefined);
}

function quantileReader(q: Float64Array, notes: Notes): Reader {
  return {
    native: (h, step, metric) => {
      const { value, note } = histogramQuantile(q[step] as number, h);
      if (note !== null) notes.info(infos.quantileNan(note, metric));
      return value;
    },
    classic: (buckets, step, metric) => {
      const { value, forced } = bucketQuantile(q[step] as number, buckets);
      if (forced) {
        notes.info(
          `input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)${metric === "" ? "" : ` for metric name ${JSON.stringify(metric)}`}`,
        );
      }
      return value;
    },
  };
}

export function quantileOfHistograms(
  columns: readonly Column[],
  q: Float64Array,
  delayed: boolean,
  notes: Notes,
): Column[] {
  return read(columns, q.length, delayed, notes, quantileReader(q, notes));
}

/** One series per quantile, told apart by `label`. @throws {QueryExecutionError} when series have that label. */
export function quantilesOfHistograms(
  columns: readonly Column[],
  label: string,
  quantiles: readonly Float64Array[],
  count: number,
  delayed: boolean,
  notes: Notes,
): Column[] {
  const out: Column[] = [];
  for (const q of quantiles) {
    for (const column of read(columns, count, delayed, notes, quantileReader(q, notes))) {
      if (labelValue(column.labels, label) !== "") {
        throw new QueryExecutionError(
          `conflicting label ${JSON.stringify(label)} in input to histogram_quantiles`,
        );
      }
      const byValue = new Map<string, Column>();
      for (let i = 0; i < count; i++) {
        if (column.present[i] === 0) continue;
        const text = openMetricsFloat(q[i] as number);
        let result = byValue.get(text);
        if (result === undefined) {
          result = newColumn(withLabel(column.labels, label, text), count, column.dropName);
          byValue.set(text, result);
        }
        result.values[i] = column.values[i] as number;
        result.present[i] = 1;
      }
      out.push(...byValue.values());
    }
  }
  return joined(out);
}

/** OpenMetrics writes whole numbers with `.0`. */
function openMetricsFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const text = String(value).replace(/e([+-])(\d)$/, "e$10$2");
  return /[.e]/.test(text) ? text : `${text}.0`;
}

export function fractionOfHistograms(
  columns: readonly Column[],
  from: Float64Array,
  to: Float64Array,
  delayed: boolean,
  notes: Notes,
): Column[] {
  return read(columns, from.length, delayed, notes, {
    native: (h, step, metric) => {
      if (Number.isNaN(h.sum)) notes.info(infos.fractionNan(metric));
      return histogramFraction(from[step] as number, to[step] as number, h);
    },
    classic: (buckets, step) => bucketFraction(from[step] as number, to[step] as number, buckets),
  });
}
