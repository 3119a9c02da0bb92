/**
 * Reading a head: everything that was there when the call was made, and nothing of a later append.
 *
 * Appends are synchronous, so a mark per series (newest closed chunk, samples in the open one) taken in one go
 * is a snapshot; chunks are copied batch by batch up to their marks. While a reader runs, `gc` frees nothing.
 */

import {
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareStrings,
  type LabelSelect,
} from "@torus/model";
import { intersect } from "./postings.ts";
import {
  chunksAt,
  copyChunk,
  hasSample,
  lastTime,
  newestClosed,
  openSamples,
} from "./series-memory.ts";
import type { HeadState } from "./state.ts";

const BATCH_SERIES = 512;

export class HeadReader implements ChunkQueryable {
  readonly #state: HeadState;

  constructor(state: HeadState) {
    this.#state = state;
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const state = this.#state;
    if (select.maxt < state.minTime || select.mint > state.maxTime) return;
    const reader = {};
    state.readers.add(reader);
    try {
      yield* this.#batches(select);
    } finally {
      state.readers.delete(reader);
    }
  }

  async *#batches(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const { kernel: k } = this.#state;
    const series = this.#state.sorted(this.#state.index.select(select.matchers));
    const closed = new Uint32Array(series.length);
    const open = new Uint16Array(series.length);
    const last = new Float64Array(series.length);
    for (let i = 0; i < series.length; i++) {
      const address = series[i] as number;
      closed[i] = newestClosed(k, address);
      open[i] = openSamples(k, address);
      last[i] = lastTime(k, address);
    }
    let batch: ChunkSeries[] = [];
    let given = 0;
    for (let i = 0; i < series.length; i++) {
      const address = series[i] as number;
      const mark = {
        newestClosed: closed[i] as number,
        openSamples: open[i] as number,
        lastTime: last[i] as number,
      };
      const chunks = chunksAt(k, address, mark).filter(
        (chunk) => chunk.maxTime >= select.mint && chunk.minTime <= select.maxt,
      );
      if (chunks.length === 0) continue;
      batch.push({
        labels: this.#state.labelsOf(address),
        chunks: select.skipChunks
          ? []
          : chunks.map((chunk) => ({
              minTime: chunk.minTime,
              maxTime: chunk.maxTime,
              encoding: ChunkEncoding.XOR,
              data: copyChunk(k, chunk),
            })),
      });
      if (++given === select.limit) break;
      if (batch.length === BATCH_SERIES) {
        select.signal.throwIfAborted();
        yield batch;
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
    let values = [...index.valuesOf(name)];
    if (select.matchers.length > 0) {
      const refs = this.#liveRefs(select);
      values = values.filter((value) => intersect(index.refsOf(name, value), refs).length > 0);
    }
    return Promise.resolve(limited(values.sort(compareStrings), select.limit));
  }

  #overlaps(select: LabelSelect): boolean {
    return select.maxt >= this.#state.minTime && select.mint <= this.#state.maxTime;
  }

  #liveRefs(select: LabelSelect): Uint32Array {
    const { kernel: k, table } = this.#state;
    return this.#state.index.select(select.matchers).filter((ref) => hasSample(k, table.get(ref)));
  }
}

function limited(list: string[], limit: number): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}
