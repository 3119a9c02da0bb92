/**
 * Reading a head: everything that was there when the call was made, and nothing of a later append.
 *
 * Appends are synchronous, so a mark per series (newest closed chunk, samples in the open one) taken in one go
 * is a snapshot; chunks are copied batch by batch up to their marks. `gc` frees only chunks before a floor, after
 * the readers that began under a lower one have ended.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareStrings,
  type LabelSelect,
} from "@torus/model";
import { postingsForMatchers } from "../postings.ts";
import { intersect } from "./postings.ts";
import {
  chunksAt,
  copyChunk,
  hasSample,
  isHistogramSeries,
  lastTime,
  newestClosedFrom,
  openSamples,
  type SeriesMark,
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
    const { kernel: k, readFloor: floor } = this.#state;
    const refs = postingsForMatchers(this.#state.index, select.matchers);
    const series = refs
      .map((ref) => this.#state.table.get(ref))
      // What ends before the floor may be freed while this read goes on.
      .filter((address) => hasSample(k, address) && lastTime(k, address) >= floor);
    const closed = new Uint32Array(series.length);
    const open = new Uint16Array(series.length);
    const last = new Float64Array(series.length);
    const histograms = new Map<number, SeriesMark["histogram"]>();
    for (let i = 0; i < series.length; i++) {
      const address = series[i] as number;
      closed[i] = newestClosedFrom(k, address, floor);
      open[i] = openSamples(k, address);
      last[i] = lastTime(k, address);
      if (isHistogramSeries(k, address)) histograms.set(i, this.#state.histograms.mark(address));
    }
    const order = await this.#state.order(series);
    if (this.#state.closed) throw new HeadClosedError();
    let batch: ChunkSeries[] = [];
    let given = 0;
    for (const i of order) {
      const address = series[i] as number;
      const mark = {
        newestClosed: closed[i] as number,
        openSamples: open[i] as number,
        lastTime: last[i] as number,
        histogram: histograms.get(i) ?? null,
      };
      const chunks = chunksAt(k, address, mark, floor).filter(
        (chunk) => chunk.maxTime >= Math.max(select.mint, floor) && chunk.minTime <= select.maxt,
      );
      if (chunks.length === 0) continue;
      batch.push({
        labels: this.#state.labelsOf(address),
        chunks: select.skipChunks
          ? []
          : chunks.map((chunk) => ({
              minTime: chunk.minTime,
              maxTime: chunk.maxTime,
              encoding: chunk.encoding,
              data: copyChunk(k, chunk),
            })),
      });
      if (++given === select.limit) break;
      if (batch.length === BATCH_SERIES) {
        select.signal.throwIfAborted();
        yield batch;
        // Reading memory never waits, so without this a long read would hold up every request.
        await nextTurn();
        if (this.#state.closed) throw new HeadClosedError();
        if (reader.expired) throw new HeadReadExpiredError();
        batch = [];
      }
    }
    if (batch.length > 0) yield batch;
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

function limited(list: string[], limit: number): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}
