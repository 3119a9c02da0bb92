export {
  type ChunkColumns,
  chunkSampleCount,
  decodeChunk,
  decodeSamples,
  withoutStartTimes,
} from "./chunkenc/chunk-samples.ts";
export { HistogramAppender, histogramEncoding } from "./chunkenc/histogram-appender.ts";
export { fromModelHistogram, toModelHistogram } from "./chunkenc/stored-histogram.ts";
export { ChunkMalformedError } from "./chunkenc/xor-window.ts";
export type { TsdbOptions } from "./db.ts";
export { Tsdb, TsdbClosedError } from "./db.ts";
export { DirectoryLockedError } from "./db-lock.ts";
export type { LogLine } from "./db-replay.ts";
export type { AppendCounts } from "./head/append.ts";
export { LogWriteError } from "./head/append.ts";
export { HeadMemoryError } from "./head/state.ts";
