/**
 * The head's series as they lie in the kernels' memory (drawn in kernels/assembly/xor.ts), for readers.
 * A series is its address; all functions take the kernel and it.
 */

import type { Kernel } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import { type HistogramChunkMark, markedChunk } from "../chunkenc/histogram-appender.ts";

const LABELS = 0;
const LABEL_BYTES = 4;
const REF = 12;
const LAST_TIME = 16;
const LAST_VALUE = 24;
const OPEN_SLOT = 48;
const NEWEST_CLOSED = 52;
const OPEN_BYTES = 56;
const OPEN_SAMPLES = 58;
const FLAGS = 63;
const STARTED = 2;
const HAS_SAMPLE = 4;
const HISTOGRAM = 16;

const SLOT_DATA = 8;
const CLOSED_BYTES = 4;
const CLOSED_SAMPLES = 6;
const CLOSED_MIN_TIME = 8;
const CLOSED_MAX_TIME = 16;
const CLOSED_DATA = 24;
/** Of chunks that are not XOR, whose CLOSED_BYTES is 0. */
const ENCODED_BYTES = 24;
const ENCODED_ENCODING = 28;
const ENCODED_DATA = 32;

export function seriesRef(k: Kernel, series: number): number {
  return k.words[(series + REF) >>> 2] as number;
}

export function hasSample(k: Kernel, series: number): boolean {
  return ((k.bytes[series + FLAGS] as number) & HAS_SAMPLE) !== 0;
}

/** Whether the last sample is a native histogram, or one that is being appended. */
export function isHistogramSeries(k: Kernel, series: number): boolean {
  return ((k.bytes[series + FLAGS] as number) & HISTOGRAM) !== 0;
}

export function setHistogramFlag(k: Kernel, series: number, on: boolean): void {
  const flags = k.bytes[series + FLAGS] as number;
  k.bytes[series + FLAGS] = on ? flags | HISTOGRAM : flags & ~HISTOGRAM;
}

/** Whether the last sample has a start timestamp. */
export function setStartedFlag(k: Kernel, series: number, on: boolean): void {
  const flags = k.bytes[series + FLAGS] as number;
  k.bytes[series + FLAGS] = on ? flags | STARTED : flags & ~STARTED;
}

/** A native histogram of this time is the series' last sample now. */
export function noteHistogram(k: Kernel, series: number, time: number): void {
  k.view.setBigInt64(series + LAST_TIME, BigInt(time), true);
  k.bytes[series + FLAGS] = (k.bytes[series + FLAGS] as number) | HISTOGRAM | HAS_SAMPLE;
}

/** Bits of the last sample when it is a float. */
export function lastBits(k: Kernel, series: number): bigint {
  return k.view.getBigUint64(series + LAST_VALUE, true);
}

/** Time of the last sample in ms; meaningless when there is none. */
export function lastTime(k: Kernel, series: number): number {
  return Number(k.view.getBigInt64(series + LAST_TIME, true));
}

export function newestClosed(k: Kernel, series: number): number {
  return k.words[(series + NEWEST_CLOSED) >>> 2] as number;
}

/** Time of the open chunk's first sample in ms; Infinity when no chunk is open. */
export function openChunkStart(k: Kernel, series: number): number {
  const slot = k.words[(series + OPEN_SLOT) >>> 2] as number;
  return slot === 0 ? Number.POSITIVE_INFINITY : Number(k.view.getBigInt64(slot, true));
}

export function openSamples(k: Kernel, series: number): number {
  return k.view.getUint16(series + OPEN_SAMPLES, true);
}

export function isEmpty(k: Kernel, series: number): boolean {
  const words = k.words;
  return words[(series + OPEN_SLOT) >>> 2] === 0 && words[(series + NEWEST_CLOSED) >>> 2] === 0;
}

/** Time of the oldest sample in ms, Infinity for an empty series. */
export function earliestTime(k: Kernel, series: number): number {
  const { view, words } = k;
  let node = newestClosed(k, series);
  if (node === 0) {
    const slot = words[(series + OPEN_SLOT) >>> 2] as number;
    return slot === 0 ? Number.POSITIVE_INFINITY : Number(view.getBigInt64(slot, true));
  }
  for (let older = words[node >>> 2] as number; older !== 0; older = words[node >>> 2] as number) {
    node = older;
  }
  return Number(view.getBigInt64(node + CLOSED_MIN_TIME, true));
}

/** A view of the canonical Label fields. */
export function labelBytes(k: Kernel, series: number): Uint8Array {
  const at = k.words[(series + LABELS) >>> 2] as number;
  const length = k.words[(series + LABEL_BYTES) >>> 2] as number;
  return k.bytes.subarray(at, at + length);
}

/** A chunk in memory: its bytes are a view, and the open chunk's change with the next append. */
export type MemoryChunk = {
  encoding: ChunkEncoding;
  minTime: number;
  maxTime: number;
  samples: number;
  /** The open chunk of a series of histograms, which lies in no memory of the kernels'; `at` and `length` are 0. */
  histogram: HistogramChunkMark | null;
  at: number;
  length: number;
};

/** What a reader may see of a series: everything up to this moment, whatever is appended later. */
export type SeriesMark = {
  newestClosed: number;
  openSamples: number;
  lastTime: number;
  /** Of a series of histograms, whose `openSamples` is 0. */
  histogram: (HistogramChunkMark & { encoding: ChunkEncoding }) | null;
};

/** The newest closed chunk that does not end before `floor`, or 0: those may be freed at any time. */
export function newestClosedFrom(k: Kernel, series: number, floor: number): number {
  const node = newestClosed(k, series);
  return endsBefore(k, node, floor) ? 0 : node;
}

function endsBefore(k: Kernel, node: number, floor: number): boolean {
  return node === 0 || Number(k.view.getBigInt64(node + CLOSED_MAX_TIME, true)) < floor;
}

/**
 * The chunks that were there at the mark and do not end before `floor`, ascending. The chunk that was open then
 * may have been closed since; `samples` is what it had at the mark.
 */
export function chunksAt(
  k: Kernel,
  series: number,
  mark: SeriesMark,
  floor: number,
): MemoryChunk[] {
  const out: MemoryChunk[] = [];
  const { view, words } = k;
  const isMarked = (node: number) => node === mark.newestClosed || endsBefore(k, node, floor);
  if (mark.openSamples > 0) {
    let at = 0;
    let length = 0;
    let minTime = 0;
    let node = newestClosed(k, series);
    if (isMarked(node)) {
      const slot = words[(series + OPEN_SLOT) >>> 2] as number;
      at = slot + SLOT_DATA;
      length = view.getUint16(series + OPEN_BYTES, true);
      minTime = Number(view.getBigInt64(slot, true));
    } else {
      for (;;) {
        const older = words[node >>> 2] as number;
        if (isMarked(older)) break;
        node = older;
      }
      at = node + CLOSED_DATA;
      length = view.getUint16(node + CLOSED_BYTES, true);
      minTime = Number(view.getBigInt64(node + CLOSED_MIN_TIME, true));
    }
    const { lastTime: maxTime, openSamples: samples } = mark;
    const encoding = ChunkEncoding.XOR;
    out.push({ encoding, minTime, maxTime, samples, at, length, histogram: null });
  } else if (mark.histogram !== null && mark.lastTime >= floor) {
    const { histogram } = mark;
    out.push({
      encoding: histogram.encoding,
      minTime: Number(histogram.minTime),
      maxTime: Number(histogram.maxTime),
      samples: histogram.count,
      at: 0,
      length: 0,
      histogram,
    });
  }
  let node = mark.newestClosed;
  for (; !endsBefore(k, node, floor); node = words[node >>> 2] as number) {
    const length = view.getUint16(node + CLOSED_BYTES, true);
    const isXor = length !== 0;
    out.push({
      encoding: (isXor
        ? ChunkEncoding.XOR
        : words[(node + ENCODED_ENCODING) >>> 2]) as ChunkEncoding,
      minTime: Number(view.getBigInt64(node + CLOSED_MIN_TIME, true)),
      maxTime: Number(view.getBigInt64(node + CLOSED_MAX_TIME, true)),
      samples: view.getUint16(node + CLOSED_SAMPLES, true),
      at: node + (isXor ? CLOSED_DATA : ENCODED_DATA),
      length: isXor ? length : (words[(node + ENCODED_BYTES) >>> 2] as number),
      histogram: null,
    });
  }
  return out.reverse();
}

/** The chunk's bytes in a buffer of their own, with the sample count of the mark. */
export function copyChunk(k: Kernel, chunk: MemoryChunk): Uint8Array {
  if (chunk.histogram !== null) return markedChunk(chunk.histogram);
  const data = new Uint8Array(chunk.length);
  data.set(k.bytes.subarray(chunk.at, chunk.at + chunk.length));
  // A reader decodes as many samples as the count says; bits behind them are another append's.
  data[0] = chunk.samples >> 8;
  data[1] = chunk.samples & 0xff;
  return data;
}
