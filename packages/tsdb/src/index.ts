export { BlockReader } from "./block/block-reader.ts";
export {
  type ChunkColumns,
  chunkSampleCount,
  decodeChunk,
  decodeSamples,
  withoutStartTimes,
} from "./chunkenc/chunk-samples.ts";
export { encodeSamples } from "./chunkenc/encode-samples.ts";
export { HistogramAppender, histogramEncoding } from "./chunkenc/histogram-appender.ts";
export { seriesNotation } from "./chunkenc/notation.ts";
export { fromModelHistogram, toModelHistogram } from "./chunkenc/stored-histogram.ts";
export { ChunkMalformedError } from "./chunkenc/xor-window.ts";
export { compactBlocks, overlappingBlocks } from "./compact/compact.ts";
export {
  blockDirectories,
  DataDirectory,
  hasStartTimes,
  isBlockDirectory,
  NoDataDirectoryError,
  selectAny,
} from "./data-dir/data-directory.ts";
export { DirectoryColumns } from "./data-dir/directory-columns.ts";
export type { TsdbOptions } from "./db.ts";
export { Tsdb, TsdbClosedError } from "./db.ts";
export { DirectoryLockedError } from "./db-lock.ts";
export type { LogLine } from "./db-replay.ts";
export type { AppendCounts } from "./head/append.ts";
export { type ExemplarCounts, refusedExemplars } from "./head/append-exemplars.ts";
export {
  LEAST_ROW_BYTES,
  type NumberedCounts,
  NumberedRowsMalformedError,
  type NumberedSeries,
} from "./head/numbered-series.ts";
export { LogWriteError } from "./head/record-log.ts";
export { HeadMemoryError } from "./head/state.ts";
export type { Counted, HeadStatistics } from "./head/statistics.ts";
export {
  familyOf,
  type MetricMetadata,
  MetricMetadataSet,
  metricType,
  metricTypeNumber,
  type NamedMetadata,
} from "./metric-metadata.ts";
export { StoredBlocks } from "./stored-blocks.ts";
export { analyzeBlock, type BlockAnalysis, type Ranked } from "./tools/analyze.ts";
export { BlockBuilder, ConflictingSampleError } from "./tools/create-blocks.ts";
export { formatOpenMetrics, OpenMetricsError, OpenMetricsReader } from "./tools/openmetrics.ts";
export { type Finding, Verifier } from "./tools/verify.ts";
