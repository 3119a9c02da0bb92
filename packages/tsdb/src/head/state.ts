/** What the parts of a head (append, replay, read, gc) share. One per tenant; the kernel's memory is the process's. */

import { setImmediate as nextTurn } from "node:timers/promises";
import { type Kernel, kernel, VERDICTS } from "@torus/kernels";
import type { Labels } from "@torus/model";
import { Exemplars } from "./exemplars.ts";
import { HeadLabels } from "./head-labels.ts";
import { OpenHistograms } from "./histograms.ts";
import { LateSamples } from "./late-samples.ts";
import { LabelIndex } from "./postings.ts";
import { seriesRef } from "./series-memory.ts";
import { SeriesTable } from "./series-table.ts";
import { StartRuns } from "./start-runs.ts";
import { ROW_CAPACITY } from "./step-size.ts";

/** Label bytes of one series above this are refused, here and in the kernel. */
export const MAX_LABEL_BYTES = 1 << 20;
const ROW_BYTES = 40;
export const LATE_ROW_BYTES = 24;
export const DEFERRED_ROW_BYTES = 12;
const SAMPLE_RECORD_BYTES = 23;
/** Entries that are merged in one go: some milliseconds. */
const SORT_SLICE = 32_768;
const LIST_BYTES = 2 * MAX_LABEL_BYTES + 65_536;

/** Areas that every append of the process uses in turn: an append is synchronous. */
export type AppendAreas = {
  rows: number;
  lateRows: number;
  deferred: number;
  record: number;
  list: number;
  listBytes: number;
  seriesRecord: number;
  labels: number;
  counts: number;
};

let areas: AppendAreas | undefined;

export function appendAreas(k: Kernel): AppendAreas {
  areas ??= {
    rows: k.alloc(ROW_CAPACITY * ROW_BYTES),
    lateRows: k.alloc(ROW_CAPACITY * LATE_ROW_BYTES),
    deferred: k.alloc(ROW_CAPACITY * DEFERRED_ROW_BYTES),
    record: k.alloc(ROW_CAPACITY * SAMPLE_RECORD_BYTES + 64),
    list: k.alloc(LIST_BYTES),
    listBytes: LIST_BYTES,
    seriesRecord: k.alloc(LIST_BYTES),
    labels: k.alloc(MAX_LABEL_BYTES + 64),
    counts: k.alloc(64),
  };
  return areas;
}

/** The process's head memory is nearly full: nothing was appended. */
export class HeadMemoryError extends Error {
  readonly bytesFree: number;
  constructor(bytesFree: number) {
    super(`append: only ${bytesFree} bytes are left of the head memory of this process`);
    this.name = "HeadMemoryError";
    this.bytesFree = bytesFree;
  }
}

/** A read under way. */
export type HeadRead = {
  /** Set when the read took so long that its chunks were freed. */
  expired: boolean;
};

/** The read stood still for minutes, and what it was to read has been moved to a block: ask again. */
export class HeadReadExpiredError extends Error {
  constructor() {
    super("read head: the read took too long, its chunks are in a block by now");
    this.name = "HeadReadExpiredError";
  }
}

/** The head was closed while it was read. */
export class HeadClosedError extends Error {
  constructor() {
    super("read head: closed meanwhile");
    this.name = "HeadClosedError";
  }
}

export class HeadState {
  readonly kernel: Kernel;
  /** The head in the kernel's memory. */
  readonly address: number;
  readonly chunkRangeMs: number;
  readonly index = new LabelIndex();
  readonly table = new SeriesTable();
  readonly histograms: OpenHistograms;
  /** Labels of series that were read, by address. */
  readonly keptLabels = new HeadLabels((series) => this.labelsOf(series));
  readonly late = new LateSamples(this.index, (ref) => this.labelsOf(this.table.get(ref)));
  /** Times of samples in memory, in ms; Infinity and -Infinity when there is none. */
  minTime = Number.POSITIVE_INFINITY;
  maxTime = Number.NEGATIVE_INFINITY;
  /** Samples before this are refused: a block holds that time, or is being cut from it. */
  minValidTime = Number.NEGATIVE_INFINITY;
  /** Chunks that end before this are read from a block, and wait to be freed. */
  readFloor = Number.NEGATIVE_INFINITY;
  closed = false;
  /** Readers whose marks point into the memory; memory they may read is not freed before they end. */
  readonly readers = new Set<HeadRead>();
  seriesCreated = 0;
  /** Samples since the start, by `Verdict`. */
  readonly judgedFloats = new Float64Array(VERDICTS);
  readonly judgedHistograms = new Float64Array(VERDICTS);
  /** Floats and histograms that came out of order and were stored, since the start. */
  lateAppended = 0;
  lateHistogramsAppended = 0;
  seriesRemoved = 0;

  readonly exemplars: Exemplars;
  /** null when start timestamps are not kept. */
  readonly starts: StartRuns | null;

  constructor(
    chunkRangeMs: number,
    seriesLimit: number,
    maxExemplars: number,
    startTimes: boolean,
  ) {
    this.exemplars = new Exemplars(maxExemplars);
    this.kernel = kernel();
    this.starts = startTimes ? new StartRuns(this.kernel) : null;
    this.chunkRangeMs = chunkRangeMs;
    this.histograms = new OpenHistograms(this.kernel, chunkRangeMs);
    this.address = this.kernel.exports.headNew(chunkRangeMs, 1, seriesLimit) >>> 0;
  }

  get seriesCount(): number {
    return this.index.seriesCount;
  }

  /** Counts what became of an append's samples. */
  noteJudged(floats: Uint32Array, histograms: Uint32Array | null): void {
    for (let verdict = 0; verdict < VERDICTS; verdict++) {
      (this.judgedFloats[verdict] as number) += floats[verdict] as number;
      (this.judgedHistograms[verdict] as number) += histograms?.[verdict] ?? 0;
    }
  }

  /** Enters what the kernel's new list says into the index: (series, ref, n, n times (pair, its address if new))*. */
  indexNew(list: number, end: number): void {
    const { index, kernel: k, table } = this;
    const words = k.words;
    for (let at = list >>> 2; at < end >>> 2; ) {
      const series = words[at] as number;
      const ref = words[at + 1] as number;
      const pairs = words[at + 2] as number;
      at += 3;
      table.set(ref, series);
      index.addSeries(ref);
      this.seriesCreated++;
      for (let i = 0; i < pairs; i++, at += 2) {
        const pair = words[at] as number;
        const address = words[at + 1] as number;
        if (address !== 0) this.#indexPair(pair, address);
        index.addToPair(ref, pair);
      }
    }
  }

  #indexPair(pair: number, address: number): void {
    // u32 id, u32 bytes, then 0a length 0a length name 12 length value.
    const memory = Buffer.from(this.kernel.memory.buffer);
    let at = address + 8;
    const uvarint = (): number => {
      let value = 0;
      for (let shift = 0; ; shift += 7) {
        const byte = memory[at++] as number;
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
    };
    at++;
    uvarint();
    at++;
    const nameLength = uvarint();
    const name = memory.toString("utf8", at, at + nameLength);
    at += nameLength + 1;
    const valueLength = uvarint();
    this.index.addPair(pair, name, memory.toString("utf8", at, at + valueLength), address);
  }

  /** Pair numbers of a series, in label order. */
  pairsOf(series: number): Uint32Array {
    const out = appendAreas(this.kernel).labels;
    const n = this.kernel.exports.seriesPairs(this.address, series, out);
    return this.kernel.words.slice(out >>> 2, (out >>> 2) + n);
  }

  labelsOf(series: number): Labels {
    return this.index.labelsOf(this.pairsOf(series));
  }

  /**
   * The order of series by their labels: indexes into `series`. A merge sort in slices, so that sorting many does not
   * hold up requests; the series must not be freed meanwhile.
   */
  async order(series: Uint32Array): Promise<Uint32Array> {
    const k = this.kernel;
    const n = series.length;
    const bytes = Math.max(n * 8, 16);
    let from = k.alloc(bytes);
    let to = k.alloc(bytes);
    try {
      const words = k.words;
      for (let i = 0, at = from >>> 2; i < n; i++, at += 2) {
        words[at] = series[i] as number;
        words[at + 1] = i;
      }
      let done = 0;
      for (let width = 1; width < n; width *= 2) {
        for (let start = 0; start < n; ) {
          const next = k.exports.sortPass(from, to, n, width, start, SORT_SLICE);
          done += next - start;
          start = next;
          if (done >= SORT_SLICE) {
            done = 0;
            await nextTurn();
          }
        }
        [from, to] = [to, from];
      }
      return Uint32Array.from(series, (_, i) => k.words[(from >>> 2) + i * 2 + 1] as number);
    } finally {
      k.free(from, bytes);
      k.free(to, bytes);
    }
  }

  noteTimes(minTime: number, maxTime: number): void {
    if (minTime < this.minTime) this.minTime = minTime;
    if (maxTime > this.maxTime) this.maxTime = maxTime;
  }

  /** Gives all memory back; the state is not used again. */
  free(): void {
    this.closed = true;
    this.keptLabels.forget();
    const { exports } = this.kernel;
    for (const [, series] of this.table.entries()) exports.headRemove(this.address, series);
    exports.headFree(this.address);
  }

  refOf(series: number): number {
    return seriesRef(this.kernel, series);
  }
}
