/** The late samples of one series: columns in order of time, histograms beside the bits of floats. */

import { type Chunk, ChunkEncoding } from "@torus/model";
import { encodeSamples } from "../chunkenc/encode-samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import { XorAppender } from "../chunkenc/xor.ts";
import type { SampleValue } from "./sample-records.ts";

const CHUNK_SAMPLES = 120;
/** Objects of a histogram besides its numbers, in the unit of `roomOf`. */
const HISTOGRAM_ROOM = 56;
const SPAN_ROOM = 3;

/** Memory that a late sample takes, in units of a float's: 16 bytes. */
export function roomOf(value: SampleValue | undefined): number {
  if (value === undefined || typeof value === "bigint") return 1;
  const { layout, positive, negative } = value;
  const numbers = positive.length + negative.length + layout.customValues.length;
  const spans = layout.positiveSpans.length + layout.negativeSpans.length;
  return HISTOGRAM_ROOM + spans * SPAN_ROOM + Math.ceil(numbers / 2);
}

export class LateColumns {
  /** Ascending, in ms; `count` of them are in use. */
  times = new Float64Array(4);
  /** Bits of floats, of a histogram those of its sum. */
  values = new BigUint64Array(4);
  /** In ms, 0 where there is none; null while no sample has one. */
  startTimes: Float64Array | null = null;
  count = 0;
  /** One for each sample, undefined for a float; null while all are floats. */
  #histograms: (StoredHistogram | undefined)[] | null = null;

  get firstTime(): number {
    return this.times[0] as number;
  }

  get lastTime(): number {
    return this.times[this.count - 1] as number;
  }

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

  at(time: number): SampleValue | undefined {
    const i = this.from(time);
    return i < this.count && this.times[i] === time ? this.value(i) : undefined;
  }

  value(index: number): SampleValue {
    return this.#histograms?.[index] ?? (this.values[index] as bigint);
  }

  /** There must be no sample of this time. */
  insert(time: number, startTime: number, value: SampleValue): void {
    if (startTime !== 0) this.startTimes ??= new Float64Array(this.times.length);
    if (this.count === this.times.length) {
      const times = new Float64Array(this.count * 2);
      const values = new BigUint64Array(this.count * 2);
      times.set(this.times);
      values.set(this.values);
      this.times = times;
      this.values = values;
      if (this.startTimes !== null) {
        const startTimes = new Float64Array(this.count * 2);
        startTimes.set(this.startTimes);
        this.startTimes = startTimes;
      }
    }
    const i = this.from(time);
    this.times.copyWithin(i + 1, i, this.count);
    this.values.copyWithin(i + 1, i, this.count);
    this.times[i] = time;
    if (this.startTimes !== null) {
      this.startTimes.copyWithin(i + 1, i, this.count);
      this.startTimes[i] = startTime;
    }
    const isFloat = typeof value === "bigint";
    this.values[i] = isFloat ? value : value.sum;
    if (!isFloat) this.#histograms ??= Array.from({ length: this.count });
    this.#histograms?.splice(i, 0, isFloat ? undefined : value);
    this.count++;
  }

  /** Takes the samples of [mint, maxt] out; null when there is none. */
  take(mint: number, maxt: number): LateColumns | null {
    const from = this.from(mint);
    const to = this.from(maxt + 1);
    if (from === to) return null;
    const taken = new LateColumns();
    taken.times = this.times.slice(from, to);
    taken.values = this.values.slice(from, to);
    taken.startTimes = this.startTimes?.slice(from, to) ?? null;
    taken.count = to - from;
    if (this.#histograms !== null) {
      taken.#histograms = this.#histograms.slice(from, to);
      this.#histograms.splice(from, to - from);
    }
    this.times.copyWithin(from, to, this.count);
    this.values.copyWithin(from, to, this.count);
    this.startTimes?.copyWithin(from, to, this.count);
    this.count -= to - from;
    return taken;
  }

  /** In units of `roomOf`. */
  get room(): number {
    let room = this.count;
    for (const histogram of this.#histograms ?? []) room += roomOf(histogram) - 1;
    return room;
  }

  chunks(mint: number, maxt: number): Chunk[] {
    const from = this.from(mint);
    const to = this.from(maxt + 1);
    const startTimes = this.startTimes?.subarray(from, to) ?? null;
    const isStarted = startTimes?.some((startTime) => startTime !== 0) === true;
    if (this.#histograms !== null || isStarted) {
      const histograms = this.#histograms?.slice(from, to) as StoredHistogram[] | undefined;
      const samples = {
        times: BigInt64Array.from(this.times.subarray(from, to), BigInt),
        startTimes: startTimes === null ? null : BigInt64Array.from(startTimes, BigInt),
        values: this.values.subarray(from, to),
        histograms: histograms ?? null,
      };
      return encodeSamples(samples, isStarted);
    }
    const chunks: Chunk[] = [];
    for (let start = from; start < to; start += CHUNK_SAMPLES) {
      const end = Math.min(start + CHUNK_SAMPLES, to);
      const chunk = new XorAppender();
      for (let i = start; i < end; i++) {
        chunk.append(BigInt(this.times[i] as number), this.values[i] as bigint);
      }
      chunks.push({
        minTime: this.times[start] as number,
        maxTime: this.times[end - 1] as number,
        encoding: ChunkEncoding.XOR,
        data: chunk.bytes(),
      });
    }
    return chunks;
  }
}
