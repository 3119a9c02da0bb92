/**
 * Series of one head under numbers that somebody else gave them, and the append of rows that name them so: the
 * labels were read once, when the number was bound, and are not looked at again.
 *
 * A number is bound to a series after a request with its labels was appended. When the head let go of series, all
 * numbers are looked up again by their refs, which are never given out twice: a number of a series that is gone is
 * unknown from then on.
 */

import {
  type Kernel,
  SERIES_WORDS,
  SeriesWord,
  VERDICTS,
  type WriteRequestBuffer,
} from "@torus/kernels";
import { FAR, FUTURE_LIMIT_MS, STEP_BYTES } from "./append.ts";
import { appendLateRows } from "./append-late.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
import { beginStarts } from "./start-runs.ts";
import { appendAreas, HeadMemoryError, type HeadState } from "./state.ts";
import { ROW_CAPACITY } from "./step-size.ts";

/** Rows that are no rows; nothing of the current step is stored. */
export class NumberedRowsMalformedError extends Error {
  readonly row: number;
  constructor(row: number) {
    super(`numbered rows: row ${row} is cut short`);
    this.name = "NumberedRowsMalformedError";
    this.row = row;
  }
}

export type NumberedCounts = {
  /** By `Verdict`. */
  byVerdict: Uint32Array;
  /** Rows whose samples were refused, with their verdict, in ascending order. */
  refused: [row: number, verdict: number][];
  /** Rows that name no known series; nothing of them is stored. */
  unknown: number[];
};

/** Verdict word of a row without a series. */
const UNKNOWN = 255;
/** A row's least size: two varints of one byte, eight of value. */
export const LEAST_ROW_BYTES = 10;
const MOST_NUMBERS = 16 << 20;
const NOTHING = new Uint8Array(0);

type Options = { outOfOrderWindowMs: number; now: () => number };

export class NumberedSeries {
  readonly #state: HeadState;
  readonly #log: RecordLog;
  readonly #lateLog: RecordLog;
  readonly #options: Options;
  /** (u32 address, u32 ref) by number, in the kernel's memory. */
  #at = 0;
  #size = 0;
  #count = 0;
  #removed: number;

  constructor(state: HeadState, log: RecordLog, lateLog: RecordLog, options: Options) {
    this.#state = state;
    this.#log = log;
    this.#lateLog = lateLog;
    this.#options = options;
    this.#removed = state.seriesRemoved;
  }

  /** Whether the head is closed, and these numbers with it. */
  get isClosed(): boolean {
    return this.#state.closed;
  }

  /**
   * Binds numbers to the series of a request that was appended a moment ago. One whose samples were all refused may
   * not be there: its number stays unknown.
   *
   * @param numbers Number + 1 for each entry of the request, or 0.
   */
  bind(request: WriteRequestBuffer, numbers: Uint32Array): void {
    const { kernel: k, address } = this.#state;
    let most = 0;
    for (const number of numbers) if (number > most) most = number;
    if (most === 0 || most > MOST_NUMBERS) return;
    this.#lookUpAgain();
    this.#room(most);
    const bytes = numbers.length * 4;
    const at = k.alloc(bytes);
    k.words.set(numbers, at >>> 2);
    k.exports.numberedBind(address, request.detailAddress, at, numbers.length, this.#at);
    k.free(at, bytes);
  }

  /**
   * Appends `count` rows. What is refused or unknown refuses nothing else.
   *
   * @param rows In the form of kernels/assembly/series-refs.ts; not in the kernel's memory.
   * @param starts Their start timestamps, likewise.
   * @throws {NumberedRowsMalformedError | LogWriteError | HeadMemoryError} as an append of a request, the rows of
   * steps before are stored.
   */
  append(
    rows: Uint8Array,
    count: number,
    baseTime: bigint,
    starts: Uint8Array = NOTHING,
  ): NumberedCounts {
    const { kernel: k } = this.#state;
    const bytesFree = k.exports.arenaBytesFree();
    if (bytesFree < STEP_BYTES) throw new HeadMemoryError(bytesFree);
    if (count * LEAST_ROW_BYTES > rows.length) throw new NumberedRowsMalformedError(0);
    this.#lookUpAgain();
    const verdictBytes = Math.max(count * SERIES_WORDS * 4, 16);
    const verdicts = k.alloc(verdictBytes);
    const rowBytes = rows.length + starts.length + 64;
    const at = k.alloc(rowBytes);
    const area = appendAreas(k);
    try {
      k.bytes.set(rows, at);
      const startsAt = at + rows.length;
      k.bytes.set(starts, startsAt);
      k.words.fill(0, area.counts >>> 2, (area.counts >>> 2) + VERDICTS);
      k.exports.numberedBegin(at, baseTime);
      if (k.exports.numberedStarts(startsAt, startsAt + starts.length) === 0) {
        throw new NumberedRowsMalformedError(0);
      }
      this.#steps(at + rows.length, count, verdicts);
      return this.#counts(k, verdicts, count);
    } finally {
      k.free(at, rowBytes);
      k.free(verdicts, verdictBytes);
    }
  }

  /** Gives the memory back; the object is not used again. */
  free(): void {
    if (this.#size > 0) this.#state.kernel.free(this.#at, this.#size);
    this.#size = 0;
    this.#count = 0;
  }

  #steps(end: number, count: number, verdicts: number): void {
    const state = this.#state;
    const { exports } = state.kernel;
    const area = appendAreas(state.kernel);
    const windowMs = this.#options.outOfOrderWindowMs;
    const newest = state.maxTime;
    const minValid = Math.max(state.minValidTime, newest - state.chunkRangeMs / 2, -FAR);
    const lateFrom = windowMs > 0 && newest > -FAR ? newest - windowMs : FAR;
    while (exports.numberedDone() < count) {
      beginStarts(state);
      const rows = exports.numberedPrepare(
        this.#at,
        this.#count,
        end,
        count,
        minValid,
        this.#options.now() + FUTURE_LIMIT_MS,
        area.rows,
        ROW_CAPACITY,
        area.record,
        area.counts,
        verdicts,
        lateFrom,
        area.lateRows,
      );
      if (rows < 0) {
        exports.headRollback(area.rows, exports.numberedFailedRows());
        state.starts?.settleListed();
        throw new NumberedRowsMalformedError(exports.numberedDone());
      }
      if (rows > 0) {
        this.#write(rows);
        exports.headCommit(state.address, area.rows, rows);
        state.starts?.noteListed();
        state.noteTimes(exports.numberedMinTime(), exports.numberedMaxTime());
      }
      const lateRows = exports.numberedLateRows();
      if (lateRows > 0) appendLateRows(state, verdicts, lateRows, this.#lateLog);
    }
  }

  #write(rows: number): void {
    const k = this.#state.kernel;
    const area = appendAreas(k);
    try {
      const plain = k.bytes.subarray(area.record, k.exports.numberedRecordEnd() >>> 0);
      this.#log.log([this.#state.starts?.record(area.rows, rows) ?? plain]);
    } catch (error) {
      k.exports.headRollback(area.rows, rows);
      this.#state.starts?.settleListed();
      throw new LogWriteError(error);
    }
  }

  #counts(k: Kernel, verdicts: number, count: number): NumberedCounts {
    const at = appendAreas(k).counts >>> 2;
    const byVerdict = k.words.slice(at, at + VERDICTS);
    this.#state.noteJudged(byVerdict, null);
    const counts: NumberedCounts = { byVerdict, refused: [], unknown: [] };
    let bad = k.exports.numberedUnknown();
    for (let verdict = 2; verdict < VERDICTS; verdict++) bad += byVerdict[verdict] as number;
    if (bad === 0) return counts;
    const words = k.words;
    for (let row = 0; row < count; row++) {
      const verdict = words[(verdicts >>> 2) + row * SERIES_WORDS + SeriesWord.VERDICT] as number;
      if (verdict === UNKNOWN) counts.unknown.push(row);
      else if (verdict > 1) counts.refused.push([row, verdict]);
    }
    return counts;
  }

  #room(count: number): void {
    if (count <= this.#count) return;
    const k = this.#state.kernel;
    const size = k.exports.roundedSize(Math.max(8192, count * 16)) >>> 0;
    const at = k.alloc(size);
    k.bytes.fill(0, at, at + size);
    if (this.#size > 0) {
      k.bytes.copyWithin(at, this.#at, this.#at + this.#count * 8);
      k.free(this.#at, this.#size);
    }
    this.#at = at;
    this.#size = size;
    this.#count = Math.floor(size / 8);
  }

  /** Addresses are freed with their series, and given out again. */
  #lookUpAgain(): void {
    const { seriesRemoved, table, kernel: k } = this.#state;
    if (this.#removed === seriesRemoved) return;
    this.#removed = seriesRemoved;
    const words = k.words;
    for (let i = 0, at = this.#at >>> 2; i < this.#count; i++, at += 2) {
      const ref = words[at + 1] as number;
      if (ref === 0) continue;
      const address = table.get(ref);
      words[at] = address;
      if (address === 0) words[at + 1] = 0;
    }
  }
}
