export { crc32c, xxh64 } from "./checksums.ts";
export { Kernel, KernelMemoryError, kernel, SLACK_BYTES } from "./load.ts";
export { SAMPLE_TEXTS, sampleTexts } from "./number-text.ts";
export { ChunkFields, type SeriesAt } from "./series-chunks.ts";
export {
  entryHash,
  type FoundSeries,
  NO_NUMBER,
  type NumberedRows,
  RegisteredSeries,
  SeriesRefs,
  shrinkSeriesRefAreas,
} from "./series-refs.ts";
export { copyShared } from "./shared-copy.ts";
export {
  BodyTooLargeError,
  SnappyCorruptError,
  snappyDecode,
  snappyEncode,
} from "./snappy.ts";
export { timeText, valueText } from "./twins/number-text.ts";
export { SERIES_WORDS, SeriesFlag, SeriesWord, VERDICTS, Verdict } from "./write-request.ts";
export {
  DETAIL_BYTES,
  setWriteBufferLimit,
  TooManySeriesError,
  WriteBuffersExhaustedError,
  WriteRequestBuffer,
  WriteRequestMalformedError,
  writeBufferBytesInUse,
} from "./write-request-buffer.ts";
export type { TenantPart, WriteRequestOutline } from "./write-request-outline.ts";
export { outline, outlineBytes } from "./write-request-outline.ts";
export { XorChunkTruncatedError, xorDecodeChunk } from "./xor.ts";
export { KernelBytes, XorColumns } from "./xor-columns.ts";
export { type StartedColumns, xor2DecodeChunk, xor2ToXor, xorToXor2 } from "./xor2.ts";
