/** StoreAPI's requests and the answers to label calls, between bytes and plain objects. */

import { ByteWriter } from "@torus/encoding";
import type { Matcher } from "@torus/model";
import { readMatcher, writeMatchers } from "./labels.ts";
import {
  boolField,
  bytesField,
  int64Field,
  readFields,
  readInt64,
  stringField,
  stringFields,
} from "./wire.ts";

export const PartialResponse = { WARN: 0, ABORT: 1 } as const;

export type QueryHints = {
  stepMs: number;
  func: string;
  grouping: { by: boolean; labels: string[] } | null;
  rangeMs: number;
  projectionLabels: string[];
  projectionInclude: boolean;
  seriesHashLabelName: string;
};

export type ShardInfo = { shardIndex: number; totalShards: number; by: boolean; labels: string[] };

export type SeriesRequest = {
  minTime: number;
  maxTime: number;
  matchers: Matcher[];
  maxResolutionWindow: number;
  aggregates: number[];
  partialResponseDisabled: boolean;
  partialResponseStrategy: number;
  skipChunks: boolean;
  queryHints: QueryHints | null;
  shardInfo: ShardInfo | null;
  withoutReplicaLabels: string[];
  limit: number;
  responseBatchSize: number;
};

export type LabelsRequest = {
  /** The label whose values are wanted; "" in a request for names. */
  label: string;
  partialResponseDisabled: boolean;
  partialResponseStrategy: number;
  start: number;
  end: number;
  matchers: Matcher[];
  withoutReplicaLabels: string[];
  limit: number;
};

/** A request that asks for nothing yet: fill in what is wanted. */
export function emptySeriesRequest(): SeriesRequest {
  return {
    minTime: 0,
    maxTime: 0,
    matchers: [],
    maxResolutionWindow: 0,
    aggregates: [],
    partialResponseDisabled: false,
    partialResponseStrategy: PartialResponse.WARN,
    skipChunks: false,
    queryHints: null,
    shardInfo: null,
    withoutReplicaLabels: [],
    limit: 0,
    responseBatchSize: 0,
  };
}

/** @throws {MessageMalformedError} @throws {MatcherRegexError} */
export function decodeSeriesRequest(bytes: Uint8Array): SeriesRequest {
  const out = emptySeriesRequest();
  readFields("SeriesRequest", bytes, (number, wire, reader) => {
    if (wire === 0) {
      if (number === 1) out.minTime = readInt64(reader);
      else if (number === 2) out.maxTime = readInt64(reader);
      else if (number === 4) out.maxResolutionWindow = readInt64(reader);
      else if (number === 5) out.aggregates.push(reader.uvarint());
      else if (number === 6) out.partialResponseDisabled = reader.uvarint() !== 0;
      else if (number === 7) out.partialResponseStrategy = reader.uvarint();
      else if (number === 8) out.skipChunks = reader.uvarint() !== 0;
      else if (number === 15) out.limit = readInt64(reader);
      else if (number === 16) out.responseBatchSize = readInt64(reader);
      else return false;
      return true;
    }
    if (wire !== 2) return false;
    if (number === 3) out.matchers.push(readMatcher(reader.lengthPrefixed()));
    else if (number === 5) {
      const packed = reader.lengthPrefixed();
      out.aggregates.push(...packed);
    } else if (number === 12) out.queryHints = decodeHints(reader.lengthPrefixed());
    else if (number === 13) out.shardInfo = decodeShard(reader.lengthPrefixed());
    else if (number === 14) out.withoutReplicaLabels.push(reader.string());
    else return false;
    return true;
  });
  return out;
}

function decodeHints(bytes: Uint8Array): QueryHints {
  const out: QueryHints = {
    stepMs: 0,
    func: "",
    grouping: null,
    rangeMs: 0,
    projectionLabels: [],
    projectionInclude: false,
    seriesHashLabelName: "",
  };
  readFields("QueryHints", bytes, (number, wire, reader) => {
    if (number === 1 && wire === 0) out.stepMs = readInt64(reader);
    else if (number === 7 && wire === 0) out.projectionInclude = reader.uvarint() !== 0;
    else if (wire !== 2) return false;
    else if (number === 2) {
      readFields("Func", reader.lengthPrefixed(), (n, w, inner) => {
        if (n !== 1 || w !== 2) return false;
        out.func = inner.string();
        return true;
      });
    } else if (number === 4) {
      const grouping = { by: false, labels: [] as string[] };
      readFields("Grouping", reader.lengthPrefixed(), (n, w, inner) => {
        if (n === 1 && w === 0) grouping.by = inner.uvarint() !== 0;
        else if (n === 3 && w === 2) grouping.labels.push(inner.string());
        else return false;
        return true;
      });
      out.grouping = grouping;
    } else if (number === 5) {
      readFields("Range", reader.lengthPrefixed(), (n, w, inner) => {
        if (n !== 1 || w !== 0) return false;
        out.rangeMs = readInt64(inner);
        return true;
      });
    } else if (number === 6) out.projectionLabels.push(reader.string());
    else if (number === 8) out.seriesHashLabelName = reader.string();
    else return false;
    return true;
  });
  return out;
}

function decodeShard(bytes: Uint8Array): ShardInfo {
  const out: ShardInfo = { shardIndex: 0, totalShards: 0, by: false, labels: [] };
  readFields("ShardInfo", bytes, (number, wire, reader) => {
    if (number === 1 && wire === 0) out.shardIndex = readInt64(reader);
    else if (number === 2 && wire === 0) out.totalShards = readInt64(reader);
    else if (number === 3 && wire === 0) out.by = reader.uvarint() !== 0;
    else if (number === 4 && wire === 2) out.labels.push(reader.string());
    else return false;
    return true;
  });
  return out;
}

export function encodeSeriesRequest(request: SeriesRequest): Uint8Array {
  const out = new ByteWriter(256);
  int64Field(out, 1, request.minTime);
  int64Field(out, 2, request.maxTime);
  writeMatchers(out, 3, request.matchers);
  int64Field(out, 4, request.maxResolutionWindow);
  if (request.aggregates.length > 0) bytesField(out, 5, Uint8Array.from(request.aggregates));
  boolField(out, 6, request.partialResponseDisabled);
  int64Field(out, 7, request.partialResponseStrategy);
  boolField(out, 8, request.skipChunks);
  if (request.queryHints !== null) bytesField(out, 12, encodeHints(request.queryHints));
  if (request.shardInfo !== null) {
    const shard = new ByteWriter(64);
    int64Field(shard, 1, request.shardInfo.shardIndex);
    int64Field(shard, 2, request.shardInfo.totalShards);
    boolField(shard, 3, request.shardInfo.by);
    stringFields(shard, 4, request.shardInfo.labels);
    bytesField(out, 13, shard.written);
  }
  stringFields(out, 14, request.withoutReplicaLabels);
  int64Field(out, 15, request.limit);
  int64Field(out, 16, request.responseBatchSize);
  return out.copy();
}

function encodeHints(hints: QueryHints): Uint8Array {
  const out = new ByteWriter(64);
  int64Field(out, 1, hints.stepMs);
  if (hints.func !== "") {
    const func = new ByteWriter(32);
    stringField(func, 1, hints.func);
    bytesField(out, 2, func.written);
  }
  if (hints.grouping !== null) {
    const grouping = new ByteWriter(64);
    boolField(grouping, 1, hints.grouping.by);
    stringFields(grouping, 3, hints.grouping.labels);
    bytesField(out, 4, grouping.written);
  }
  if (hints.rangeMs !== 0) {
    const range = new ByteWriter(16);
    int64Field(range, 1, hints.rangeMs);
    bytesField(out, 5, range.written);
  }
  stringFields(out, 6, hints.projectionLabels);
  boolField(out, 7, hints.projectionInclude);
  stringField(out, 8, hints.seriesHashLabelName);
  return out.copy();
}

/** @param kind Names and values differ in one field only, the label, which shifts the numbers of the rest. */
export function decodeLabelsRequest(kind: "names" | "values", bytes: Uint8Array): LabelsRequest {
  const shift = kind === "values" ? 1 : 0;
  const out: LabelsRequest = {
    label: "",
    partialResponseDisabled: false,
    partialResponseStrategy: PartialResponse.WARN,
    start: 0,
    end: 0,
    matchers: [],
    withoutReplicaLabels: [],
    limit: 0,
  };
  readFields(
    kind === "values" ? "LabelValuesRequest" : "LabelNamesRequest",
    bytes,
    (n, wire, reader) => {
      const number = n - shift;
      if (shift === 1 && n === 1 && wire === 2) out.label = reader.string();
      else if (number === 1 && wire === 0) out.partialResponseDisabled = reader.uvarint() !== 0;
      else if (number === 2 && wire === 0) out.partialResponseStrategy = reader.uvarint();
      else if (number === 3 && wire === 0) out.start = readInt64(reader);
      else if (number === 4 && wire === 0) out.end = readInt64(reader);
      else if (number === 6 && wire === 2) out.matchers.push(readMatcher(reader.lengthPrefixed()));
      else if (number === 7 && wire === 2) out.withoutReplicaLabels.push(reader.string());
      else if (number === 8 && wire === 0) out.limit = readInt64(reader);
      else return false;
      return true;
    },
  );
  return out;
}

export function encodeLabelsRequest(kind: "names" | "values", request: LabelsRequest): Uint8Array {
  const shift = kind === "values" ? 1 : 0;
  const out = new ByteWriter(128);
  if (shift === 1) stringField(out, 1, request.label);
  boolField(out, 1 + shift, request.partialResponseDisabled);
  int64Field(out, 2 + shift, request.partialResponseStrategy);
  int64Field(out, 3 + shift, request.start);
  int64Field(out, 4 + shift, request.end);
  writeMatchers(out, 6 + shift, request.matchers);
  stringFields(out, 7 + shift, request.withoutReplicaLabels);
  int64Field(out, 8 + shift, request.limit);
  return out.copy();
}

export type LabelsResponse = { strings: string[]; warnings: string[] };

/** LabelNamesResponse and LabelValuesResponse have the same fields. */
export function decodeLabelsResponse(bytes: Uint8Array): LabelsResponse {
  const out: LabelsResponse = { strings: [], warnings: [] };
  readFields("labels response", bytes, (number, wire, reader) => {
    if (wire !== 2 || number > 2) return false;
    (number === 1 ? out.strings : out.warnings).push(reader.string());
    return true;
  });
  return out;
}

export function encodeLabelsResponse({ strings, warnings }: LabelsResponse): Uint8Array {
  const out = new ByteWriter(1024);
  stringFields(out, 1, strings);
  stringFields(out, 2, warnings);
  return out.copy();
}
