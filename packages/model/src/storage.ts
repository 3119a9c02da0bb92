/**
 * The seams between storage, StoreAPI and the engine, as types.
 *
 * Two levels. `ChunkQueryable` answers with undecoded chunks: a head, a block on disk, a block in the bucket;
 * StoreAPI sends them as they are. `Queryable` answers with columns: what the PromQL engine reads, after
 * chunks were decoded and replicas removed. Both stream batches of series in ascending label order (byte
 * order, `compareLabels`), so that merging needs no memory and aggregation can fold series as they pass.
 *
 * Times are milliseconds since the epoch, `mint` and `maxt` both inclusive.
 */

import type { Histogram } from "./histogram.ts";
import type { Labels } from "./labels.ts";
import type { Matcher } from "./matcher.ts";

/** The encoding byte on disk (Prometheus, tsdb/docs/format/chunks.md). StoreAPI's number is one lower. */
export const ChunkEncoding = {
  XOR: 1,
  HISTOGRAM: 2,
  FLOAT_HISTOGRAM: 3,
  XOR2: 4,
  HISTOGRAM_ST: 5,
  FLOAT_HISTOGRAM_ST: 6,
  AGGREGATE: 255,
} as const;
export type ChunkEncoding = (typeof ChunkEncoding)[keyof typeof ChunkEncoding];

export type Chunk = {
  minTime: number;
  maxTime: number;
  encoding: ChunkEncoding;
  /** The chunk's own bytes, without length, encoding byte and checksum. Immutable; may be a view of a larger buffer. */
  data: Uint8Array;
};

export type ChunkSeries = {
  labels: Labels;
  /** Ascending by minTime; those of out-of-order data may overlap. */
  chunks: readonly Chunk[];
};

/** A series whose chunks are written as fields of StoreAPI's Series already. */
export type EncodedSeries = {
  labels: Labels;
  /** Runs of `chunks` fields, each in time order; an element from each source. Good until the next batch. */
  chunks: readonly Uint8Array[];
};

export type ChunkSelect = {
  mint: number;
  maxt: number;
  /** All must match. At least one; a list that matches everything is the caller's decision. */
  matchers: readonly Matcher[];
  /** Only labels are wanted: `chunks` is empty in the answer. Series without a chunk in the range are still left out. */
  skipChunks: boolean;
  /** Stop after this many series; 0 for no limit. */
  limit: number;
  /** Whether chunks may be of the encodings with start timestamps, which StoreAPI has no numbers for, where they are stored so. */
  anyEncoding?: boolean;
  /** Whether start timestamps are wanted also where they are not in the chunks yet. */
  startTimes?: boolean;
  /**
   * Whether chunks of a series must not overlap, as those of late samples do with others: Thanos' queriers pass over
   * samples of one that begins before the last one ended. Asked of `selectEncoded` only.
   */
  disjoint?: boolean;
  signal: AbortSignal;
};

export type LabelSelect = {
  mint: number;
  maxt: number;
  matchers: readonly Matcher[];
  /** 0 for no limit. */
  limit: number;
  signal: AbortSignal;
};

export interface ChunkQueryable {
  /** Chunks that overlap [mint, maxt]; they may reach beyond it. */
  selectChunks(select: ChunkSelect): AsyncIterable<readonly ChunkSeries[]>;
  /** The same, ready to be sent, from whoever has a quicker way to it. `skipChunks` is not looked at. */
  selectEncoded?(select: ChunkSelect): AsyncIterable<readonly EncodedSeries[]>;
  /** Ascending in byte order. */
  labelNames(select: LabelSelect): Promise<string[]>;
  /** Ascending in byte order. */
  labelValues(name: string, select: LabelSelect): Promise<string[]>;
}

/**
 * One series' samples in columns of equal length.
 * The arrays belong to the reader until it asks the stream for the next batch; what must live longer is copied.
 */
export type SeriesColumns = {
  labels: Labels;
  /** Ascending, no timestamp twice. */
  timestamps: Float64Array;
  /** Bit patterns are kept: staleness is tested by `isStale`. Undefined content where `histograms` has a sample. */
  values: Float64Array;
  /** The histogram of sample i, or undefined where it is a float; null for a series of floats only. */
  histograms: readonly (Histogram | undefined)[] | null;
  /** Start timestamps in ms, 0 where unknown; null when the storage has none. */
  startTimestamps: Float64Array | null;
};

/** What the engine knows about the use of a selector; storage may ignore all of it. */
export type SelectHints = {
  stepMs: number;
  /** The range of a range selector in ms, or 0. */
  rangeMs: number;
  /** The innermost function or aggregation around the selector, or "". */
  func: string;
  grouping: readonly string[];
  by: boolean;
};

export type SeriesSelect = ChunkSelect & { hints: SelectHints; onWarning: (text: string) => void };

export interface Queryable {
  /** Samples inside [mint, maxt] only. */
  select(select: SeriesSelect): AsyncIterable<readonly SeriesColumns[]>;
  labelNames(select: LabelSelect & { onWarning: (text: string) => void }): Promise<string[]>;
  labelValues(
    name: string,
    select: LabelSelect & { onWarning: (text: string) => void },
  ): Promise<string[]>;
}
