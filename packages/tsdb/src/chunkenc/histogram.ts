/**
 * Native histogram chunks: 2 integer, 3 float, 5 and 6 the same with start timestamps (Prometheus, tsdb/docs/format/chunks.md).
 *
 *   2, 3   u16 samples                          | u2 counter reset header, u6 0 | layout | sample*
 *   5, 6   u2 counter reset header, u14 samples | u8 start time header          | layout | sample*
 *
 *   integer sample 0     varbit_int t, varbit_uint count, varbit_uint zero count, f64 sum, varbit_int per bucket
 *   integer, others      varbit_int delta of delta of t, count, zero count; varbit_xor sum; varbit_int per bucket
 *   float sample 0       varbit_int t, f64 count, f64 zero count, f64 sum, f64 per bucket
 *   float, others        varbit_int delta of delta of t; varbit_xor count, zero count, sum, per bucket
 *
 * Behind each sample its start timestamp in 5 and 6. A stale sample has no buckets; only stale ones may follow it.
 */

import { BitReader, BitWriter, ChunkTruncatedError } from "@torus/encoding";
import { ChunkEncoding } from "@torus/model";
import { readLayout, writeLayout } from "./histogram-layout.ts";
import { hintOf, STALE_BITS, type StoredSamples } from "./samples.ts";
import { StartTimeReader, StartTimeWriter } from "./start-times.ts";
import {
  bucketsOf,
  type HistogramLayout,
  type StoredHistogram,
  staleHistogram,
} from "./stored-histogram.ts";
import { readVarbitInt, readVarbitUint, writeVarbitInt, writeVarbitUint } from "./varbit.ts";
import { checkCount } from "./xor.ts";
import { ChunkMalformedError, XorWindow } from "./xor-window.ts";

export type HistogramEncoding = 2 | 3 | 5 | 6;

const HEADER_BYTES = 3;
/**
 * Bucket counts of all samples together. A bucket that does not change takes a bit, so that without a limit a chunk of a
 * megabyte could ask for a gigabyte. Real chunks have some thousand.
 */
const MAX_BUCKET_COUNTS = 1 << 24;

export function isFloatEncoding(encoding: HistogramEncoding): boolean {
  return (
    encoding === ChunkEncoding.FLOAT_HISTOGRAM || encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST
  );
}

export function hasStartTimes(encoding: HistogramEncoding): boolean {
  return encoding === ChunkEncoding.HISTOGRAM_ST || encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST;
}

/** The most samples that the count field holds. */
export function maxSamples(encoding: HistogramEncoding): number {
  return hasStartTimes(encoding) ? 0x3fff : 0xffff;
}

const wrap = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Writes samples that have one layout (or are stale); which may follow which is `HistogramAppender`'s. */
export class HistogramChunkWriter {
  readonly encoding: HistogramEncoding;
  readonly #out = new BitWriter();
  readonly #startTimes: StartTimeWriter | null;
  #count = 0;
  #time = 0n;
  #timeDelta = 0n;
  #total = 0n;
  #totalDelta = 0n;
  #zero = 0n;
  #zeroDelta = 0n;
  #buckets: BigInt64Array = new BigInt64Array(0);
  #bucketDeltas: BigInt64Array = new BigInt64Array(0);
  #sum = new XorWindow(0n);
  #floatTotal = new XorWindow(0n);
  #floatZero = new XorWindow(0n);
  #floatBuckets: XorWindow[] = [];

  /** @param layout Of all samples that are not stale. */
  constructor(encoding: HistogramEncoding, layout: HistogramLayout) {
    this.encoding = encoding;
    this.#startTimes = hasStartTimes(encoding) ? new StartTimeWriter() : null;
    this.#out.bits(0, 8 * HEADER_BYTES);
    writeLayout(this.#out, layout);
  }

  get count(): number {
    return this.#count;
  }

  append(time: bigint, startTime: bigint, histogram: StoredHistogram): void {
    const stale = histogram.sum === STALE_BITS;
    const sample = stale ? staleHistogram(histogram.float) : histogram;
    const first = this.#count === 0;
    const delta = first ? 0n : wrap(time - this.#time);
    writeVarbitInt(this.#out, first ? time : wrap(delta - this.#timeDelta));
    this.#time = time;
    this.#timeDelta = delta;
    if (isFloatEncoding(this.encoding)) this.#appendFloat(sample, first);
    else this.#appendInteger(sample, first, stale);
    this.#startTimes?.write(this.#out, this.#count, time, startTime);
    this.#count++;
  }

  #appendInteger(sample: StoredHistogram, first: boolean, stale: boolean): void {
    const out = this.#out;
    const { positive, negative } = sample;
    if (first) {
      writeVarbitUint(out, sample.count);
      writeVarbitUint(out, sample.zeroCount);
      out.bitsBig(sample.sum, 64);
      this.#sum = new XorWindow(sample.sum);
      this.#buckets = new BigInt64Array(positive.length + negative.length);
      this.#buckets.set(positive);
      this.#buckets.set(negative, positive.length);
      this.#bucketDeltas = new BigInt64Array(this.#buckets.length);
      for (const bucket of this.#buckets) writeVarbitInt(out, bucket);
    } else {
      // Of a stale sample the differences are those of a count that goes on as it did.
      const totalDelta = stale ? this.#totalDelta : wrap(sample.count - this.#total);
      const zeroDelta = stale ? this.#zeroDelta : wrap(sample.zeroCount - this.#zero);
      writeVarbitInt(out, wrap(totalDelta - this.#totalDelta));
      writeVarbitInt(out, wrap(zeroDelta - this.#zeroDelta));
      this.#totalDelta = totalDelta;
      this.#zeroDelta = zeroDelta;
      this.#sum.write(out, sample.sum);
      if (stale) return;
      for (let i = 0; i < this.#buckets.length; i++) {
        const bucket = (
          i < positive.length ? positive[i] : negative[i - positive.length]
        ) as bigint;
        const delta = wrap(bucket - (this.#buckets[i] as bigint));
        writeVarbitInt(out, wrap(delta - (this.#bucketDeltas[i] as bigint)));
        this.#buckets[i] = bucket;
        this.#bucketDeltas[i] = delta;
      }
    }
    this.#total = sample.count;
    this.#zero = sample.zeroCount;
  }

  #appendFloat(sample: StoredHistogram, first: boolean): void {
    const out = this.#out;
    const buckets = [...sample.positive, ...sample.negative].map((bits) =>
      BigInt.asUintN(64, bits),
    );
    if (first) {
      for (const bits of [sample.count, sample.zeroCount, sample.sum]) out.bitsBig(bits, 64);
      this.#floatTotal = new XorWindow(sample.count);
      this.#floatZero = new XorWindow(sample.zeroCount);
      this.#sum = new XorWindow(sample.sum);
      this.#floatBuckets = buckets.map((bits) => new XorWindow(bits));
      for (const bits of buckets) out.bitsBig(bits, 64);
      return;
    }
    this.#floatTotal.write(out, sample.count);
    this.#floatZero.write(out, sample.zeroCount);
    this.#sum.write(out, sample.sum);
    for (const [i, bits] of buckets.entries()) this.#floatBuckets[i]?.write(out, bits);
  }

  /** The chunk so far, in memory of its own. */
  bytes(counterResetHeader: number): Uint8Array {
    const bytes = this.#out.written.slice();
    bytes[0] = this.#count >>> 8;
    bytes[1] = this.#count & 0xff;
    const header = counterResetHeader << 6;
    if (this.#startTimes === null) bytes[2] = header;
    else {
      bytes[0] |= header;
      bytes[2] = this.#startTimes.header;
    }
    return bytes;
  }

  get hasStartTimes(): boolean {
    return this.#startTimes !== null;
  }

  get sizeBytes(): number {
    return this.#out.written.length;
  }
}

/** The counter reset header, and the number of samples. @throws {ChunkTruncatedError} */
export function readHistogramHeader(
  chunk: Uint8Array,
  encoding: HistogramEncoding,
): { counterResetHeader: number; count: number } {
  if (chunk.length < HEADER_BYTES) throw new ChunkTruncatedError(8 * HEADER_BYTES, 0, chunk.length);
  const word = ((chunk[0] as number) << 8) | (chunk[1] as number);
  return hasStartTimes(encoding)
    ? { counterResetHeader: word >>> 14, count: word & 0x3fff }
    : { counterResetHeader: (chunk[2] as number) >>> 6, count: word };
}

/** @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
export function decodeHistograms(chunk: Uint8Array, encoding: HistogramEncoding): StoredSamples {
  const { counterResetHeader, count } = readHistogramHeader(chunk, encoding);
  checkCount(chunk, count);
  const reader = new BitReader(chunk, 8 * HEADER_BYTES);
  const starts = hasStartTimes(encoding) ? new StartTimeReader(chunk[2] as number) : null;
  const layout = readLayout(reader, encoding, chunk.length);
  const read = isFloatEncoding(encoding)
    ? floatSamples(reader, layout, encoding)
    : integerSamples(reader, layout, encoding);
  const times = new BigInt64Array(count);
  const startTimes = starts === null ? null : new BigInt64Array(count);
  const values = new BigUint64Array(count);
  const histograms: StoredHistogram[] = [];
  const buckets = bucketsOf(layout.positiveSpans) + bucketsOf(layout.negativeSpans);
  if (buckets * count > MAX_BUCKET_COUNTS) {
    throw new ChunkMalformedError(encoding, `${count} samples of ${buckets} buckets`);
  }
  let time = 0n;
  let delta = 0n;
  for (let i = 0; i < count; i++) {
    if (i === 0) time = readVarbitInt(reader);
    else {
      delta = wrap(delta + readVarbitInt(reader));
      time = wrap(time + delta);
    }
    const sample = read(i === 0, () => {
      if (buckets > chunk.length * 8 - reader.bit) {
        throw new ChunkTruncatedError(buckets, reader.bit, chunk.length);
      }
    });
    sample.hint = hintOf(counterResetHeader, i, sample.sum === STALE_BITS);
    times[i] = time;
    values[i] = sample.sum;
    histograms.push(sample);
    if (starts !== null && startTimes !== null) startTimes[i] = starts.read(reader, i, time);
  }
  return { times, startTimes, values, histograms };
}

/** @returns What reads the next sample, its time already read. `checkRoom` throws before buckets get memory. */
type ReadSample = (first: boolean, checkRoom: () => void) => StoredHistogram;

function integerSamples(
  reader: BitReader,
  layout: HistogramLayout,
  encoding: HistogramEncoding,
): ReadSample {
  const positives = bucketsOf(layout.positiveSpans);
  const total = positives + bucketsOf(layout.negativeSpans);
  let count = 0n;
  let countDelta = 0n;
  let zeroCount = 0n;
  let zeroDelta = 0n;
  let sum = new XorWindow(0n);
  let buckets = new BigInt64Array(0);
  let deltas = new BigInt64Array(0);
  return (first, checkRoom) => {
    if (first) {
      count = readVarbitUint(reader);
      zeroCount = readVarbitUint(reader);
      sum = new XorWindow(reader.bitsBig(64));
    } else {
      countDelta = wrap(countDelta + readVarbitInt(reader));
      count = BigInt.asUintN(64, count + countDelta);
      zeroDelta = wrap(zeroDelta + readVarbitInt(reader));
      zeroCount = BigInt.asUintN(64, zeroCount + zeroDelta);
      sum.read(reader, encoding);
    }
    if (sum.bits === STALE_BITS) return staleHistogram(false);
    if (buckets.length !== total) {
      checkRoom();
      buckets = new BigInt64Array(total);
      deltas = new BigInt64Array(total);
    }
    for (let i = 0; i < total; i++) {
      if (first) {
        buckets[i] = readVarbitInt(reader);
        continue;
      }
      const delta = wrap((deltas[i] as bigint) + readVarbitInt(reader));
      deltas[i] = delta;
      buckets[i] = (buckets[i] as bigint) + delta;
    }
    return {
      float: false,
      hint: "unknown",
      layout,
      zeroCount,
      count,
      sum: sum.bits,
      positive: buckets.slice(0, positives),
      negative: buckets.slice(positives),
    };
  };
}

function floatSamples(
  reader: BitReader,
  layout: HistogramLayout,
  encoding: HistogramEncoding,
): ReadSample {
  const positives = bucketsOf(layout.positiveSpans);
  const total = positives + bucketsOf(layout.negativeSpans);
  let count = new XorWindow(0n);
  let zeroCount = new XorWindow(0n);
  let sum = new XorWindow(0n);
  let windows: XorWindow[] = [];
  return (first, checkRoom) => {
    if (first) {
      count = new XorWindow(reader.bitsBig(64));
      zeroCount = new XorWindow(reader.bitsBig(64));
      sum = new XorWindow(reader.bitsBig(64));
    } else for (const window of [count, zeroCount, sum]) window.read(reader, encoding);
    if (sum.bits === STALE_BITS) return staleHistogram(true);
    if (windows.length !== total) {
      checkRoom();
      windows = Array.from({ length: total }, () => new XorWindow(0n));
    }
    const buckets = new BigInt64Array(total);
    for (const [i, window] of windows.entries()) {
      if (first) window.bits = reader.bitsBig(64);
      else window.read(reader, encoding);
      buckets[i] = window.bits;
    }
    return {
      float: true,
      hint: "unknown",
      layout,
      zeroCount: zeroCount.bits,
      count: count.bits,
      sum: sum.bits,
      positive: buckets.slice(0, positives),
      negative: buckets.slice(positives),
    };
  };
}
