/**
 * thanos.Metadata (Thanos, pkg/metadata/metadatapb): what metrics are, in words.
 *
 *     MetricMetadataRequest  { metric 1, limit 2, partial response strategy 3 }
 *     MetricMetadataResponse { MetricMetadata 1 { map 1 of metric to { Meta 2 { type 1, help 2, unit 3 } } }  warning 2 }
 */

import { ByteWriter } from "@torus/encoding";
import { bytesField, int64Field, readFields, readInt64, stringField, WireType } from "./wire.ts";

export const METRIC_METADATA = "/thanos.Metadata/MetricMetadata";

/** `type` is a word of Prometheus' API, as `counter`. */
export type MetricMetadata = { type: string; help: string; unit: string };

/** @param limit Metrics; 0 or less for no limit. */
export function encodeMetadataRequest(metric: string, limit: number): Uint8Array {
  const out = new ByteWriter(32);
  stringField(out, 1, metric);
  if (limit > 0) int64Field(out, 2, limit);
  return out.copy();
}

/** @throws {MessageMalformedError} */
export function decodeMetadataRequest(message: Uint8Array): { metric: string; limit: number } {
  const request = { metric: "", limit: 0 };
  readFields("MetricMetadataRequest", message, (number, wire, reader) => {
    if (number === 1 && wire === WireType.BYTES) request.metric = reader.string();
    else if (number === 2 && wire === WireType.VARINT) request.limit = readInt64(reader);
    else return false;
    return true;
  });
  return request;
}

export function encodeMetadataResponse(
  metadata: ReadonlyMap<string, readonly MetricMetadata[]>,
): Uint8Array {
  const all = new ByteWriter(4096);
  for (const [metric, entries] of metadata) {
    const list = new ByteWriter(256);
    for (const { type, help, unit } of entries) {
      const meta = new ByteWriter(128);
      stringField(meta, 1, type);
      stringField(meta, 2, help);
      stringField(meta, 3, unit);
      bytesField(list, 2, meta.written);
    }
    const entry = new ByteWriter(256);
    stringField(entry, 1, metric);
    bytesField(entry, 2, list.written);
    bytesField(all, 1, entry.written);
  }
  const out = new ByteWriter(4096);
  bytesField(out, 1, all.written);
  return out.copy();
}

export type MetadataResponse = {
  metadata: [metric: string, entries: MetricMetadata[]][];
  warnings: string[];
};

/** @throws {MessageMalformedError} */
export function decodeMetadataResponse(message: Uint8Array): MetadataResponse {
  const response: MetadataResponse = { metadata: [], warnings: [] };
  readFields("MetricMetadataResponse", message, (number, wire, reader) => {
    if (wire !== WireType.BYTES || number > 2) return false;
    if (number === 2) response.warnings.push(reader.string());
    else {
      readFields("MetricMetadata", reader.lengthPrefixed(), (field, kind, inner) => {
        if (field !== 1 || kind !== WireType.BYTES) return false;
        response.metadata.push(readEntry(inner.lengthPrefixed()));
        return true;
      });
    }
    return true;
  });
  return response;
}

function readEntry(bytes: Uint8Array): [metric: string, entries: MetricMetadata[]] {
  let metric = "";
  const entries: MetricMetadata[] = [];
  readFields("MetadataEntry", bytes, (number, wire, reader) => {
    if (wire !== WireType.BYTES || number > 2) return false;
    if (number === 1) metric = reader.string();
    else {
      readFields("MetricMetadataEntry", reader.lengthPrefixed(), (field, kind, inner) => {
        if (field !== 2 || kind !== WireType.BYTES) return false;
        entries.push(readMeta(inner.lengthPrefixed()));
        return true;
      });
    }
    return true;
  });
  return [metric, entries];
}

function readMeta(bytes: Uint8Array): MetricMetadata {
  const meta = { type: "", help: "", unit: "" };
  readFields("Meta", bytes, (number, wire, reader) => {
    if (wire !== WireType.BYTES || number > 3) return false;
    const text = reader.string();
    if (number === 1) meta.type = text;
    else if (number === 2) meta.help = text;
    else meta.unit = text;
    return true;
  });
  return meta;
}
