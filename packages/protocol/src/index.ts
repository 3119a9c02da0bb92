export {
  decodeExemplars,
  decodeExemplarsRequest,
  EXEMPLARS,
  type ExemplarsRequest,
  encodeExemplars,
  encodeExemplarsRequest,
  type WireExemplar,
  type WireExemplars,
} from "./exemplars.ts";
export { LabelTable } from "./label-table.ts";
export { readLabel, readMatcher, writeLabels, writeMatchers } from "./labels.ts";
export {
  decodeMetadataRequest,
  decodeMetadataResponse,
  encodeMetadataRequest,
  encodeMetadataResponse,
  METRIC_METADATA,
  type MetricMetadata,
} from "./metadata.ts";
export {
  cumulativeCounts,
  type FamilyMetric,
  MetricFamilyWriter,
  type MetricType,
} from "./metric-family.ts";
export { decodeOtlpJson } from "./otlp/json.ts";
export { OtlpMalformedError } from "./otlp/metrics.ts";
export { decodeOtlpProtobuf } from "./otlp/protobuf.ts";
export { encodeOtlpResponse, encodeOtlpStatus, type OtlpEncoding } from "./otlp/response.ts";
export {
  type OtlpSettings,
  OtlpTooLargeError,
  otlpToWriteRequest,
} from "./otlp/to-write-request.ts";
export type { EndpointInfo, TsdbInfo } from "./proto.ts";
export { decodeInfo, encodeInfo, PROTO_FILES, protoDir } from "./proto.ts";
export type {
  LabelsRequest,
  LabelsResponse,
  QueryHints,
  SeriesRequest,
  ShardInfo,
} from "./store-requests.ts";
export {
  decodeLabelsRequest,
  decodeLabelsResponse,
  decodeSeriesRequest,
  emptySeriesRequest,
  encodeLabelsRequest,
  encodeLabelsResponse,
  encodeSeriesRequest,
  PartialResponse,
} from "./store-requests.ts";
export type {
  Aggregate,
  OutgoingChunk,
  SeriesFrame,
  WireChunk,
  WireSeries,
} from "./store-series.ts";
export {
  AGGREGATES,
  chunkHash,
  claimedSamples,
  decodeChunkFields,
  decodeSeriesFrame,
  decodeSeriesResponse,
  NoWireEncodingError,
  SeriesMessage,
  sortedChunkFields,
  warningFrame,
} from "./store-series.ts";
export {
  boolField,
  bytesField,
  int64Field,
  MessageMalformedError,
  readFields,
  readInt64,
  stringField,
  WireType,
  writeInt64,
} from "./wire.ts";
export type { WriteSeries } from "./write-request-encode.ts";
export { encodeWriteRequest } from "./write-request-encode.ts";
export { writeRequestTail } from "./write-request-tail.ts";
