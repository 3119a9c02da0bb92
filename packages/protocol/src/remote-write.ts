/** Building remote write requests from series byte ranges or from labels and samples. */

import { ByteWriter } from "@torus/encoding";
import type { Labels } from "@torus/model";
import { writeLabels } from "./labels.ts";
import { bytesField, int64Field, stringField, writeInt64 } from "./wire.ts";

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

/**
 * The fields of a thanos.WriteRequest that follow the TimeSeries fields (1), which are copied as they came:
 * tenant (2) and replica (3). Every receiver there is understands this form.
 */
export function writeRequestTail(tenant: string, replica: number): Uint8Array {
  const out = new ByteWriter(64);
  stringField(out, 2, tenant);
  int64Field(out, 3, replica);
  return out.copy();
}
