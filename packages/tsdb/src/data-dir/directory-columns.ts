/**
 * A data directory as the PromQL engine reads storage: series of blocks and head in label order, their samples in
 * columns. Chunks of floats that follow each other are decoded one behind the other in the kernel's memory; whatever
 * else a series has (histograms, overlaps, deleted samples) is merged sample by sample.
 */

import path from "node:path";
import { XorColumns } from "@torus/kernels";
import {
  type Chunk,
  ChunkEncoding,
  compareLabels,
  compareStrings,
  type LabelSelect,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
} from "@torus/model";
import { MergedChunks } from "../chunk-merge.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import { toModelHistogram } from "../chunkenc/stored-histogram.ts";
import { KeptSeries } from "../kept-series.ts";
import { type BlockChunks, BlockSeries } from "./block-series.ts";
import { ChunkWindows } from "./chunk-windows.ts";
import type { DataDirectory } from "./data-directory.ts";
import { HeadColumns, type HeadSeries } from "./head-columns.ts";
import { mergeRuns, runsOfChunks, without } from "./runs.ts";

/** Few enough that a batch's columns stay in the processor's cache. */
const BATCH_SERIES = 16;

/** One block in a scan: the series that match, and where it stands. */
class BlockCursor {
  readonly #block: BlockSeries;
  readonly #ids: Uint32Array;
  #next = 0;
  /** null at the end. */
  at: BlockChunks | null = null;
  readonly windows: ChunkWindows;

  constructor(block: BlockSeries, matchers: readonly Matcher[]) {
    this.#block = block;
    this.#ids = block.matching(matchers);
    this.windows = new ChunkWindows(path.join(block.block.dir, "chunks"));
    this.advance();
  }

  advance(): void {
    const id = this.#ids[this.#next++];
    this.at = id === undefined ? null : this.#block.series(id);
  }
}

/** What the sources have of one series. */
type Gathered = { labels: Labels; cursors: BlockCursor[]; head: HeadSeries | null };

export class DirectoryColumns implements Queryable {
  readonly #blocks: readonly BlockSeries[];
  readonly #head: HeadColumns;
  /** Those of the last scan, for the next. */
  #idle: XorColumns[] | null = null;
  /** Names and values of labels need no chunks: the blocks' own answers do. */
  readonly #labels: MergedChunks;

  constructor(directory: DataDirectory) {
    const kept = new KeptSeries();
    this.#blocks = directory.blocks.map((block) => new BlockSeries(block, kept));
    this.#head = new HeadColumns(directory.head, kept);
    this.#labels = new MergedChunks(() => directory.blocks);
  }

  /**
   * @throws {IndexDamagedError} @throws {ChunkFileDamagedError} @throws {XorChunkTruncatedError}
   * @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
   */
  async *select(select: SeriesSelect): AsyncGenerator<readonly SeriesColumns[]> {
    const { mint, maxt, matchers, skipChunks, limit, signal } = select;
    const columns = this.#idle ?? Array.from({ length: BATCH_SERIES }, () => new XorColumns());
    this.#idle = null;
    const cursors: BlockCursor[] = [];
    try {
      for (const block of this.#blocks) {
        if (maxt < block.block.minTime || mint > block.block.maxTime) continue;
        cursors.push(new BlockCursor(block, matchers));
      }
      let out: SeriesColumns[] = [];
      let given = 0;
      for (const series of gathered(cursors, this.#head.matching(matchers))) {
        const into = columns[out.length] as XorColumns;
        const found = skipChunks
          ? named(series, mint, maxt)
          : (ofFloats(series, mint, maxt, into) ?? merged(series, mint, maxt));
        for (const cursor of series.cursors) cursor.advance();
        if (found === null) continue;
        out.push(found);
        if (++given === limit) break;
        if (out.length === BATCH_SERIES) {
          yield out;
          signal.throwIfAborted();
          out = [];
        }
      }
      if (out.length > 0) yield out;
    } finally {
      for (const { windows } of cursors) windows.close();
      for (const each of columns) if (this.#idle !== null || each.isLarge) each.release();
      this.#idle ??= columns;
    }
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    const names = new Set(await this.#labels.labelNames({ ...select, limit: 0 }));
    for (const { labels } of this.#head.matching(select.matchers)) {
      for (let i = 0; i < labels.length; i += 2) names.add(labels[i] as string);
    }
    return limited([...names].sort(compareStrings), select.limit);
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = new Set(await this.#labels.labelValues(name, { ...select, limit: 0 }));
    for (const { labels } of this.#head.matching(select.matchers)) {
      const value = labelValue(labels, name);
      if (value !== "") values.add(value);
    }
    return limited([...values].sort(compareStrings), select.limit);
  }
}

function limited(list: string[], limit: number): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}

/** Unites the series of all sources; the caller advances the cursors of each before it asks for the next. */
function* gathered(
  cursors: readonly BlockCursor[],
  head: readonly HeadSeries[],
): Generator<Gathered> {
  let nextHead = 0;
  for (;;) {
    const inHead = head[nextHead];
    let labels = inHead?.labels;
    for (const { at } of cursors) {
      if (at === null || at.labels === labels) continue;
      if (labels === undefined || compareLabels(at.labels, labels) < 0) ({ labels } = at);
    }
    if (labels === undefined) return;
    const least = labels;
    const same = cursors.filter(
      ({ at }) => at !== null && (at.labels === least || compareLabels(at.labels, least) === 0),
    );
    const ofHead =
      inHead !== undefined &&
      (inHead.labels === least || compareLabels(inHead.labels, least) === 0);
    if (ofHead) nextHead++;
    yield { labels: least, cursors: same, head: ofHead ? inHead : null };
  }
}

const NO_SAMPLES = {
  timestamps: new Float64Array(0),
  values: new Float64Array(0),
  histograms: null,
  startTimestamps: null,
};

/** The series without samples, where it has any in the range by its chunks' times. */
function named(series: Gathered, mint: number, maxt: number): SeriesColumns | null {
  const inBlocks = series.cursors.some(({ at }) => {
    const { places, first, end } = at as BlockChunks;
    for (let i = first; i < end; i++) {
      if (places.minTime(i) <= maxt && places.maxTime(i) >= mint) return true;
    }
    return false;
  });
  if (!inBlocks && series.head?.hasSamples(mint, maxt) !== true) return null;
  return { labels: series.labels, ...NO_SAMPLES };
}

/** undefined where there is more than floats in chunks that follow each other. */
function ofFloats(
  { labels, cursors, head }: Gathered,
  mint: number,
  maxt: number,
  into: XorColumns,
): SeriesColumns | null | undefined {
  into.clear();
  let end = Number.NEGATIVE_INFINITY;
  for (const { at, windows } of cursors) {
    const { places, first, end: last, deleted } = at as BlockChunks;
    if (deleted.length > 0) return undefined;
    for (let i = first; i < last; i++) {
      const minTime = places.minTime(i);
      const maxTime = places.maxTime(i);
      if (maxTime < mint) continue;
      if (minTime > maxt) break;
      if (minTime <= end) return undefined;
      end = maxTime;
      windows.find(places.ref(i), places.isVerified(i));
      places.setVerified(i);
      if (windows.encoding !== ChunkEncoding.XOR) return undefined;
      into.append(windows.bytes, windows.offset, windows.length);
    }
  }
  if (head !== null) {
    const floats = head.floats();
    if (floats === null) return undefined;
    const to = fromTheEnd(floats.timestamps, floats.timestamps.length, maxt + 1);
    const from = fromTheEnd(floats.timestamps, to, mint);
    if (from < to) {
      if ((floats.timestamps[from] as number) <= end) return undefined;
      const timestamps = floats.timestamps.subarray(from, to);
      const values = floats.values.subarray(from, to);
      if (into.length === 0) return { ...NO_SAMPLES, labels, timestamps, values };
      into.appendDecoded(timestamps, values);
    }
  }
  const { times, length } = into;
  const from = lowerBound(times, length, mint);
  const to = lowerBound(times, length, maxt + 1);
  if (from === to) return null;
  return {
    labels,
    timestamps: into.timestamps(from, to),
    values: into.values(from, to),
    histograms: null,
    startTimestamps: null,
  };
}

/** Index of the first of `length` ascending times that is not before `time`. */
function lowerBound(times: Float64Array, length: number, time: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] as number) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The same, for times near the end: what is asked for most is what came last. */
function fromTheEnd(times: Float64Array, length: number, time: number): number {
  let step = 1;
  let high = length;
  while (high > 0 && (times[Math.max(0, high - step)] as number) >= time) {
    high = Math.max(0, high - step);
    step *= 2;
  }
  let low = Math.max(0, high - step);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((times[middle] as number) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** All that the sources have in the range, each time once. */
function merged(
  { labels, cursors, head }: Gathered,
  mint: number,
  maxt: number,
): SeriesColumns | null {
  const runs: StoredSamples[] = [];
  for (const { at, windows } of cursors) {
    const { places, first, end, deleted } = at as BlockChunks;
    const chunks: Chunk[] = [];
    for (let i = first; i < end; i++) {
      const minTime = places.minTime(i);
      const maxTime = places.maxTime(i);
      if (maxTime < mint || minTime > maxt) continue;
      windows.find(places.ref(i), false);
      chunks.push({
        minTime,
        maxTime,
        encoding: windows.encoding as ChunkEncoding,
        data: windows.data(),
      });
    }
    runs.push(...runsOfChunks(chunks).map((run) => without(run, deleted, mint, maxt)));
  }
  if (head !== null) {
    runs.push(...head.runs().map((run) => without(run, head.deleted, mint, maxt)));
  }
  const { times, values, startTimes, histograms } = mergeRuns(runs);
  if (times.length === 0) return null;
  return {
    labels,
    timestamps: Float64Array.from(times, Number),
    values: new Float64Array(values.slice().buffer),
    histograms:
      histograms === null
        ? null
        : Array.from(times, (_, i) => {
            const histogram = histograms[i];
            return histogram === undefined ? undefined : toModelHistogram(histogram);
          }),
    startTimestamps: startTimes === null ? null : Float64Array.from(startTimes, Number),
  };
}
