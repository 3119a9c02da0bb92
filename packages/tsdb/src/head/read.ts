/**
 * Reading a head: everything that was there when the call was made, and nothing of a later append.
 *
 * Appends are synchronous, so a mark per series (newest closed chunk, samples in the open one) taken in one go
 * is a snapshot; chunks are copied batch by batch up to their marks. `gc` frees only chunks before a floor, after
 * the readers that began under a lower one have ended.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { ChunkFields } from "@torus/kernels";
import {
  type Chunk,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareStrings,
  type LabelSelect,
  type Labels,
} from "@torus/model";
import { withStartTimes } from "../chunkenc/with-start-times.ts";
import { postingsForMatchers } from "../postings.ts";
import { intersect } from "./postings.ts";
import {
  chunksAt,
  copyChunk,
  hasSample,
  isHistogramSeries,
  lastTime,
  type MemoryChunk,
  newestClosedFrom,
  openSamples,
  type SeriesMark,
  seriesRef,
} from "./series-memory.ts";
import { HeadClosedError, type HeadRead, HeadReadExpiredError, type HeadState } from "./state.ts";

const BATCH_SERIES = 512;

export class HeadReader implements ChunkQueryable {
  readonly #state: HeadState;

  constructor(state: HeadState) {
    this.#state = state;
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const state = this.#state;
    if (select.maxt < state.minTime || select.mint > state.maxTime) return;
    const reader: HeadRead = { expired: false };
    state.readers.add(reader);
    try {
      yield* this.#batches(select, reader);
    } finally {
      state.readers.delete(reader);
    }
  }

  async *#batches(select: ChunkSelect, reader: HeadRead): AsyncGenerator<readonly ChunkSeries[]> {
    const mark = new HeadMark(this.#state, select, reader);
    await mark.sort();
    let batch: ChunkSeries[] = [];
    let given = 0;
    for (let i = 0; i < mark.count; i++) {
      const chunks = mark.chunks(i);
      if (chunks.length === 0) continue;
      batch.push({
        labels: mark.labels(i),
        chunks: select.skipChunks ? [] : mark.copies(i, chunks),
      });
      if (++given === select.limit) break;
      if (batch.length === BATCH_SERIES) {
        select.signal.throwIfAborted();
        yield batch;
        // Reading memory never waits, so without this a long read would hold up every request.
        await nextTurn();
        mark.check();
        batch = [];
      }
    }
    if (batch.length > 0) yield batch;
  }

  /**
   * The series that match, as they are at the moment of this call; null when none can have a sample in the range. To
   * be closed. The caller gives way to others now and then, and calls `check` after it did.
   */
  mark(select: ChunkSelect): HeadMark | null {
    const state = this.#state;
    if (select.maxt < state.minTime || select.mint > state.maxTime) return null;
    const reader: HeadRead = { expired: false };
    state.readers.add(reader);
    return new HeadMark(state, select, reader);
  }

  labelNames(select: LabelSelect): Promise<string[]> {
    const { index } = this.#state;
    if (!this.#overlaps(select)) return Promise.resolve([]);
    if (select.matchers.length === 0) return Promise.resolve(limited(index.names(), select.limit));
    const refs = this.#liveRefs(select);
    const pairs = new Set<number>();
    for (const ref of refs) {
      for (const pair of this.#state.pairsOf(this.#state.table.get(ref))) pairs.add(pair);
    }
    const names = new Set<string>();
    for (const pair of pairs) names.add(index.pairName(pair));
    return Promise.resolve(limited([...names].sort(compareStrings), select.limit));
  }

  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const { index } = this.#state;
    if (!this.#overlaps(select)) return Promise.resolve([]);
    let values = [...index.values(name)];
    if (select.matchers.length > 0) {
      const refs = this.#liveRefs(select);
      values = values.filter((value) => intersect(index.postings(name, value), refs).length > 0);
    }
    return Promise.resolve(limited(values.sort(compareStrings), select.limit));
  }

  #overlaps(select: LabelSelect): boolean {
    return select.maxt >= this.#state.minTime && select.mint <= this.#state.maxTime;
  }

  #liveRefs(select: LabelSelect): Uint32Array {
    const { kernel: k, table } = this.#state;
    return postingsForMatchers(this.#state.index, select.matchers).filter((ref) =>
      hasSample(k, table.get(ref)),
    );
  }
}

/** What a read sees of the head: the matching series and how far each had come. */
export class HeadMark {
  readonly #state: HeadState;
  readonly #select: ChunkSelect;
  readonly #reader: HeadRead;
  readonly #floor: number;
  readonly #series: Uint32Array;
  readonly #closed: Uint32Array;
  readonly #open: Uint16Array;
  readonly #last: Float64Array;
  readonly #histograms = new Map<number, SeriesMark["histogram"]>();
  /** Start timestamps by series, of those that have some; null when they are not asked for. */
  readonly #starts: Map<number, readonly number[]> | null;
  #order: Uint32Array = new Uint32Array(0);

  constructor(state: HeadState, select: ChunkSelect, reader: HeadRead) {
    this.#state = state;
    this.#select = select;
    this.#reader = reader;
    const { kernel: k, readFloor: floor, starts } = state;
    this.#floor = floor;
    this.#starts = select.startTimes === true && starts !== null ? new Map() : null;
    const refs = postingsForMatchers(state.index, select.matchers);
    const series = refs
      .map((ref) => state.table.get(ref))
      // What ends before the floor may be freed while this read goes on.
      .filter((address) => hasSample(k, address) && lastTime(k, address) >= floor);
    this.#series = series;
    this.#closed = new Uint32Array(series.length);
    this.#open = new Uint16Array(series.length);
    this.#last = new Float64Array(series.length);
    for (let i = 0; i < series.length; i++) {
      const address = series[i] as number;
      this.#closed[i] = newestClosedFrom(k, address, floor);
      this.#open[i] = openSamples(k, address);
      this.#last[i] = lastTime(k, address);
      if (this.#starts !== null) {
        const runs = starts?.within(seriesRef(k, address), -Infinity, Infinity) ?? null;
        if (runs !== null) this.#starts.set(i, runs);
      }
      if (isHistogramSeries(k, address)) this.#histograms.set(i, state.histograms.mark(address));
    }
  }

  /** Before any series is asked for. Index 0 is then the first by labels. @throws {HeadClosedError} */
  async sort(): Promise<void> {
    this.#order = await this.#state.order(this.#series);
    this.check();
  }

  get count(): number {
    return this.#order.length;
  }

  /** After others had their turn. @throws {HeadClosedError} @throws {HeadReadExpiredError} */
  check(): void {
    if (this.#state.closed) throw new HeadClosedError();
    if (this.#reader.expired) throw new HeadReadExpiredError();
  }

  /** The same array each time, as long as it is remembered. */
  labels(index: number): Labels {
    return this.#state.keptLabels.of(this.#series[this.#order[index] as number] as number);
  }

  /** Ascending; those that overlap the range. */
  chunks(index: number): MemoryChunk[] {
    const { mint, maxt } = this.#select;
    const i = this.#order[index] as number;
    const from = Math.max(mint, this.#floor);
    const mark = {
      newestClosed: this.#closed[i] as number,
      openSamples: this.#open[i] as number,
      lastTime: this.#last[i] as number,
      histogram: this.#histograms.get(i) ?? null,
    };
    return chunksAt(this.#state.kernel, this.#series[i] as number, mark, this.#floor).filter(
      (chunk) => chunk.maxTime >= from && chunk.minTime <= maxt,
    );
  }

  /** Chunks of the series as bytes of their own, with the start timestamps that are asked for. */
  copies(index: number, chunks: readonly MemoryChunk[]): Chunk[] {
    const starts = this.#starts?.get(this.#order[index] as number) ?? null;
    return chunks.map((chunk) => {
      const { minTime, maxTime, encoding } = chunk;
      const data = copyChunk(this.#state.kernel, chunk);
      return withStartTimes({ minTime, maxTime, encoding, data }, starts);
    });
  }

  /** Appends the same chunks to `fields`; false when they are not all XOR chunks that begin after `after`, or need start timestamps. */
  write(index: number, fields: ChunkFields, after: number): boolean {
    const { mint, maxt } = this.#select;
    const i = this.#order[index] as number;
    if (this.#histograms.has(i) || this.#starts?.has(i) === true) return false;
    return fields.appendSeries(
      {
        series: this.#series[i] as number,
        newestClosed: this.#closed[i] as number,
        openSamples: this.#open[i] as number,
        lastTime: this.#last[i] as number,
      },
      this.#floor,
      mint,
      maxt,
      after,
    );
  }

  close(): void {
    this.#state.readers.delete(this.#reader);
  }
}

function limited(list: string[], limit: number): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}
