/**
 * The head of one tenant: the newest samples in memory, backed by a write-ahead log.
 *
 * Its parts: `append` (requests), `replay` (the log at start), `read` (queries), `gc` (truncation after a block is
 * cut), over one `state`. Label bytes, chunks and series records lie in the kernels' memory, shared by all tenants.
 */

import type { WriteRequestBuffer } from "@torus/kernels";
import {
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  type LabelSelect,
  type Labels,
  labelValue,
  type Matcher,
} from "@torus/model";
import { doubleOf } from "../chunkenc/samples.ts";
import { type AppendCounts, Appender } from "./append.ts";
import { type ClosedRange, closeRange } from "./close-range.ts";
import { type DumpPart, dumpHead } from "./dump.ts";
import { type Exemplars, exemplarRecords } from "./exemplars.ts";
import { truncateHead } from "./gc.ts";
import type { LateSamples } from "./late-samples.ts";
import { NumberedSeries } from "./numbered-series.ts";
import { type HeadMark, HeadReader } from "./read.ts";
import type { RecordLog } from "./record-log.ts";
import { Replay } from "./replay.ts";
import type { StartRuns } from "./start-runs.ts";
import { HeadState } from "./state.ts";
import { type HeadStatistics, headStatistics } from "./statistics.ts";

export type HeadOptions = {
  /** Chunks never cross a multiple of this; the length of the blocks that are cut from the head. */
  chunkRangeMs: number;
  /** The most series in memory; 0 for no limit. */
  seriesLimit: number;
  /** How far behind the newest sample a late one may be; 0 for none. */
  outOfOrderWindowMs: number;
  /** The most exemplars in memory; 0 for none. */
  maxExemplars: number;
  /** Whether start timestamps are kept; they are not when it is left out. */
  startTimes?: boolean;
  now: () => number;
};

/** A series' exemplars, oldest first; times in ms. */
export type SeriesExemplars = {
  labels: Labels;
  exemplars: { labels: Labels; value: number; time: number }[];
};

export class Head implements ChunkQueryable {
  readonly #state: HeadState;
  readonly #appender: Appender;
  readonly #reader: HeadReader;
  readonly #numbered: () => NumberedSeries;
  readonly #limits: { outOfOrderWindowMs: number; seriesPerMetric: number; now: () => number };
  #closed = false;

  /** @param lateLog Takes the records of samples that came out of order. */
  constructor(log: RecordLog, lateLog: RecordLog, options: HeadOptions) {
    const { chunkRangeMs, seriesLimit, maxExemplars, startTimes = false } = options;
    this.#state = new HeadState(chunkRangeMs, seriesLimit, maxExemplars, startTimes);
    const { outOfOrderWindowMs, now } = options;
    const limits = { outOfOrderWindowMs, seriesPerMetric: 0, now };
    this.#limits = limits;
    this.#appender = new Appender(this.#state, log, lateLog, limits);
    this.#reader = new HeadReader(this.#state);
    this.#numbered = () => new NumberedSeries(this.#state, log, lateLog, limits);
  }

  /** See `Appender.append`. */
  append(request: WriteRequestBuffer, chosen: Uint32Array | null): AppendCounts {
    return this.#appender.append(request, chosen);
  }

  /** A table of series by a sender's numbers, none bound yet. */
  numberedSeries(): NumberedSeries {
    return this.#numbered();
  }

  /** Begins to fill the head, which must be empty, from its log; samples before `minTime` (ms) are passed over. */
  beginReplay(minTime: number): Replay {
    return new Replay(this.#state, minTime);
  }

  get seriesCount(): number {
    return this.#state.seriesCount;
  }
  /** ms; Infinity for an empty head. */
  get minTime(): number {
    return this.#state.minTime;
  }
  /** ms; -Infinity for an empty head. */
  get maxTime(): number {
    return this.#state.maxTime;
  }
  /** Counts of exemplars. */
  get exemplars(): Pick<
    Exemplars,
    "max" | "count" | "seriesCount" | "appended" | "outOfOrder" | "lastTime"
  > {
    return this.#state.exemplars;
  }

  /** Exemplars in [mint, maxt] of the series that pass all matchers of one of the lists, by their labels. */
  selectExemplars(
    lists: readonly (readonly Matcher[])[],
    mint: number,
    maxt: number,
  ): SeriesExemplars[] {
    const { exemplars, keptLabels, table } = this.#state;
    const out: SeriesExemplars[] = [];
    for (const ref of exemplars.refs()) {
      const labels = keptLabels.of(table.get(ref));
      const isWanted = lists.some((matchers) =>
        matchers.every((matcher) => matcher.matches(labelValue(labels, matcher.name))),
      );
      if (!isWanted) continue;
      const found = exemplars
        .of(ref, mint, maxt)
        .map((each) => ({ ...each, value: doubleOf(each.value) }));
      if (found.length > 0) out.push({ labels, exemplars: found });
    }
    return out.sort((a, b) => compareLabels(a.labels, b.labels));
  }

  /** Start timestamps of the floats in order; null when they are not kept. */
  get starts(): StartRuns | null {
    return this.#state.starts;
  }

  /** Samples that came out of order; `selectChunks` does not give them. */
  get late(): LateSamples {
    return this.#state.late;
  }
  get minValidTime(): number {
    return this.#state.minValidTime;
  }
  /** Floats that came out of order and were stored, since the start. */
  get lateAppended(): number {
    return this.#state.lateAppended;
  }
  get lateHistogramsAppended(): number {
    return this.#state.lateHistogramsAppended;
  }
  /** Float samples since the start, by `Verdict`; to be read only. */
  get judgedFloats(): Float64Array {
    return this.#state.judgedFloats;
  }
  /** The same of native histograms. */
  get judgedHistograms(): Float64Array {
    return this.#state.judgedHistograms;
  }
  get seriesCreated(): number {
    return this.#state.seriesCreated;
  }
  get seriesRemoved(): number {
    return this.#state.seriesRemoved;
  }

  /** Refuses samples before `time` (ms) from here on; what is in memory stays readable. */
  refuseBefore(time: number): void {
    this.#state.minValidTime = Math.max(this.#state.minValidTime, time);
  }

  /** Chunks that end before `time` are not read any more from here on: a block has them. */
  readFrom(time: number): void {
    this.#state.readFloor = Math.max(this.#state.readFloor, time);
  }

  setSeriesLimit(limit: number): void {
    this.#state.kernel.exports.headSetLimit(this.#state.address, limit);
  }

  /** Holds for what is appended from here on. */
  setOutOfOrderWindow(windowMs: number): void {
    this.#limits.outOfOrderWindowMs = windowMs;
  }

  /** New series of a metric that has so many are refused from here on; 0 for no limit. */
  setMetricLimit(seriesPerMetric: number): void {
    this.#limits.seriesPerMetric = seriesPerMetric;
  }

  /** A series of the metric; 0 when there is none. */
  refOfMetric(name: string): number {
    return this.#state.index.anyRef("__name__", name);
  }

  /** See `headStatistics`. */
  statistics(limit: number): Promise<HeadStatistics> {
    return headStatistics(this.#state, limit);
  }

  hasRef(ref: number): boolean {
    return this.#state.table.get(ref) !== 0;
  }

  selectChunks(select: ChunkSelect): AsyncIterable<readonly ChunkSeries[]> {
    return this.#reader.selectChunks(select);
  }
  /** See `HeadReader.mark`. */
  mark(select: ChunkSelect): HeadMark | null {
    return this.#reader.mark(select);
  }
  labelNames(select: LabelSelect): Promise<string[]> {
    return this.#reader.labelNames(select);
  }
  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    return this.#reader.labelValues(name, select);
  }

  /** In the kernels' memory; 0 when the head is closed. */
  get address(): number {
    return this.#closed ? 0 : this.#state.address;
  }

  /** The memory that addresses of series and chunks are of, shared with other threads. */
  get memory(): ArrayBufferLike {
    return this.#state.kernel.memory.buffer;
  }

  /** See `dumpHead`. */
  dump(onPart: (part: DumpPart) => Promise<void>): Promise<void> {
    return dumpHead(this.#state, onPart);
  }

  /** The exemplars as records of the log. */
  exemplarRecords(): Iterable<Uint8Array> {
    return exemplarRecords(this.#state.exemplars);
  }

  /** Refs below this were given out. */
  get nextRef(): number {
    return this.#state.kernel.exports.headNextRef(this.#state.address) >>> 0;
  }

  /** See `closeRange`. */
  closeRange(mint: number, end: number, others: ReadonlySet<number>): Promise<ClosedRange> {
    return closeRange(this.#state, mint, end, others);
  }

  /** The series' address, 0 when there is none with this ref. */
  addressOf(ref: number): number {
    return this.#state.table.get(ref);
  }

  /** Refs of all series, some at a time; series may come and go meanwhile. */
  refs(): Iterable<[ref: number, address: number]> {
    return this.#state.table.entries();
  }

  /** See `truncateHead`. */
  truncate(mint: number): Promise<number[]> {
    return truncateHead(this.#state, mint);
  }

  /** Gives the memory back. The head is not used again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#state.free();
  }
}
