/** Chunks of every encoding as samples: exact, or in the columns that queries read; and back into chunks. */

import { xor2DecodeChunk, xor2ToXor, xorDecodeChunk } from "@torus/kernels";
import { type Chunk, ChunkEncoding, type Histogram } from "@torus/model";
import {
  decodeHistograms,
  HistogramChunkWriter,
  type HistogramEncoding,
  readHistogramHeader,
} from "./histogram.ts";
import { CounterResetHeader, STALE_BITS, type StoredSamples } from "./samples.ts";
import { EMPTY_LAYOUT, toModelHistogram } from "./stored-histogram.ts";
import { decodeXor, XorAppender } from "./xor.ts";
import { ChunkMalformedError } from "./xor-window.ts";
import { decodeXor2, Xor2Appender } from "./xor2.ts";

/** Samples of one chunk, as `SeriesColumns` has them. */
export type ChunkColumns = {
  /** Milliseconds, rounded above 2^53. */
  timestamps: Float64Array;
  /** Bit patterns are kept; of a histogram its sum. */
  values: Float64Array;
  /** null for a chunk of floats. */
  histograms: Histogram[] | null;
  /** null where the encoding has none. */
  startTimestamps: Float64Array | null;
};

/** What a chunk is made of: the parts of `Chunk` that decoding needs. */
export type ChunkBytes = Pick<Chunk, "encoding" | "data">;

export function isHistogramEncoding(encoding: number): encoding is HistogramEncoding {
  return (
    encoding === ChunkEncoding.HISTOGRAM ||
    encoding === ChunkEncoding.FLOAT_HISTOGRAM ||
    encoding === ChunkEncoding.HISTOGRAM_ST ||
    encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST
  );
}

/** The number of samples that a chunk's header claims. @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
export function chunkSampleCount({ encoding, data }: ChunkBytes): number {
  if (isHistogramEncoding(encoding)) return readHistogramHeader(data, encoding).count;
  if (encoding !== ChunkEncoding.XOR && encoding !== ChunkEncoding.XOR2) {
    throw new ChunkMalformedError(encoding, "unknown encoding");
  }
  return data.length < 2 ? 0 : ((data[0] as number) << 8) | (data[1] as number);
}

/** @throws {ChunkTruncatedError} @throws {ChunkMalformedError} also for an encoding that is no plain chunk's. */
export function decodeSamples({ encoding, data }: ChunkBytes): StoredSamples {
  if (encoding === ChunkEncoding.XOR) return decodeXor(data);
  if (encoding === ChunkEncoding.XOR2) return decodeXor2(data);
  if (isHistogramEncoding(encoding)) return decodeHistograms(data, encoding);
  throw new ChunkMalformedError(encoding, "unknown encoding");
}

/**
 * The samples within [mint, maxt], both in ms and inclusive.
 *
 * @throws {XorChunkTruncatedError} @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
 */
export function decodeChunk(chunk: ChunkBytes, mint: number, maxt: number): ChunkColumns {
  const { timestamps, values, histograms, startTimestamps } = decodeColumns(chunk);
  let from = 0;
  let to = timestamps.length;
  while (from < to && (timestamps[from] as number) < mint) from++;
  while (to > from && (timestamps[to - 1] as number) > maxt) to--;
  return {
    timestamps: timestamps.subarray(from, to),
    values: values.subarray(from, to),
    histograms: histograms?.slice(from, to) ?? null,
    startTimestamps: startTimestamps?.subarray(from, to) ?? null,
  };
}

function decodeColumns(chunk: ChunkBytes): ChunkColumns {
  if (chunk.encoding === ChunkEncoding.XOR) {
    const count = chunkSampleCount(chunk);
    const timestamps = new Float64Array(count);
    const values = new Float64Array(count);
    xorDecodeChunk(chunk.data, timestamps, values);
    return { timestamps, values, histograms: null, startTimestamps: null };
  }
  if (chunk.encoding === ChunkEncoding.XOR2) {
    const columns = xor2DecodeChunk(chunk.data);
    // What is wrong with a damaged chunk is said below.
    if (columns !== null) {
      const { times: timestamps, values, starts: startTimestamps } = columns;
      return { timestamps, values, histograms: null, startTimestamps };
    }
  }
  const { times, startTimes, values, histograms } = decodeSamples(chunk);
  return {
    timestamps: Float64Array.from(times, Number),
    values: new Float64Array(values.buffer),
    histograms: histograms?.map(toModelHistogram) ?? null,
    startTimestamps: startTimes === null ? null : Float64Array.from(startTimes, Number),
  };
}

/** The same samples in an encoding that StoreAPI has a number for; start timestamps are left out. */
export function withoutStartTimes(chunk: Chunk): Chunk {
  if (chunk.encoding === ChunkEncoding.XOR2) {
    const data = (isWithinDoubles(chunk) ? xor2ToXor(chunk.data) : null) ?? xorOf(chunk.data);
    return { ...chunk, encoding: ChunkEncoding.XOR, data };
  }
  if (
    chunk.encoding === ChunkEncoding.HISTOGRAM_ST ||
    chunk.encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST
  ) {
    const encoding =
      chunk.encoding === ChunkEncoding.HISTOGRAM_ST
        ? ChunkEncoding.HISTOGRAM
        : ChunkEncoding.FLOAT_HISTOGRAM;
    return { ...chunk, encoding, data: keepOf(chunk, encoding, () => true).data };
  }
  return chunk;
}

/** Whether the chunk's times are exact as doubles. */
export function isWithinDoubles({ minTime, maxTime }: Pick<Chunk, "minTime" | "maxTime">): boolean {
  return minTime > -(2 ** 53) && maxTime < 2 ** 53;
}

function xorOf(chunk: Uint8Array): Uint8Array {
  const { times, values } = decodeXor2(chunk);
  const out = new XorAppender();
  for (let i = 0; i < times.length; i++) out.append(times[i] as bigint, values[i] as bigint);
  return out.bytes();
}

/**
 * The chunk with only the samples of the times that `keep` accepts, or null when none is left.
 *
 * @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
 */
export function keepSamples(chunk: Chunk, keep: (time: number) => boolean): Chunk | null {
  const { encoding } = chunk;
  const kept = keepOf(chunk, encoding, keep);
  if (kept.count === 0) return null;
  return { encoding, data: kept.data, minTime: kept.minTime, maxTime: kept.maxTime };
}

type Kept = { data: Uint8Array; count: number; minTime: number; maxTime: number };

function keepOf(chunk: ChunkBytes, encoding: ChunkEncoding, keep: (time: number) => boolean): Kept {
  const { times, startTimes, values, histograms } = decodeSamples(chunk);
  const kept: number[] = [];
  for (let i = 0; i < times.length; i++) if (keep(Number(times[i]))) kept.push(i);
  const bounds = {
    count: kept.length,
    minTime: Number(times[kept[0] ?? 0] ?? 0n),
    maxTime: Number(times[kept.at(-1) ?? 0] ?? 0n),
  };
  if (!isHistogramEncoding(encoding) || !isHistogramEncoding(chunk.encoding)) {
    const out = encoding === ChunkEncoding.XOR ? new XorAppender() : new Xor2Appender();
    for (const i of kept) {
      out.append(times[i] as bigint, values[i] as bigint, startTimes?.[i] ?? 0n);
    }
    return { ...bounds, data: out.bytes() };
  }
  const { counterResetHeader } = readHistogramHeader(chunk.data, chunk.encoding);
  const withBuckets = histograms?.find(({ sum }) => sum !== STALE_BITS);
  const out = new HistogramChunkWriter(encoding, withBuckets?.layout ?? EMPTY_LAYOUT);
  for (const i of kept) {
    const histogram = histograms?.[i];
    if (histogram !== undefined) out.append(times[i] as bigint, startTimes?.[i] ?? 0n, histogram);
  }
  // Inside a chunk nothing was reset, so behind a first sample that went it is known that nothing was.
  const header =
    kept[0] === 0 || counterResetHeader === CounterResetHeader.GAUGE
      ? counterResetHeader
      : CounterResetHeader.NOT_RESET;
  return { ...bounds, data: out.bytes(header) };
}

/** What kind of sample a chunk holds, for the counts in meta.json. */
export function holdsFloats(encoding: ChunkEncoding): boolean {
  return !isHistogramEncoding(encoding) && encoding !== ChunkEncoding.AGGREGATE;
}
