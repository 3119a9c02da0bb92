/** histogram_quantile over classic buckets: series that differ in `le`. */

import { labelValue, METRIC_NAME, withoutLabels } from "@torus/model";
import { refuseHistograms } from "../binary.ts";
import { type Column, dropMetadata, labelsKey, newColumn } from "../column.ts";

type Bucket = { bound: number; count: number };

/** Counts that differ by less than this, relatively, are equal: scrapes of a bucket set are not atomic. */
const TOLERANCE = 1e-12;

function bucketQuantile(q: number, given: Bucket[]): { value: number; forced: boolean } {
  const none = { value: Number.NaN, forced: false };
  if (Number.isNaN(q)) return none;
  if (q < 0) return { value: -Infinity, forced: false };
  if (q > 1) return { value: Infinity, forced: false };
  given.sort((a, b) => a.bound - b.bound);
  if (given.at(-1)?.bound !== Infinity) return none;
  const buckets: Bucket[] = [];
  for (const bucket of given) {
    const last = buckets.at(-1);
    if (last !== undefined && last.bound === bucket.bound) last.count += bucket.count;
    else buckets.push({ ...bucket });
  }
  let forced = false;
  let previous = (buckets[0] as Bucket).count;
  for (const bucket of buckets) {
    if (bucket.count === previous) continue;
    const near =
      Math.abs(bucket.count - previous) / (Math.abs(bucket.count) + Math.abs(previous)) < TOLERANCE;
    if (near) bucket.count = previous;
    else if (bucket.count < previous) {
      bucket.count = previous;
      forced = true;
    } else previous = bucket.count;
  }
  if (buckets.length < 2) return { value: Number.NaN, forced };
  const observations = (buckets.at(-1) as Bucket).count;
  if (observations === 0 || Number.isNaN(observations)) return { value: Number.NaN, forced };
  let rank = q * observations;
  let b = buckets.slice(0, -1).findIndex((bucket) => bucket.count >= rank);
  if (b < 0) b = buckets.length - 1;
  if (b === buckets.length - 1) return { value: (buckets.at(-2) as Bucket).bound, forced };
  const bucket = buckets[b] as Bucket;
  if (b === 0 && bucket.bound <= 0) return { value: bucket.bound, forced };
  let start = 0;
  let count = bucket.count;
  if (b > 0) {
    const before = buckets[b - 1] as Bucket;
    start = before.bound;
    count -= before.count;
    rank -= before.count;
  }
  return { value: start + (bucket.bound - start) * (rank / count), forced };
}

function parseBound(text: string): number | undefined {
  if (/^[+]?inf$/i.test(text)) return Infinity;
  if (/^-inf$/i.test(text)) return -Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

const notIdentity: ReadonlySet<string> = new Set([METRIC_NAME, "le"]);

/** `onBadLe` and `onForced` are told of a missing `le` and of buckets made monotonic, with the metric's name. */
export function classicQuantile(
  columns: readonly Column[],
  q: Float64Array,
  delayed: boolean,
  onBadLe: (metric: string, le: string) => void,
  onForced: (metric: string) => void,
): Column[] {
  const groups = new Map<string, { first: Column; buckets: { bound: number; column: Column }[] }>();
  for (const column of columns) {
    refuseHistograms(column, `function "histogram_quantile"`);
    const le = labelValue(column.labels, "le");
    const bound = parseBound(le);
    if (bound === undefined) {
      onBadLe(labelValue(column.labels, METRIC_NAME), le);
      continue;
    }
    const key = labelsKey(withoutLabels(column.labels, delayed ? new Set(["le"]) : notIdentity));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { first: column, buckets: [{ bound, column }] });
    else group.buckets.push({ bound, column });
  }
  return [...groups.values()].map(({ first, buckets }) => {
    const labels = withoutLabels(first.labels, new Set(["le"]));
    const out = newColumn(delayed ? labels : dropMetadata(labels), q.length, true);
    for (let i = 0; i < q.length; i++) {
      const there: Bucket[] = [];
      for (const { bound, column } of buckets) {
        if (column.present[i] === 1) there.push({ bound, count: column.values[i] as number });
      }
      if (there.length === 0) continue;
      const { value, forced } = bucketQuantile(q[i] as number, there);
      if (forced) onForced(labelValue(first.labels, METRIC_NAME));
      out.values[i] = value;
      out.present[i] = 1;
    }
    return out;
  });
}
