/**
 * Samples of one replica in columns, and how chunks become them.
 *
 * Values are copied as 32-bit words: a number on the way might lose a NaN's bits.
 */

import { xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding, dividedHistogram, type Histogram } from "@torus/model";
import { claimedSamples } from "@torus/protocol";
import { decodeChunk } from "@torus/tsdb";
import { AggregatesUnequalError, type SampleChunk } from "./averages.ts";

export type Columns = {
  /** Milliseconds, ascending. */
  timestamps: Float64Array;
  values: Float64Array;
  /** Undefined where the sample is a float; null where all are. */
  histograms: readonly (Histogram | undefined)[] | null;
  /** In ms, 0 where there is none; null where none has one. */
  startTimestamps: Float64Array | null;
};

export const NO_COLUMNS: Columns = {
  timestamps: new Float64Array(0),
  values: new Float64Array(0),
  histograms: null,
  startTimestamps: null,
};

/** Columns that grow at their end; `take` hands them over. */
export class ColumnBuilder {
  #timestamps: Float64Array;
  #values: Float64Array;
  #words: Uint32Array;
  /** Made by the first histogram; a hole is a float. */
  #histograms: (Histogram | undefined)[] | null = null;
  /** Made by the first that is not 0. */
  #startTimestamps: Float64Array | null = null;
  length = 0;

  constructor(capacity: number) {
    this.#timestamps = new Float64Array(capacity);
    this.#values = new Float64Array(capacity);
    this.#words = new Uint32Array(this.#values.buffer);
  }

  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#timestamps.length) return;
    const capacity = Math.max(needed, this.#timestamps.length * 2);
    const timestamps = new Float64Array(capacity);
    const values = new Float64Array(capacity);
    timestamps.set(this.#timestamps.subarray(0, this.length));
    values.set(this.#values.subarray(0, this.length));
    this.#timestamps = timestamps;
    this.#values = values;
    this.#words = new Uint32Array(values.buffer);
    if (this.#startTimestamps === null) return;
    const startTimestamps = new Float64Array(capacity);
    startTimestamps.set(this.#startTimestamps.subarray(0, this.length));
    this.#startTimestamps = startTimestamps;
  }

  get lastTime(): number {
    return this.length === 0
      ? Number.NEGATIVE_INFINITY
      : (this.#timestamps[this.length - 1] as number);
  }

  /**
   * @param words The 32-bit words of the column that sample `index` is copied from.
   * @param histogram Of a native histogram the sample itself.
   */
  push(
    timestamp: number,
    words: Uint32Array,
    index: number,
    histogram?: Histogram,
    startTimestamp = 0,
  ): void {
    if (this.length === this.#timestamps.length) this.reserve(1);
    const at = this.length++;
    this.#timestamps[at] = timestamp;
    this.#words[2 * at] = words[2 * index] as number;
    this.#words[2 * at + 1] = words[2 * index + 1] as number;
    if (histogram !== undefined) this.#setHistogram(at, histogram);
    if (startTimestamp !== 0) this.#started()[at] = startTimestamp;
  }

  #started(): Float64Array {
    this.#startTimestamps ??= new Float64Array(this.#timestamps.length);
    return this.#startTimestamps;
  }

  /** Those of the last `startTimestamps.length` samples. */
  setStartTimestamps(startTimestamps: Float64Array): void {
    this.#started().set(startTimestamps, this.length - startTimestamps.length);
  }

  #setHistogram(at: number, histogram: Histogram): void {
    this.#histograms ??= [];
    while (this.#histograms.length < at) this.#histograms.push(undefined);
    this.#histograms[at] = histogram;
  }

  /** Puts histograms beside the last `histograms.length` samples. */
  setHistograms(histograms: readonly (Histogram | undefined)[]): void {
    const from = this.length - histograms.length;
    for (const [i, histogram] of histograms.entries()) {
      if (histogram !== undefined) this.#setHistogram(from + i, histogram);
    }
  }

  pushNumber(timestamp: number, value: number): void {
    if (this.length === this.#timestamps.length) this.reserve(1);
    const at = this.length++;
    this.#timestamps[at] = timestamp;
    this.#values[at] = value;
  }

  /** Room for `count` more samples behind the last one, to be filled by `fill`, which returns how many it gave. */
  append(count: number, fill: (timestamps: Float64Array, values: Float64Array) => number): void {
    this.reserve(count);
    this.length += fill(this.#timestamps.subarray(this.length), this.#values.subarray(this.length));
  }

  /** Drops the first samples of the last `count` that are not after `time`. */
  dropNotAfter(time: number, count: number): void {
    const from = this.length - count;
    let keep = from;
    while (keep < this.length && (this.#timestamps[keep] as number) <= time) keep++;
    if (keep === from) return;
    this.#timestamps.copyWithin(from, keep, this.length);
    this.#values.copyWithin(from, keep, this.length);
    this.#histograms?.splice(from, keep - from);
    this.#startTimestamps?.copyWithin(from, keep, this.length);
    this.#startTimestamps?.fill(0, this.length - (keep - from), this.length);
    this.length -= keep - from;
  }

  /** What was built; views of the builder's own memory, which it does not use again. */
  take(): Columns {
    return {
      timestamps: this.#timestamps.subarray(0, this.length),
      values: this.#values.subarray(0, this.length),
      histograms: this.#wholeHistograms(),
      startTimestamps: this.#startTimestamps?.subarray(0, this.length) ?? null,
    };
  }

  #wholeHistograms(): (Histogram | undefined)[] | null {
    const histograms = this.#histograms;
    if (histograms === null) return null;
    while (histograms.length < this.length) histograms.push(undefined);
    return histograms;
  }
}

/**
 * Decodes chunks that follow each other into one pair of columns; where the next chunk reaches back, its samples up
 * to the last one are skipped.
 *
 * @param chunks Ascending by minTime.
 * @throws {AggregatesUnequalError} @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
 * @throws {XorChunkTruncatedError}
 */
export function decodeChunks(chunks: readonly SampleChunk[]): Columns {
  let total = 0;
  for (const chunk of chunks) {
    if (chunk.encoding === ChunkEncoding.XOR) total += claimedSamples(chunk);
  }
  const out = new ColumnBuilder(total);
  for (const chunk of chunks) {
    const { data } = chunk;
    const last = out.lastTime;
    const before = out.length;
    if (chunk.encoding !== ChunkEncoding.XOR) {
      appendDecoded(out, chunk);
      if (before > 0) out.dropNotAfter(last, out.length - before);
      continue;
    }
    out.append(claimedSamples(chunk), (timestamps, values) => {
      const decoded = xorDecodeChunk(data, timestamps, values);
      if (chunk.count !== undefined) divideByCount(chunk, chunk.count, timestamps, values, decoded);
      return decoded;
    });
    if (before > 0) out.dropNotAfter(last, out.length - before);
  }
  return out.take();
}

function appendDecoded(out: ColumnBuilder, chunk: SampleChunk): void {
  const decoded = decodeChunk(chunk, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
  const { length } = decoded.timestamps;
  out.append(length, (timestamps, values) => {
    timestamps.set(decoded.timestamps);
    values.set(decoded.values);
    return length;
  });
  const { histograms, startTimestamps } = decoded;
  if (startTimestamps?.some((startTimestamp) => startTimestamp !== 0) === true) {
    out.setStartTimestamps(startTimestamps);
  }
  if (histograms === null) return;
  if (chunk.count === undefined) {
    out.setHistograms(histograms);
    return;
  }
  const counts = countsOf(chunk, chunk.count, decoded.timestamps, length);
  out.setHistograms(
    histograms.map((sum, i) => (sum.sumIsStale ? sum : dividedHistogram(sum, counts[i] as number))),
  );
}

function divideByCount(
  sum: SampleChunk,
  count: SampleChunk,
  timestamps: Float64Array,
  values: Float64Array,
  length: number,
): void {
  const counts = countsOf(sum, count, timestamps, length);
  for (let i = 0; i < length; i++) values[i] = (values[i] as number) / (counts[i] as number);
}

/** The counts of the `length` sums at `timestamps`. @throws {AggregatesUnequalError} */
function countsOf(
  sum: SampleChunk,
  { encoding, data }: SampleChunk,
  timestamps: Float64Array,
  length: number,
): Float64Array {
  if (encoding !== ChunkEncoding.XOR) {
    throw new AggregatesUnequalError(sum, `counts in a chunk of encoding ${encoding}`);
  }
  const claimed = claimedSamples({ encoding, data });
  const countTimes = new Float64Array(claimed);
  const counts = new Float64Array(claimed);
  const decoded = xorDecodeChunk(data, countTimes, counts);
  if (decoded !== length) {
    throw new AggregatesUnequalError(sum, `${length} sums and ${decoded} counts`);
  }
  for (let i = 0; i < length; i++) {
    if (countTimes[i] !== timestamps[i]) {
      throw new AggregatesUnequalError(
        sum,
        `sum ${i} is of time ${timestamps[i]}, its count of ${countTimes[i]}`,
      );
    }
  }
  return counts;
}

/** The part of the columns inside [mint, maxt], as views. */
export function clip(columns: Columns, mint: number, maxt: number): Columns {
  const { timestamps, values, histograms, startTimestamps } = columns;
  const from = lowerBound(timestamps, mint);
  const to = lowerBound(timestamps, maxt + 1);
  return {
    timestamps: timestamps.subarray(from, to),
    values: values.subarray(from, to),
    histograms: histograms?.slice(from, to) ?? null,
    startTimestamps: startTimestamps?.subarray(from, to) ?? null,
  };
}

/** Index of the first timestamp that is not before `time`. */
export function lowerBound(timestamps: Float64Array, time: number): number {
  let low = 0;
  let high = timestamps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((timestamps[middle] as number) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function wordsOfColumn(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}
