/**
 * thanos.Exemplars (Thanos, pkg/exemplars/exemplarspb): one message of the answer is the exemplars of one series.
 *
 *     ExemplarsRequest  { query 1, start 2, end 3, partial response strategy 4 }
 *     ExemplarsResponse { ExemplarData 1 { LabelSet 1 { Label 1 }, Exemplar 2 }  warning 2 }
 *     Exemplar          { LabelSet 1 { Label 1 }, double value 2, int64 time 3 }
 */

import { type ByteReader, ByteWriter } from "@torus/encoding";
import type { Labels } from "@torus/model";
import { readLabel, writeLabels } from "./labels.ts";
import { bytesField, int64Field, readFields, readInt64, stringField, WireType } from "./wire.ts";

export const EXEMPLARS = "/thanos.Exemplars/Exemplars";

export type ExemplarsRequest = {
  /** A PromQL expression, whose selectors count. */
  query: string;
  /** ms, both inclusive. */
  start: number;
  end: number;
  partialResponseStrategy: number;
};

/** `time` in ms. */
export type WireExemplar = { labels: Labels; value: number; time: number };
export type WireExemplars = { labels: Labels; exemplars: readonly WireExemplar[] };

export function encodeExemplarsRequest(request: ExemplarsRequest): Uint8Array {
  const out = new ByteWriter(64);
  stringField(out, 1, request.query);
  int64Field(out, 2, request.start);
  int64Field(out, 3, request.end);
  int64Field(out, 4, request.partialResponseStrategy);
  return out.copy();
}

/** @throws {MessageMalformedError} */
export function decodeExemplarsRequest(message: Uint8Array): ExemplarsRequest {
  const request = { query: "", start: 0, end: 0, partialResponseStrategy: 0 };
  readFields("ExemplarsRequest", message, (number, wire, reader) => {
    if (number === 1 && wire === WireType.BYTES) request.query = reader.string();
    else if (number === 2 && wire === WireType.VARINT) request.start = readInt64(reader);
    else if (number === 3 && wire === WireType.VARINT) request.end = readInt64(reader);
    else if (number === 4 && wire === WireType.VARINT) {
      request.partialResponseStrategy = reader.uvarint();
    } else return false;
    return true;
  });
  return request;
}

export function encodeExemplars({ labels, exemplars }: WireExemplars): Uint8Array {
  const data = new ByteWriter(256);
  bytesField(data, 1, labelFields(labels));
  for (const exemplar of exemplars) {
    const one = new ByteWriter(64);
    bytesField(one, 1, labelFields(exemplar.labels));
    if (!Object.is(exemplar.value, 0)) {
      one.u8(0x11);
      one.bytes(littleEndian(exemplar.value));
    }
    int64Field(one, 3, exemplar.time);
    bytesField(data, 2, one.written);
  }
  const out = new ByteWriter(data.length + 8);
  bytesField(out, 1, data.written);
  return out.copy();
}

function labelFields(labels: Labels): Uint8Array {
  const out = new ByteWriter(128);
  writeLabels(out, 1, labels);
  return out.copy();
}

function littleEndian(value: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setFloat64(0, value, true);
  return out;
}

/** @throws {MessageMalformedError} */
export function decodeExemplars(message: Uint8Array): {
  series: WireExemplars[];
  warnings: string[];
} {
  const out = { series: [] as WireExemplars[], warnings: [] as string[] };
  readFields("ExemplarsResponse", message, (number, wire, reader) => {
    if (wire !== WireType.BYTES || number > 2) return false;
    if (number === 2) out.warnings.push(reader.string());
    else out.series.push(readData(reader.lengthPrefixed()));
    return true;
  });
  return out;
}

function readData(bytes: Uint8Array): WireExemplars {
  let labels: Labels = [];
  const exemplars: WireExemplar[] = [];
  readFields("ExemplarData", bytes, (number, wire, reader) => {
    if (wire !== WireType.BYTES || number > 2) return false;
    if (number === 1) labels = readLabelSet(reader);
    else exemplars.push(readExemplar(reader.lengthPrefixed()));
    return true;
  });
  return { labels, exemplars };
}

function readExemplar(bytes: Uint8Array): WireExemplar {
  const exemplar = { labels: [] as Labels, value: 0, time: 0 };
  readFields("Exemplar", bytes, (number, wire, reader) => {
    if (number === 1 && wire === WireType.BYTES) exemplar.labels = readLabelSet(reader);
    else if (number === 2 && wire === WireType.FIXED64) {
      const at = reader.offset;
      reader.skip(8);
      exemplar.value = new DataView(bytes.buffer, bytes.byteOffset + at, 8).getFloat64(0, true);
    } else if (number === 3 && wire === WireType.VARINT) exemplar.time = readInt64(reader);
    else return false;
    return true;
  });
  return exemplar;
}

function readLabelSet(reader: ByteReader): Labels {
  const labels: string[] = [];
  readFields("LabelSet", reader.lengthPrefixed(), (number, wire, inner) => {
    if (number !== 1 || wire !== WireType.BYTES) return false;
    readLabel(inner.lengthPrefixed(), labels);
    return true;
  });
  return labels;
}
