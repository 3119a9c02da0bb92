/**
 * Writes remote write 1.0's WriteRequest from columns: what senders of ours (demo, tests, benchmarks) need.
 * Receivers never build one, they forward byte ranges.
 *
 *     WriteRequest { TimeSeries timeseries = 1 }
 *     TimeSeries   { Label labels = 1, Sample samples = 2 }
 *     Sample       { double value = 1, int64 timestamp = 2 }
 */

import { ByteWriter } from "@torus/encoding";
import type { Labels } from "@torus/model";
import { writeLabels } from "./labels.ts";
import { bytesField, writeInt64 } from "./wire.ts";

export type WriteSeries = {
  labels: Labels;
  /** Milliseconds. */
  timestamps: Float64Array;
  values: Float64Array;
};

/** A prometheus.WriteRequest, not compressed. NaN payloads are kept. */
export function encodeWriteRequest(series: readonly WriteSeries[]): Uint8Array {
  const out = new ByteWriter(series.length * 256 + 64);
  const body = new ByteWriter(512);
  for (const { labels, timestamps, values } of series) {
    body.reset();
    writeLabels(body, 1, labels);
    for (let i = 0; i < timestamps.length; i++) writeSample(body, timestamps, values, i);
    bytesField(out, 1, body.written);
  }
  return out.copy();
}

const sample = new ByteWriter(32);
const value = new DataView(new ArrayBuffer(8));

function writeSample(
  out: ByteWriter,
  timestamps: Float64Array,
  values: Float64Array,
  i: number,
): void {
  sample.reset();
  const words = new Uint32Array(values.buffer, values.byteOffset + i * 8, 2);
  value.setUint32(0, words[0] as number, true);
  value.setUint32(4, words[1] as number, true);
  // Protobuf's doubles are little-endian; only +0 is left out.
  if (words[0] !== 0 || words[1] !== 0) {
    sample.u8(0x09);
    sample.bytes(new Uint8Array(value.buffer));
  }
  const time = timestamps[i] as number;
  if (time !== 0) {
    sample.u8(0x10);
    writeInt64(sample, time);
  }
  bytesField(out, 2, sample.written);
}
