/** Samples as chunks and records keep them: every field its 64 bits, so that nothing is rounded on the way. */

import type { CounterResetHint } from "@torus/model";
import type { StoredHistogram } from "./stored-histogram.ts";

/** The bits of the staleness marker. */
export const STALE_BITS = 0x7ff0000000000002n;

/** Columns of equal length: either `values` or `histograms` has a sample's value. */
export type StoredSamples = {
  /** Milliseconds. */
  times: BigInt64Array;
  /** Start timestamps in ms, 0 where unknown; null for encodings that have none. */
  startTimes: BigInt64Array | null;
  /** Bits of the doubles; of a histogram sample those of its sum. */
  values: BigUint64Array;
  histograms: StoredHistogram[] | null;
};

/** The counter reset header in the top two bits of a histogram chunk's third byte, and what it says. */
export const CounterResetHeader = {
  UNKNOWN: 0b00,
  NOT_RESET: 0b01,
  RESET: 0b10,
  GAUGE: 0b11,
} as const;
export type CounterResetHeader = (typeof CounterResetHeader)[keyof typeof CounterResetHeader];

/** The hint of sample `index` of a chunk with this header. */
export function hintOf(header: number, index: number, stale: boolean): CounterResetHint {
  if (stale) return "unknown";
  if (header === CounterResetHeader.GAUGE) return "gauge";
  return index === 0 ? "unknown" : "not_reset";
}

const scratch = new DataView(new ArrayBuffer(8));

export function bitsOf(value: number): bigint {
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
}

/** A NaN comes as some NaN: only what is shown or computed with may pass through here. */
export function doubleOf(bits: bigint): number {
  scratch.setBigUint64(0, bits);
  return scratch.getFloat64(0);
}
