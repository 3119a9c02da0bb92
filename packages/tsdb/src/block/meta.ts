/** Prometheus' part of a block's meta.json (Prometheus, tsdb/docs/format/README.md): names and order of keys are the file's. */

import path from "node:path";
import { isUlid } from "@torus/model";
import { files } from "../files.ts";

export type TsdbBlockMeta = {
  ulid: string;
  /** Milliseconds; the range is half-open, [minTime, maxTime). */
  minTime: number;
  maxTime: number;
  stats: {
    numSamples?: number;
    numFloatSamples?: number;
    numHistogramSamples?: number;
    numSeries?: number;
    numChunks?: number;
    numTombstones?: number;
  };
  compaction: {
    level: number;
    /** All level-1 ancestors, sorted; a level-1 block names itself. */
    sources: string[];
    parents?: { ulid: string; minTime: number; maxTime: number }[];
    hints?: string[];
  };
  version: 1;
};

const TEXT = new TextDecoder("utf-8", { fatal: true });

export class BlockMetaInvalidError extends Error {
  constructor(dir: string, what: string, options?: ErrorOptions) {
    super(`read ${path.join(dir, "meta.json")}: ${what}`, options);
    this.name = "BlockMetaInvalidError";
  }
}

/** @throws {BlockMetaInvalidError} also when there is no meta.json. */
export function readBlockMeta(dir: string): TsdbBlockMeta {
  let meta: TsdbBlockMeta;
  try {
    meta = JSON.parse(TEXT.decode(files.readWhole(path.join(dir, "meta.json")))) as TsdbBlockMeta;
  } catch (error) {
    throw new BlockMetaInvalidError(dir, (error as Error).message, { cause: error });
  }
  const version: number = meta.version;
  if (version !== 1) throw new BlockMetaInvalidError(dir, `version ${version}, want 1`);
  if (!isUlid(meta.ulid)) throw new BlockMetaInvalidError(dir, "no valid ulid");
  if (!Number.isFinite(meta.minTime) || !Number.isFinite(meta.maxTime)) {
    throw new BlockMetaInvalidError(dir, "no time range");
  }
  return {
    ...meta,
    stats: meta.stats ?? {},
    compaction: { ...meta.compaction, sources: meta.compaction?.sources ?? [] },
  };
}

export function formatBlockMeta(meta: TsdbBlockMeta): string {
  // Keys that are zero are left out, as Go's omitempty does.
  const stats = Object.fromEntries(Object.entries(meta.stats).filter(([, count]) => count > 0));
  return JSON.stringify({ ...meta, stats }, null, "\t");
}
