/**
 * Samples that came out of order, inside the window: sorted columns a series (late-columns.ts), beside the chunks of the head.
 *
 * They are few, so this is plain code. A cut seals a range: what is in it goes into the block that is being written,
 * what comes into the range meanwhile waits for the next one.
 */

import {
  type Chunk,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  compareStrings,
  type LabelSelect,
  type Labels,
} from "@torus/model";
import type { StoredSamples } from "../chunkenc/samples.ts";
import { postingsForMatchers } from "../postings.ts";
import { LateColumns, roomOf } from "./late-columns.ts";
import type { LabelIndex } from "./postings.ts";
import { sameSample } from "./same-histogram.ts";
import type { SampleValue } from "./sample-records.ts";

/** Of one tenant, in units of `roomOf`: 64 MiB. */
export const MAX_LATE_ROOM = 1 << 22;
const BATCH_SERIES = 512;

export class LateSamples implements ChunkQueryable {
  readonly #index: LabelIndex;
  readonly #labelsOf: (ref: number) => Labels;
  readonly #active = new Map<number, LateColumns>();
  #sealed = new Map<number, LateColumns>();
  /** Of both maps. */
  count = 0;
  /** In units of `roomOf`. */
  room = 0;

  constructor(index: LabelIndex, labelsOf: (ref: number) => Labels) {
    this.#index = index;
    this.#labelsOf = labelsOf;
  }

  has(ref: number): boolean {
    return this.#active.has(ref) || this.#sealed.has(ref);
  }

  /** The sample at this time. */
  valueAt(ref: number, time: number): SampleValue | undefined {
    return this.#active.get(ref)?.at(time) ?? this.#sealed.get(ref)?.at(time);
  }

  /** There must be no sample of this series and time. */
  insert(ref: number, time: number, startTime: number, value: SampleValue): void {
    let columns = this.#active.get(ref);
    if (columns === undefined) {
      columns = new LateColumns();
      this.#active.set(ref, columns);
    }
    columns.insert(time, startTime, value);
    this.count++;
    this.room += roomOf(value);
  }

  /** Earliest time in ms, Infinity when there is none. */
  get minTime(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { firstTime } of this.#all()) least = Math.min(least, firstTime);
    return least;
  }

  /** ms; -Infinity when there is none. */
  get maxTime(): number {
    let most = Number.NEGATIVE_INFINITY;
    for (const { lastTime } of this.#all()) most = Math.max(most, lastTime);
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
    for (const { count, room } of this.#sealed.values()) {
      this.count -= count;
      this.room -= room;
    }
    this.#sealed = new Map();
  }

  /** The block was not written. */
  unseal(): void {
    const sealed = this.#sealed;
    this.#sealed = new Map();
    for (const [ref, columns] of sealed) {
      const { times, startTimes, count } = columns;
      this.count -= count;
      this.room -= columns.room;
      for (let i = 0; i < count; i++) {
        this.insert(ref, times[i] as number, startTimes?.[i] ?? 0, columns.value(i));
      }
    }
  }

  /** Series with a sample in [mint, maxt]. */
  *seriesWithin(mint: number, maxt: number): Generator<[ref: number, labels: Labels]> {
    for (const [ref, columns] of this.#active) {
      if (columns.from(mint) < columns.from(maxt + 1)) yield [ref, this.#labelsOf(ref)];
    }
  }

  /** Forgets the samples of a series that are among these; returns how many. */
  forget(ref: number, samples: StoredSamples): number {
    const columns = this.#active.get(ref);
    if (columns === undefined) return 0;
    let forgotten = 0;
    for (let i = 0; i < samples.times.length; i++) {
      const time = Number(samples.times[i]);
      const value = columns.at(time);
      const stored = samples.histograms?.[i] ?? (samples.values[i] as bigint);
      if (value === undefined || !sameSample(value, stored)) continue;
      columns.take(time, time);
      this.room -= roomOf(value);
      forgotten++;
    }
    if (columns.count === 0) this.#active.delete(ref);
    this.count -= forgotten;
    return forgotten;
  }

  /** Every series' samples; they may change with the next append. */
  *entries(): Generator<[ref: number, samples: LateColumns]> {
    yield* this.#sealed;
    yield* this.#active;
  }

  selectChunks(select: ChunkSelect): AsyncIterable<readonly ChunkSeries[]> {
    return this.#select(select, [this.#sealed, this.#active]);
  }

  async *#select(
    select: ChunkSelect,
    maps: readonly Map<number, LateColumns>[],
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
    maps: readonly Map<number, LateColumns>[],
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

  *#all(): Generator<LateColumns> {
    yield* this.#sealed.values();
    yield* this.#active.values();
  }
}

function limited(found: Set<string>, limit: number): string[] {
  const list = [...found].sort(compareStrings);
  return limit > 0 ? list.slice(0, limit) : list;
}
