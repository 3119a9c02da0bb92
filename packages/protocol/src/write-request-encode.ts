/**
 * Writes remote write 1.0's WriteRequest from columns: what senders of ours (demo, tests) need. Receivers never
 * build one, they forward byte ranges.
 *
 *     WriteRequest { TimeSeries timeseries = 1 }
 *     TimeSeries   { Label labels = 1, Sample samples = 2 }    Label { name = 1, value = 2 }
 *     Sample       { double value = 1, int64 timestamp = 2 }
 */

import type { Labels } from "@torus/model";

export type WriteSeries = {
  labels: Labels;
  /** Whole milliseconds since the epoch. */
  timestamps: Float64Array;
  /** As long as `timestamps`. Bit patterns are kept. */
  values: Float64Array;
};

/** The uncompressed body. */
export function encodeWriteRequest(series: readonly WriteSeries[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const each of series) {
    const body = encodeSeries(each);
    parts.push(Uint8Array.of(0x0a), uvarint(body.length), body);
  }
  return Buffer.concat(parts);
}

function encodeSeries({ labels, timestamps, values }: WriteSeries): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const label = Buffer.concat([stringField(0x0a, labels[i]), stringField(0x12, labels[i + 1])]);
    parts.push(Uint8Array.of(0x0a), uvarint(label.length), label);
  }
  // The column's own bytes: a number on the way would lose a NaN's payload.
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  for (let i = 0; i < timestamps.length; i++) {
    const at = timestamps[i] ?? 0;
    const timestamp = at < 0 ? uvarintBig(BigInt(at)) : uvarint(at);
    parts.push(Uint8Array.of(0x12, 10 + timestamp.length, 0x09));
    parts.push(bytes.subarray(i * 8, i * 8 + 8), Uint8Array.of(0x10), timestamp);
  }
  return Buffer.concat(parts);
}

function stringField(tag: number, text = ""): Uint8Array {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([Uint8Array.of(tag), uvarint(bytes.length), bytes]);
}

function uvarint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  return Uint8Array.from([...bytes, rest]);
}

/** protobuf's int64 writes a negative number as its 64-bit complement. */
function uvarintBig(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return Uint8Array.from([...bytes, Number(rest)]);
}
