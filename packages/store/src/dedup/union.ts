/**
 * The union of replicas by timestamp, one sample each: right for copies of the same samples, as a hashring's replicas
 * are; Thanos calls it `chain`. At equal timestamps the earlier list's sample is taken.
 */

import { ColumnBuilder, type Columns, NO_COLUMNS, wordsOfColumn } from "./columns.ts";

export function unionColumns(replicas: readonly Columns[]): Columns {
  const [first, ...others] = replicas;
  if (first === undefined) return NO_COLUMNS;
  return others.reduce(mergeTwo, first);
}

function mergeTwo(a: Columns, b: Columns): Columns {
  if (b.timestamps.length === 0) return a;
  if (a.timestamps.length === 0) return b;
  const aWords = wordsOfColumn(a.values);
  const bWords = wordsOfColumn(b.values);
  const out = new ColumnBuilder(Math.max(a.timestamps.length, b.timestamps.length) + 16);
  let i = 0;
  let j = 0;
  while (i < a.timestamps.length || j < b.timestamps.length) {
    const x = i < a.timestamps.length ? (a.timestamps[i] as number) : Number.POSITIVE_INFINITY;
    const y = j < b.timestamps.length ? (b.timestamps[j] as number) : Number.POSITIVE_INFINITY;
    if (x <= y) {
      let start = a.startTimestamps?.[i] ?? 0;
      // Of copies one may have been stored where start timestamps are not kept.
      if (x === y && start === 0) start = b.startTimestamps?.[j] ?? 0;
      out.push(x, aWords, i, a.histograms?.[i], start);
      i++;
      if (x === y) j++;
    } else {
      out.push(y, bWords, j, b.histograms?.[j], b.startTimestamps?.[j]);
      j++;
    }
  }
  return out.take();
}
