export {
  BlockDamagedError,
  downloadBlock,
  readBlockMeta,
  verifyBlockFiles,
} from "./download.ts";
export type { BlockState, FetchedBlocks, FetchRules } from "./fetcher.ts";
export { BLOCK_STATES, BlockFetcher, withoutDuplicates } from "./fetcher.ts";
export { goJson } from "./go-json.ts";
export type { Mark, MarkKind } from "./marks.ts";
export { formatMark, MARK_FILES, MarkError, parseMark, readMark, writeMark } from "./marks.ts";
export type {
  BlockCompaction,
  BlockFile,
  BlockMeta,
  BlockSource,
  BlockStats,
  ThanosMeta,
} from "./meta.ts";
export {
  BlockMetaError,
  CHUNKS_DIR,
  externalLabels,
  formatUploadedMeta,
  formatUploadTime,
  INDEX_FILE,
  META_FILE,
  parseBlockMeta,
  uploadTimeMs,
} from "./meta.ts";
export { deleteBlock } from "./remove.ts";
export type { UploadTarget } from "./upload.ts";
export { BlockGoneError, UPLOAD_STAGING, uploadBlock } from "./upload.ts";
