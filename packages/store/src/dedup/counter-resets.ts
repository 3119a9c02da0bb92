/**
 * Thanos' counter-reset pass: raw counter values become a running total that never falls (facts: dedup, pipeline 4).
 * NaN and stale samples are left out. A sample at the last timestamp sets the value that the next step starts from.
 */

import { xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import { claimedSamples, type WireChunk } from "@torus/protocol";
import { ColumnBuilder, type Columns, HistogramChunkError } from "./columns.ts";

/** @param chunks One replica's, ascending. */
export function counterTotals(chunks: readonly WireChunk[]): Columns {
  const out = new ColumnBuilder(chunks.reduce((sum, { data }) => sum + claimedSamples(data), 0));
  let last = 0;
  let lastTime = Number.NEGATIVE_INFINITY;
  let total = 0;
  for (const { encoding, data } of chunks) {
    if (encoding !== ChunkEncoding.XOR) throw new HistogramChunkError(encoding);
    const count = claimedSamples(data);
    const timestamps = new Float64Array(count);
    const values = new Float64Array(count);
    xorDecodeChunk(data, timestamps, values);
    for (let i = 0; i < count; i++) {
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
