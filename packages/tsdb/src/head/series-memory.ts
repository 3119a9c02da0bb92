/**
 * The head's series as they lie in the kernels' memory (drawn in kernels/assembly/xor.ts), for readers.
 * A series is its address; all functions take the kernel and it.
 */

import type { Kernel } from "@torus/kernels";

const LABELS = 0;
const LABEL_BYTES = 4;
const REF = 12;
const LAST_TIME = 16;
const OPEN_SLOT = 48;
const NEWEST_CLOSED = 52;
const OPEN_BYTES = 56;
const OPEN_SAMPLES = 58;
const FLAGS = 63;
const HAS_SAMPLE = 4;

const SLOT_DATA = 8;
const CLOSED_BYTES = 4;
const CLOSED_SAMPLES = 6;
const CLOSED_MIN_TIME = 8;
const CLOSED_MAX_TIME = 16;
const CLOSED_DATA = 24;

export function seriesRef(k: Kernel, series: number): number {
  return k.words[(series + REF) >>> 2] as number;
}

export function hasSample(k: Kernel, series: number): boolean {
  return ((k.bytes[series + FLAGS] as number) & HAS_SAMPLE) !== 0;
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
  minTime: number;
  maxTime: number;
  samples: number;
  at: number;
  length: number;
};

/** What a reader may see of a series: everything up to this moment, whatever is appended later. */
export type SeriesMark = { newestClosed: number; openSamples: number; lastTime: number };

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
    out.push({ minTime, maxTime: mark.lastTime, samples: mark.openSamples, at, length });
  }
  let node = mark.newestClosed;
  for (; !endsBefore(k, node, floor); node = words[node >>> 2] as number) {
    out.push({
      minTime: Number(view.getBigInt64(node + CLOSED_MIN_TIME, true)),
      maxTime: Number(view.getBigInt64(node + CLOSED_MAX_TIME, true)),
      samples: view.getUint16(node + CLOSED_SAMPLES, true),
      at: node + CLOSED_DATA,
      length: view.getUint16(node + CLOSED_BYTES, true),
    });
  }
  return out.reverse();
}

/** The chunk's bytes in a buffer of their own, with the sample count of the mark. */
export function copyChunk(k: Kernel, chunk: MemoryChunk): Uint8Array {
  const data = new Uint8Array(chunk.length);
  data.set(k.bytes.subarray(chunk.at, chunk.at + chunk.length));
  // A reader decodes as many samples as the count says; bits behind them are another append's.
  data[0] = chunk.samples >> 8;
  data[1] = chunk.samples & 0xff;
  return data;
}
