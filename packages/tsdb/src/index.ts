export type { TsdbOptions } from "./db.ts";
export { Tsdb, TsdbClosedError } from "./db.ts";
export { DirectoryLockedError } from "./db-lock.ts";
export type { LogLine } from "./db-replay.ts";
export type { AppendCounts } from "./head/append.ts";
export { LogWriteError } from "./head/append.ts";
export { HeadMemoryError } from "./head/state.ts";
