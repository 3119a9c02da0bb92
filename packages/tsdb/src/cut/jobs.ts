/** What runs beside ingestion, in the storage worker: work on files that would hold up requests. All of it is synchronous. */

import type { TsdbBlockMeta } from "../block/meta.ts";
import { deleteBlock } from "../block/write-block.ts";
import { compactBlockDirectories } from "../compact/compact.ts";
import { type CheckpointInput, replaceByCheckpoint } from "../db-checkpoint.ts";
import { deleteSnapshots } from "../db-snapshot.ts";
import { type LogPart, writeLogPart } from "../wlog/log-part.ts";
import { type CutInput, cutBlock } from "./cut-block.ts";

export type Jobs = {
  cut: { input: CutInput; result: TsdbBlockMeta | null };
  compact: {
    input: { dir: string; blocks: readonly string[]; now: number };
    result: TsdbBlockMeta | null;
  };
  checkpoint: { input: CheckpointInput; result: void };
  logPart: { input: LogPart; result: void };
  // A file of a hundred megabytes takes tens of milliseconds to delete.
  deleteBlock: { input: { dir: string }; result: void };
  deleteSnapshots: { input: { dir: string; keep: string | null }; result: void };
};

export type JobKind = keyof Jobs;

export const JOBS: {
  readonly [K in JobKind]: (
    input: Jobs[K]["input"],
  ) => Jobs[K]["result"] | Promise<Jobs[K]["result"]>;
} = {
  cut: cutBlock,
  compact: ({ dir, blocks, now }) => compactBlockDirectories(dir, blocks, now),
  checkpoint: replaceByCheckpoint,
  logPart: writeLogPart,
  deleteBlock: ({ dir }) => deleteBlock(dir),
  deleteSnapshots: ({ dir, keep }) => deleteSnapshots(dir, keep),
};
