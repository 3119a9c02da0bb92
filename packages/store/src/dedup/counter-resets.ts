/**
 * Thanos' counter-reset pass: raw counter values become a running total that never falls (Thanos, pkg/dedup).
 * NaN and stale samples are left out. A sample at the last timestamp sets the value that the next step starts from.
 */

import { ChunkEncoding } from "@torus/model";
import { claimedSamples, type WireChunk } from "@torus/protocol";
import { decodeChunk } from "@torus/tsdb";
import { ColumnBuilder, type Columns, wordsOfColumn } from "./columns.ts";

/** @param chunks One replica's, ascending. */
export function counterTotals(chunks: readonly WireChunk[]): Columns {
  const out = new ColumnBuilder(chunks.reduce((sum, chunk) => sum + claimedSamples(chunk), 0));
  let last = 0;
  let lastTime = Number.NEGATIVE_INFINITY;
  let total = 0;
  for (const { encoding, data } of chunks) {
    if (encoding !== ChunkEncoding.XOR && encoding !== ChunkEncoding.XOR2) {
      lastTime = passHistograms(out, { encoding, data }, lastTime);
      continue;
    }
    const { timestamps, values } = decodeChunk({ encoding, data }, -Infinity, Infinity);
    for (let i = 0; i < timestamps.length; i++) {
      const value = values[i] as number;
      const time = timestamps[i] as number;
      if (Number.isNaN(value)) continue;
      if (lastTime === Number.NEGATIVE_INFINITY) {
        total = value;
      } else if (time > lastTime) {
        total += value >= last ? value - last : value;
      } else {
        if (time === lastTime) last = value;
        continue;
      }
      last = value;
      lastTime = time;
      out.pushNumber(time, total);
    }
  }
  return out.take();
}

/** The same for columns in ascending order, copies of which are already one. Histograms go through as they are. */
export function columnTotals({ timestamps, values, histograms }: Columns): Columns {
  const out = new ColumnBuilder(timestamps.length);
  const words = wordsOfColumn(values);
  let last: number | undefined;
  let total = 0;
  for (const [i, time] of timestamps.entries()) {
    const histogram = histograms?.[i];
    if (histogram !== undefined && histogram !== null) {
      out.push(time, words, i, histogram);
      continue;
    }
    const value = values[i] as number;
    if (Number.isNaN(value)) continue;
    if (last === undefined) total = value;
    else total += value >= last ? value - last : value;
    last = value;
    out.pushNumber(time, total);
  }
  return out.take();
}

/** Histograms go through as they are, those after `lastTime`. @returns The time of the last sample. */
function passHistograms(
  out: ColumnBuilder,
  chunk: Pick<WireChunk, "encoding" | "data">,
  lastTime: number,
): number {
  const { timestamps, values, histograms } = decodeChunk(
    chunk,
    Number.NEGATIVE_INFINITY,
    Number.POSITIVE_INFINITY,
  );
  const words = wordsOfColumn(values);
  let last = lastTime;
  for (const [i, time] of timestamps.entries()) {
    if (time <= last) continue;
    out.push(time, words, i, histograms?.[i]);
    last = time;
  }
  return last;
}
