/**
 * meta.json of a block: Prometheus' part, and the `thanos` part that an uploaded block carries
 * (Prometheus, tsdb/docs/format; Thanos, docs/storage.md). Field names are those of the file. Keys we do not know are dropped on
 * reading, as Thanos drops them.
 */

import { compareStrings, isUlid, type Labels, labelsFromPairs } from "@torus/model";
import { goJson } from "./go-json.ts";

export const META_FILE = "meta.json";
export const INDEX_FILE = "index";
export const CHUNKS_DIR = "chunks";

export type BlockStats = {
  numSamples?: number;
  numFloatSamples?: number;
  numHistogramSamples?: number;
  numSeries?: number;
  numChunks?: number;
  numTombstones?: number;
};

export type BlockCompaction = {
  level: number;
  /** All level-1 ancestors, sorted; a level-1 block names itself. */
  sources?: string[];
  deletable?: boolean;
  parents?: { ulid: string; minTime: number; maxTime: number }[];
  failed?: boolean;
  hints?: string[];
};

export type BlockSource =
  | "receive"
  | "sidecar"
  | "compactor"
  | "compactor.repair"
  | "ruler"
  | "bucket.repair"
  | "bucket.rewrite"
  | "bucket.upload"
  | "test";

export type BlockFile = {
  /** Below the block's folder, with "/". */
  rel_path: string;
  /** Missing for meta.json only. */
  size_bytes?: number;
  hash?: { hashFunc: string; value: string };
};

export type ThanosMeta = {
  version?: number;
  /** External labels. */
  labels: Record<string, string>;
  downsample: { resolution: number };
  source: string;
  segment_files?: string[];
  files?: BlockFile[];
  rewrites?: unknown[];
  index_stats: { series_max_size?: number; chunk_max_size?: number };
  extensions?: unknown;
  /** RFC 3339 in UTC. */
  upload_time: string;
};

export type BlockMeta = {
  ulid: string;
  /** Milliseconds; the range is [minTime, maxTime), unlike `mint` and `maxt` elsewhere. */
  minTime: number;
  maxTime: number;
  stats: BlockStats;
  compaction: BlockCompaction;
  version: 1;
  /** Only of blocks that were uploaded, or made for a bucket. */
  thanos?: ThanosMeta;
};

export class BlockMetaError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(`meta.json: ${message}`, options);
    this.name = "BlockMetaError";
  }
}

/** A block's labels, or the empty set when it has no `thanos` part. */
export function externalLabels(meta: BlockMeta): Labels {
  return labelsFromPairs(Object.entries(meta.thanos?.labels ?? {}));
}

/** @throws {BlockMetaError} */
export function parseBlockMeta(body: Uint8Array | string): BlockMeta {
  let root: unknown;
  try {
    root = JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body));
  } catch (error) {
    throw new BlockMetaError((error as Error).message, { cause: error });
  }
  const at = object(root, "it");
  if (at["version"] !== 1) throw new BlockMetaError(`version is ${show(at["version"])}, not 1`);
  const ulid = at["ulid"];
  if (typeof ulid !== "string" || !isUlid(ulid)) {
    throw new BlockMetaError(`ulid is ${show(ulid)}, not a ULID`);
  }
  const minTime = integer(at["minTime"], "minTime");
  const maxTime = integer(at["maxTime"], "maxTime");
  if (minTime > maxTime) throw new BlockMetaError(`minTime ${minTime} is above maxTime ${maxTime}`);
  const meta: BlockMeta = {
    ulid,
    minTime,
    maxTime,
    stats: parseStats(at["stats"]),
    compaction: parseCompaction(at["compaction"]),
    version: 1,
  };
  if (at["thanos"] !== undefined && at["thanos"] !== null) meta.thanos = parseThanos(at["thanos"]);
  return meta;
}

/** As Thanos writes it into the bucket: with a newline at its end, which the local file does not have. */
export function formatUploadedMeta(meta: BlockMeta & { thanos: ThanosMeta }): string {
  const { thanos } = meta;
  const out = {
    ulid: meta.ulid,
    minTime: meta.minTime,
    maxTime: meta.maxTime,
    stats: {
      numSamples: meta.stats.numSamples || undefined,
      numFloatSamples: meta.stats.numFloatSamples || undefined,
      numHistogramSamples: meta.stats.numHistogramSamples || undefined,
      numSeries: meta.stats.numSeries || undefined,
      numChunks: meta.stats.numChunks || undefined,
      numTombstones: meta.stats.numTombstones || undefined,
    },
    compaction: {
      level: meta.compaction.level,
      sources: filled(meta.compaction.sources),
      deletable: meta.compaction.deletable || undefined,
      parents: filled(meta.compaction.parents),
      failed: meta.compaction.failed || undefined,
      hints: filled(meta.compaction.hints),
    },
    version: 1,
    thanos: {
      version: thanos.version || undefined,
      labels: sortedMap(thanos.labels),
      downsample: { resolution: thanos.downsample.resolution },
      source: thanos.source,
      segment_files: filled(thanos.segment_files),
      files: filled(thanos.files?.map(fileInOrder)),
      rewrites: filled(thanos.rewrites),
      index_stats: {
        series_max_size: thanos.index_stats.series_max_size || undefined,
        chunk_max_size: thanos.index_stats.chunk_max_size || undefined,
      },
      extensions: thanos.extensions ?? undefined,
      upload_time: thanos.upload_time,
    },
  };
  return `${goJson(out, "\t")}\n`;
}

/** RFC 3339 in UTC, without zeros at the end of the fraction. */
export function formatUploadTime(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.?0*Z$/, "Z");
}

/** Unix milliseconds of `upload_time`, or undefined where it was never set (Go's year 1). */
export function uploadTimeMs(meta: BlockMeta): number | undefined {
  const time = Date.parse(meta.thanos?.upload_time ?? "");
  return Number.isNaN(time) || time <= 0 ? undefined : time;
}

function fileInOrder(file: BlockFile) {
  return {
    rel_path: file.rel_path,
    size_bytes: file.size_bytes || undefined,
    hash:
      file.hash === undefined
        ? undefined
        : { hashFunc: file.hash.hashFunc, value: file.hash.value },
  };
}

function sortedMap(map: Record<string, string>): Record<string, string> {
  const names = Object.keys(map).sort(compareStrings);
  return Object.fromEntries(names.map((name) => [name, map[name] as string]));
}

function filled<T>(list: T[] | undefined): T[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}

function parseStats(value: unknown): BlockStats {
  const at = object(value ?? {}, "stats");
  const stats: BlockStats = {};
  const keys = [
    "numSamples",
    "numFloatSamples",
    "numHistogramSamples",
    "numSeries",
    "numChunks",
    "numTombstones",
  ] as const;
  for (const key of keys) {
    if (at[key] !== undefined) stats[key] = count(at[key], `stats.${key}`);
  }
  return stats;
}

function parseCompaction(value: unknown): BlockCompaction {
  const at = object(value ?? {}, "compaction");
  const out: BlockCompaction = { level: count(at["level"] ?? 0, "compaction.level") };
  const sources = list(at["sources"], "compaction.sources");
  if (sources !== undefined) out.sources = sources.map((item) => text(item, "compaction.sources"));
  if (at["deletable"] === true) out.deletable = true;
  if (at["failed"] === true) out.failed = true;
  const hints = list(at["hints"], "compaction.hints");
  if (hints !== undefined) out.hints = hints.map((item) => text(item, "compaction.hints"));
  const parents = list(at["parents"], "compaction.parents");
  if (parents !== undefined) {
    out.parents = parents.map((item) => {
      const parent = object(item, "compaction.parents");
      return {
        ulid: text(parent["ulid"], "compaction.parents.ulid"),
        minTime: integer(parent["minTime"], "compaction.parents.minTime"),
        maxTime: integer(parent["maxTime"], "compaction.parents.maxTime"),
      };
    });
  }
  return out;
}

function parseThanos(value: unknown): ThanosMeta {
  const at = object(value, "thanos");
  const version = at["version"] ?? 0;
  if (version !== 0 && version !== 1) {
    throw new BlockMetaError(`thanos.version is ${show(version)}, not 1`);
  }
  const labels: Record<string, string> = {};
  for (const [name, label] of Object.entries(object(at["labels"] ?? {}, "thanos.labels"))) {
    labels[name] = text(label, `thanos.labels.${name}`);
  }
  const downsample = object(at["downsample"] ?? {}, "thanos.downsample");
  const indexStats = object(at["index_stats"] ?? {}, "thanos.index_stats");
  const thanos: ThanosMeta = {
    labels,
    downsample: {
      resolution: count(downsample["resolution"] ?? 0, "thanos.downsample.resolution"),
    },
    source: text(at["source"] ?? "", "thanos.source"),
    index_stats: {},
    upload_time: text(at["upload_time"] ?? "0001-01-01T00:00:00Z", "thanos.upload_time"),
  };
  if (version === 1) thanos.version = 1;
  for (const key of ["series_max_size", "chunk_max_size"] as const) {
    const size = indexStats[key];
    if (size !== undefined) thanos.index_stats[key] = count(size, `thanos.index_stats.${key}`);
  }
  const segments = list(at["segment_files"], "thanos.segment_files");
  if (segments !== undefined) {
    thanos.segment_files = segments.map((item) => text(item, "thanos.segment_files"));
  }
  const files = list(at["files"], "thanos.files");
  if (files !== undefined) thanos.files = files.map(parseFile);
  const rewrites = list(at["rewrites"], "thanos.rewrites");
  if (rewrites !== undefined) thanos.rewrites = rewrites;
  if (at["extensions"] !== undefined) thanos.extensions = at["extensions"];
  return thanos;
}

function parseFile(value: unknown): BlockFile {
  const at = object(value, "thanos.files");
  const path = text(at["rel_path"], "thanos.files.rel_path");
  // The path is joined to a local directory on download.
  if (path.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw new BlockMetaError(`thanos.files names ${show(path)}, which is no path inside the block`);
  }
  const file: BlockFile = { rel_path: path };
  if (at["size_bytes"] !== undefined) file.size_bytes = count(at["size_bytes"], `size of ${path}`);
  if (at["hash"] !== undefined && at["hash"] !== null) {
    const hash = object(at["hash"], `hash of ${path}`);
    file.hash = {
      hashFunc: text(hash["hashFunc"], `hashFunc of ${path}`),
      value: text(hash["value"], `hash value of ${path}`),
    };
  }
  return file;
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new BlockMetaError(`${what} is ${show(value)}, not an object`);
}

function list(value: unknown, what: string): unknown[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value)) return value as unknown[];
  throw new BlockMetaError(`${what} is ${show(value)}, not a list`);
}

function text(value: unknown, what: string): string {
  if (typeof value === "string") return value;
  throw new BlockMetaError(`${what} is ${show(value)}, not a string`);
}

function integer(value: unknown, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new BlockMetaError(`${what} is ${show(value)}, not a whole number`);
}

function count(value: unknown, what: string): number {
  const number = integer(value, what);
  if (number < 0) throw new BlockMetaError(`${what} is ${number}, below 0`);
  return number;
}

function show(value: unknown): string {
  return value === undefined ? "missing" : JSON.stringify(value).slice(0, 60);
}
