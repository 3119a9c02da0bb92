/**
 * Samples that came out of order, inside the window: sorted columns a series, beside the chunks of the head.
 *
 * They are few, so this is plain code. A cut seals a range: what is in it goes into the block that is being written,
 * what comes into the range meanwhile waits for the next one.
 */

import {
  type Chunk,
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  compareStrings,
  type LabelSelect,
  type Labels,
} from "@torus/model";
import { XorAppender } from "../chunkenc/xor.ts";
import { postingsForMatchers } from "../postings.ts";
import type { LabelIndex } from "./postings.ts";

/** Of one tenant: 64 MiB. */
export const MAX_LATE_SAMPLES = 1 << 22;
const CHUNK_SAMPLES = 120;
const BATCH_SERIES = 512;

/** Ascending times in ms, and the bits of the values. */
class Columns {
  times = new Float64Array(4);
  values = new BigUint64Array(4);
  count = 0;

  /** Index of the first sample not before `time`. */
  from(time: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.times[middle] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  at(time: number): bigint | undefined {
    const i = this.from(time);
    return i < this.count && this.times[i] === time ? this.values[i] : undefined;
  }

  /** There must be no sample of this time. */
  insert(time: number, value: bigint): void {
    if (this.count === this.times.length) {
      const times = new Float64Array(this.count * 2);
      const values = new BigUint64Array(this.count * 2);
      times.set(this.times);
      values.set(this.values);
      this.times = times;
      this.values = values;
    }
    const i = this.from(time);
    this.times.copyWithin(i + 1, i, this.count);
    this.values.copyWithin(i + 1, i, this.count);
    this.times[i] = time;
    this.values[i] = value;
    this.count++;
  }

  /** Takes the samples of [mint, maxt] out; null when there is none. */
  take(mint: number, maxt: number): Columns | null {
    const from = this.from(mint);
    const to = this.from(maxt + 1);
    if (from === to) return null;
    const taken = new Columns();
    taken.times = this.times.slice(from, to);
    taken.values = this.values.slice(from, to);
    taken.count = to - from;
    this.times.copyWithin(from, to, this.count);
    this.values.copyWithin(from, to, this.count);
    this.count -= to - from;
    return taken;
  }

  chunks(mint: number, maxt: number): Chunk[] {
    return encodeChunks(this.times, this.values, this.from(mint), this.from(maxt + 1));
  }
}

/** XOR chunks of samples [from, to) of columns. */
export function encodeChunks(
  times: Float64Array,
  values: BigUint64Array,
  from: number,
  to: number,
): Chunk[] {
  const chunks: Chunk[] = [];
  for (let start = from; start < to; start += CHUNK_SAMPLES) {
    const end = Math.min(start + CHUNK_SAMPLES, to);
    const chunk = new XorAppender();
    for (let i = start; i < end; i++) {
      chunk.append(BigInt(times[i] as number), values[i] as bigint);
    }
    chunks.push({
      minTime: times[start] as number,
      maxTime: times[end - 1] as number,
      encoding: ChunkEncoding.XOR,
      data: chunk.bytes(),
    });
  }
  return chunks;
}

export class LateSamples implements ChunkQueryable {
  readonly #index: LabelIndex;
  readonly #labelsOf: (ref: number) => Labels;
  readonly #active = new Map<number, Columns>();
  #sealed = new Map<number, Columns>();
  /** Of both maps. */
  count = 0;

  constructor(index: LabelIndex, labelsOf: (ref: number) => Labels) {
    this.#index = index;
    this.#labelsOf = labelsOf;
  }

  has(ref: number): boolean {
    return this.#active.has(ref) || this.#sealed.has(ref);
  }

  /** The bits of the sample at this time. */
  valueAt(ref: number, time: number): bigint | undefined {
    return this.#active.get(ref)?.at(time) ?? this.#sealed.get(ref)?.at(time);
  }

  /** There must be no sample of this series and time. */
  insert(ref: number, time: number, value: bigint): void {
    let columns = this.#active.get(ref);
    if (columns === undefined) {
      columns = new Columns();
      this.#active.set(ref, columns);
    }
    columns.insert(time, value);
    this.count++;
  }

  /** Earliest time in ms, Infinity when there is none. */
  get minTime(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { times } of this.#all()) least = Math.min(least, times[0] as number);
    return least;
  }

  /** ms; -Infinity when there is none. */
  get maxTime(): number {
    let most = Number.NEGATIVE_INFINITY;
    for (const { times, count } of this.#all()) most = Math.max(most, times[count - 1] as number);
    return most;
  }

  /** Sets the samples of [mint, maxt] apart for a block, until `dropSealed` or `unseal`. */
  seal(mint: number, maxt: number): void {
    for (const [ref, columns] of this.#active) {
      const taken = columns.take(mint, maxt);
      if (taken !== null) this.#sealed.set(ref, taken);
      if (columns.count === 0) this.#active.delete(ref);
    }
  }

  sealedRefs(): Iterable<number> {
    return this.#sealed.keys();
  }

  /** What a cut writes, series by series. */
  *sealedChunks(): Generator<[ref: number, chunks: Chunk[]]> {
    for (const [ref, columns] of this.#sealed) {
      yield [ref, columns.chunks(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)];
    }
  }

  /** The sealed samples are in a block now. */
  dropSealed(): void {
    for (const { count } of this.#sealed.values()) this.count -= count;
    this.#sealed = new Map();
  }

  /** The block was not written. */
  unseal(): void {
    const sealed = this.#sealed;
    this.#sealed = new Map();
    for (const [ref, { times, values, count }] of sealed) {
      this.count -= count;
      for (let i = 0; i < count; i++) this.insert(ref, times[i] as number, values[i] as bigint);
    }
  }

  /** Series with a sample in [mint, maxt]. */
  *seriesWithin(mint: number, maxt: number): Generator<[ref: number, labels: Labels]> {
    for (const [ref, columns] of this.#active) {
      if (columns.from(mint) < columns.from(maxt + 1)) yield [ref, this.#labelsOf(ref)];
    }
  }

  /** Forgets the samples of a series that have one of these times and its bits; returns how many. */
  forget(ref: number, times: BigInt64Array, values: BigUint64Array): number {
    const columns = this.#active.get(ref);
    if (columns === undefined) return 0;
    let forgotten = 0;
    for (let i = 0; i < times.length; i++) {
      const time = Number(times[i]);
      if (columns.at(time) !== values[i]) continue;
      columns.take(time, time);
      forgotten++;
    }
    if (columns.count === 0) this.#active.delete(ref);
    this.count -= forgotten;
    return forgotten;
  }

  /** Every sample, series by series. */
  *entries(): Generator<[ref: number, times: Float64Array, values: BigUint64Array]> {
    for (const map of [this.#sealed, this.#active]) {
      for (const [ref, { times, values, count }] of map) {
        yield [ref, times.subarray(0, count), values.subarray(0, count)];
      }
    }
  }

  selectChunks(select: ChunkSelect): AsyncIterable<readonly ChunkSeries[]> {
    return this.#select(select, [this.#sealed, this.#active]);
  }

  async *#select(
    select: ChunkSelect,
    maps: readonly Map<number, Columns>[],
  ): AsyncGenerator<readonly ChunkSeries[]> {
    // All of it before the first await: a later append or cut changes nothing of the answer.
    const series = this.#matching(select, maps);
    series.sort((a, b) => compareLabels(a.labels, b.labels));
    const count = select.limit > 0 ? Math.min(select.limit, series.length) : series.length;
    for (let i = 0; i < count; i += BATCH_SERIES) {
      select.signal.throwIfAborted();
      yield series.slice(i, Math.min(i + BATCH_SERIES, count));
    }
  }

  #matching(
    select: Pick<ChunkSelect, "mint" | "maxt" | "matchers"> & { skipChunks?: boolean },
    maps: readonly Map<number, Columns>[],
  ): ChunkSeries[] {
    if (maps.every((map) => map.size === 0)) return [];
    const out: ChunkSeries[] = [];
    for (const ref of postingsForMatchers(this.#index, select.matchers)) {
      const chunks = maps.flatMap((map) => map.get(ref)?.chunks(select.mint, select.maxt) ?? []);
      if (chunks.length === 0) continue;
      chunks.sort((a, b) => a.minTime - b.minTime);
      out.push({ labels: this.#labelsOf(ref), chunks: select.skipChunks === true ? [] : chunks });
    }
    return out;
  }

  labelNames(select: LabelSelect): Promise<string[]> {
    const names = new Set<string>();
    for (const { labels } of this.#matching(select, [this.#sealed, this.#active])) {
      for (let i = 0; i < labels.length; i += 2) names.add(labels[i] as string);
    }
    return Promise.resolve(limited(names, select.limit));
  }

  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = new Set<string>();
    for (const { labels } of this.#matching(select, [this.#sealed, this.#active])) {
      for (let i = 0; i < labels.length; i += 2) {
        if (labels[i] === name) values.add(labels[i + 1] as string);
      }
    }
    return Promise.resolve(limited(values, select.limit));
  }

  *#all(): Generator<Columns> {
    yield* this.#sealed.values();
    yield* this.#active.values();
  }
}

function limited(found: Set<string>, limit: number): string[] {
  const list = [...found].sort(compareStrings);
  return limit > 0 ? list.slice(0, limit) : list;
}
