/**
 * Start timestamps of a head's floats: for each series that has some, where they change. They stay the same from one
 * restart of a counter to the next, so a series has one run for most of its life.
 *
 *   runs of a series            first time, start timestamp (0 where there is none), and so on; ms, ascending
 *   start (24 bytes, kernel)    u32 series, u32 late row + 1 or 0, i64 t, i64 start timestamp
 *   part of a snapshot          (u32 ref, u32 numbers, the numbers of its runs as f64)*
 *
 * The kernel notes in a list which of the samples that it judged change a run or have a start timestamp of their own; the
 * list becomes runs when the log has it. A series whose last sample has one is marked STARTED.
 */

import type { Kernel } from "@torus/kernels";
import { seriesRef, setStartedFlag } from "./series-memory.ts";
import { ROW_CAPACITY } from "./step-size.ts";

/** Of one tenant: 64 MiB of numbers, beside some 80 bytes for each series that has any. */
export const MAX_START_RUNS = 1 << 22;
/** Starts that one step or replayed record may list. */
export const START_CAPACITY = 2 * ROW_CAPACITY;
const START_BYTES = 24;
const STARTED_SAMPLE_BYTES = 34;
const PART_BYTES = 256 << 10;
const PART_HEADER = 8;

/** Runs of several series as columns: those of series i end at `ends[i]`, and begin where those before it end. */
export type StartColumns = { ends: Uint32Array; runs: Float64Array };

/** Bytes that are no part of a snapshot. */
export class StartRunsMalformedError extends Error {
  readonly offset: number;
  constructor(offset: number) {
    super(`start timestamps: cut short at byte ${offset}`);
    this.name = "StartRunsMalformedError";
    this.offset = offset;
  }
}

/** A start timestamp outside of 2^53, which no reader can compute with, is as good as none. */
export function knownStart(startTime: number): number {
  return Math.abs(startTime) < 2 ** 53 ? startTime : 0;
}

/** Areas that every append of the process uses in turn. */
let areas: { list: number; record: number } | undefined;

function startAreas(k: Kernel): { list: number; record: number } {
  areas ??= {
    list: k.alloc(START_CAPACITY * START_BYTES),
    record: k.alloc(ROW_CAPACITY * STARTED_SAMPLE_BYTES + 64),
  };
  return areas;
}

/** Before a prepare or a replay of samples: what these list is the head's until the next one. */
export function beginStarts({
  kernel: k,
  starts,
}: {
  readonly kernel: Kernel;
  readonly starts: StartRuns | null;
}): void {
  k.exports.startsInto(starts === null ? 0 : startAreas(k).list);
}

export class StartRuns {
  readonly #kernel: Kernel;
  readonly #most: number;
  readonly #bySeries = new Map<number, number[]>();
  /** Of all series. */
  count = 0;
  /** Runs that were given up because there were too many: their samples have no start timestamp any more. */
  forgotten = 0;

  constructor(kernel: Kernel, most = MAX_START_RUNS) {
    this.#kernel = kernel;
    this.#most = most;
  }

  /** Series that have some. */
  get size(): number {
    return this.#bySeries.size;
  }

  /** The rows of the last prepare as a record of the log; null when none of them has or ends a start timestamp. */
  record(rows: number, count: number): Uint8Array | null {
    const k = this.#kernel;
    if (k.exports.startsOfRows() === 0) return null;
    const { record } = startAreas(k);
    return k.bytes.subarray(record, k.exports.startedRecord(rows, count, record) >>> 0);
  }

  /** What the kernel listed is in the log, or from it. */
  noteListed(): void {
    const k = this.#kernel;
    if (k.exports.startsOfRows() === 0) return;
    const { words } = k;
    const end = k.exports.startsEnd() >>> 2;
    for (let at = startAreas(k).list >>> 2; at < end; at += START_BYTES / 4) {
      if (words[at + 1] !== 0) continue;
      const ref = seriesRef(k, words[at] as number);
      this.#note(ref, wide(words, at + 2), wide(words, at + 4));
    }
  }

  /** The listed samples were taken back. */
  settleListed(): void {
    const k = this.#kernel;
    const { words } = k;
    const end = k.exports.startsEnd() >>> 2;
    for (let at = startAreas(k).list >>> 2; at < end; at += START_BYTES / 4) {
      const series = words[at] as number;
      const last = this.#bySeries.get(seriesRef(k, series))?.at(-1) ?? 0;
      setStartedFlag(k, series, last !== 0);
    }
  }

  /** Start timestamps of late rows, by the row's index; null for none. */
  lateRows(): Map<number, number> | null {
    const k = this.#kernel;
    const { words } = k;
    const end = k.exports.startsEnd() >>> 2;
    let out: Map<number, number> | null = null;
    for (let at = startAreas(k).list >>> 2; at < end; at += START_BYTES / 4) {
      const lateRow = (words[at + 1] as number) - 1;
      if (lateRow < 0) continue;
      out ??= new Map();
      out.set(lateRow, wide(words, at + 4));
    }
    return out;
  }

  /** Of a sample that is newer than all before it, or of one that was noted before. @param startTime 0 for none. */
  note(series: number, time: number, startTime: number): void {
    const k = this.#kernel;
    this.#note(seriesRef(k, series), time, startTime);
    setStartedFlag(k, series, startTime !== 0);
  }

  #note(ref: number, time: number, startTime: number): void {
    const runs = this.#bySeries.get(ref);
    // A snapshot may have been written behind samples that the log still has.
    if (runs !== undefined && time <= (runs.at(-2) as number)) return;
    if ((runs?.at(-1) ?? 0) === startTime) return;
    if (this.count >= this.#most) {
      // Samples before the first run have none: forgetting the oldest makes nothing wrong.
      this.forgotten++;
      if (runs === undefined) return;
      runs.splice(0, 2);
      this.count--;
    }
    // A literal has no room behind it, which most series would never need.
    if (runs === undefined) this.#bySeries.set(ref, [time, startTime]);
    else runs.push(time, startTime);
    this.count++;
  }

  /** The runs that reach into [mint, end); null when these samples have no start timestamp. */
  within(ref: number, mint: number, end: number): readonly number[] | null {
    const runs = this.#bySeries.get(ref);
    if (runs === undefined) return null;
    let from = 0;
    while (from + 2 < runs.length && (runs[from + 2] as number) <= mint) from += 2;
    let to = from;
    let isStarted = false;
    for (; to < runs.length && (runs[to] as number) < end; to += 2) {
      isStarted ||= runs[to + 1] !== 0;
    }
    return isStarted ? runs.slice(from, to) : null;
  }

  /** Samples of the series before `mint` are gone. */
  truncate(ref: number, mint: number): void {
    const runs = this.#bySeries.get(ref);
    if (runs === undefined) return;
    let from = 0;
    while (from + 2 < runs.length && (runs[from + 2] as number) <= mint) from += 2;
    if (from > 0) runs.splice(0, from);
    this.count -= from / 2;
  }

  /** The series is gone. */
  forget(ref: number): void {
    this.count -= (this.#bySeries.get(ref)?.length ?? 0) / 2;
    this.#bySeries.delete(ref);
  }

  /** Every series' runs, as they are when their turn comes. */
  entries(): Iterable<[ref: number, runs: readonly number[]]> {
    return this.#bySeries;
  }

  /** All runs as bytes, a part at a time; `restore` takes them. */
  *parts(): Generator<Uint8Array> {
    let view = new DataView(new ArrayBuffer(PART_BYTES));
    let at = 0;
    for (const [ref, runs] of this.#bySeries) {
      const size = PART_HEADER + runs.length * 8;
      if (at > 0 && at + size > view.byteLength) {
        yield new Uint8Array(view.buffer, 0, at);
        view = new DataView(new ArrayBuffer(PART_BYTES));
        at = 0;
      }
      if (size > view.byteLength) view = new DataView(new ArrayBuffer(size));
      view.setUint32(at, ref, true);
      view.setUint32(at + 4, runs.length, true);
      at += PART_HEADER;
      for (let i = 0; i < runs.length; i++, at += 8) view.setFloat64(at, runs[i] as number, true);
    }
    if (at > 0) yield new Uint8Array(view.buffer, 0, at);
  }

  /**
   * Takes a part, into a head whose series have none yet.
   *
   * @param seriesOf The address of the series with a ref; 0 when there is none, whose runs are passed over.
   * @throws {StartRunsMalformedError}
   */
  restore(part: Uint8Array, seriesOf: (ref: number) => number): void {
    const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
    for (let at = 0; at < part.length; ) {
      if (part.length - at < PART_HEADER) throw new StartRunsMalformedError(at);
      const ref = view.getUint32(at, true);
      const length = view.getUint32(at + 4, true);
      at += PART_HEADER;
      if (length % 2 !== 0 || length === 0 || length > (part.length - at) / 8) {
        throw new StartRunsMalformedError(at);
      }
      const series = seriesOf(ref);
      const runs: number[] = [];
      for (let i = 0; i < length; i++, at += 8) runs.push(view.getFloat64(at, true));
      if (series === 0 || this.#bySeries.has(ref)) continue;
      this.#bySeries.set(ref, runs.slice());
      this.count += length / 2;
      setStartedFlag(this.#kernel, series, runs.at(-1) !== 0);
    }
  }
}

/** An i64 within 2^53. */
function wide(words: Uint32Array, at: number): number {
  return ((words[at + 1] as number) | 0) * 2 ** 32 + (words[at] as number);
}

/** Gathers runs of one series after another. */
export class StartColumnsBuilder {
  #ends = new Uint32Array(64);
  #runs = new Float64Array(64);
  #series = 0;
  #length = 0;

  add(runs: readonly number[] | null): void {
    const length = this.#length + (runs?.length ?? 0);
    if (this.#series === this.#ends.length) {
      const wider = new Uint32Array(this.#series * 2);
      wider.set(this.#ends);
      this.#ends = wider;
    }
    if (length > this.#runs.length) {
      const wider = new Float64Array(length * 2);
      wider.set(this.#runs);
      this.#runs = wider;
    }
    if (runs !== null) this.#runs.set(runs, this.#length);
    this.#length = length;
    this.#ends[this.#series++] = length;
  }

  /** null when no series has any. */
  finish(): StartColumns | null {
    if (this.#length === 0) return null;
    return {
      ends: this.#ends.slice(0, this.#series),
      runs: this.#runs.slice(0, this.#length),
    };
  }
}
