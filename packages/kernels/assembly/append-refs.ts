// The head's append of rows that name their series by number (the row is drawn in series-refs.ts). The twin of
// `headPrepare` for series that are known to be there: judges each sample, notes accepted ones as rows and as a
// samples record of the log. `headCommit` and `headRollback` do the rest.

import {
  LATE_ROW, ROW, find, hasStart, knownStart, noteLateStart, noteStart, putVarint,
  OUT_OF_ORDER, TOO_OLD, TOO_FAR_IN_FUTURE, CONFLICT, DUPLICATE,
} from "./head";
import { afterVarint, readVarint } from "./walk";
import { HAS_SAMPLE, SLOT_CLASS_MASK, STARTED } from "./xor";

/** In a row's verdict word: no series has this number. */
const UNKNOWN: u32 = 255;

let position: usize = 0;
let number: i64 = 0;
let time: i64 = 0;
let done: i32 = 0;
let recordEnd: usize = 0;
let lateCount: i32 = 0;
let unknown: i32 = 0;
let lowest: i64 = 0;
let highest: i64 = 0;

export function numberedPosition(): usize {
  return position;
}
export function numberedDone(): i32 {
  return done;
}
export function numberedRecordEnd(): usize {
  return recordEnd;
}
export function numberedLateRows(): i32 {
  return lateCount;
}
/** Rows of the message so far that name no known series. */
export function numberedUnknown(): i32 {
  return unknown;
}
export function numberedMinTime(): f64 {
  return <f64>lowest;
}
export function numberedMaxTime(): f64 {
  return <f64>highest;
}

/**
 * Binds numbers (`numbers`: number + 1 of each entry, or 0) to the series of a request that was just appended: an
 * entry of `series` is u32 address, u32 ref. Entries whose series is not there are passed over.
 */
export function numberedBind(head: usize, detail: usize, numbers: usize, count: i32, series: usize): void {
  const last = load<u32>(head, 12);
  // The first is looked up by its hash, the others follow each other as the append left them.
  store<u32>(head, 0, 12);
  for (let e = 0; e < count; e++) {
    const number = <usize>load<u32>(numbers + (<usize>e << 2));
    if (number == 0) continue;
    const more = detail + (<usize>e << 4);
    const one = find(head, load<u32>(more), load<u32>(more, 4));
    if (one == 0) continue;
    store<u32>(series + ((number - 1) << 3), <u32>one);
    store<u32>(series + ((number - 1) << 3), load<u32>(one, 12), 4);
  }
  store<u32>(head, last, 12);
}

/** Begins a message whose rows stand at `at`. */
export function numberedBegin(at: usize, baseTime: i64): void {
  position = at;
  number = -1;
  time = baseTime;
  done = 0;
  unknown = 0;
  startsAt = 0;
  startedRow = -1;
}

let startsAt: usize = 0;
let startsStop: usize = 0;
/** The next row that has a start timestamp, and that; -1 when none follows. */
let startedRow: i64 = -1;
let startOfRow: i64 = 0;

/**
 * Start timestamps of the message's rows, up to `end`: varint row - last row - 1, varint start - last start. After
 * `numberedBegin`; false when they are cut short or name a row twice.
 */
export function numberedStarts(at: usize, end: usize): bool {
  startsAt = at;
  startsStop = end;
  startedRow = -1;
  startOfRow = 0;
  let row: i64 = -1;
  while (startsAt < end) {
    const before = row;
    if (!readStart(before)) return false;
    row = startedRow;
  }
  startsAt = at;
  startOfRow = 0;
  startedRow = -1;
  if (at < end) readStart(-1);
  return true;
}

function readStart(before: i64): bool {
  const rawRow = readVarint(startsAt, startsStop);
  if (afterVarint() == 0) return false;
  const rawStart = readVarint(afterVarint(), startsStop);
  startsAt = afterVarint();
  if (startsAt == 0) return false;
  startedRow = before + 1 + (<i64>(rawRow >> 1) ^ -(<i64>(rawRow & 1)));
  startOfRow += <i64>(rawStart >> 1) ^ -(<i64>(rawStart & 1));
  return startedRow > before && startedRow < i32.MAX_VALUE;
}

// @ts-ignore: decorator
@inline
function reject(entry: usize, counts: usize, verdict: u32): void {
  store<u32>(entry, verdict, 24);
  store<u32>(entry, verdict > DUPLICATE ? 1 : 0, 28);
  store<u32>(counts + (<usize>verdict << 2), load<u32>(counts + (<usize>verdict << 2)) + 1);
}

/**
 * Prepares rows until `count` of the message are done or `rows` or `lateRows` are full. `series` has an
 * entry for each of `known` numbers, with address 0 for none. `verdicts` has an entry of the request table's form for each row of the
 * message. Returns the number of head rows, or -1 for a message that is cut short.
 */
export function numberedPrepare(
  series: usize, known: u32, end: usize, count: i32, minValid: f64, maxValid: f64, rows: usize, rowCapacity: i32,
  record: usize, counts: usize, verdicts: usize, lateFrom: f64, lateRows: usize,
): i32 {
  const earliest = <i64>minValid;
  const latest = <i64>maxValid;
  const oldestLate = <i64>lateFrom;
  let row = rows;
  const rowEnd = rows + <usize>rowCapacity * ROW;
  let lateRow = lateRows;
  const lateEnd = lateRows + <usize>rowCapacity * LATE_ROW;
  let out = record;
  let baseRef: i64 = 0;
  let baseTime: i64 = 0;
  let at = position;
  lowest = i64.MAX_VALUE;
  highest = i64.MIN_VALUE;
  recordEnd = record;
  lateCount = 0;
  while (done < count && row < rowEnd && lateRow < lateEnd) {
    const entry = verdicts + (<usize>done << 5);
    store<u64>(entry, 0, 24);
    const rawNumber = readVarint(at, end);
    if (afterVarint() == 0) return failed(rows, row);
    const rawTime = readVarint(afterVarint(), end);
    at = afterVarint();
    if (at == 0 || end - at < 8) return failed(rows, row);
    const v = load<u64>(at);
    at += 8;
    number += 1 + (<i64>(rawNumber >> 1) ^ -(<i64>(rawNumber & 1)));
    time += <i64>(rawTime >> 1) ^ -(<i64>(rawTime & 1));
    const index = <u32>done;
    let start: i64 = 0;
    if (<i64>done == startedRow) {
      start = knownStart(startOfRow);
      if (startsAt == startsStop) startedRow = -1;
      else readStart(startedRow);
    }
    done++;
    const one: usize = <u64>number < <u64>known ? <usize>load<u32>(series + (<usize>number << 3)) : <usize>0;
    // Whatever else a series' flags may say is for the append that sees its labels.
    if (one == 0 || (load<u8>(one, 63) & ~(SLOT_CLASS_MASK | HAS_SAMPLE | STARTED)) != 0) {
      store<u32>(entry, UNKNOWN, 24);
      store<u32>(entry, 1, 28);
      unknown++;
      continue;
    }
    const t = time;
    if (t > latest) {
      reject(entry, counts, TOO_FAR_IN_FUTURE);
      continue;
    }
    const lastT = load<i64>(one, 16);
    const lastV = load<u64>(one, 24);
    let late = t < earliest;
    if ((load<u8>(one, 63) & HAS_SAMPLE) != 0 && t <= lastT) {
      if (t == lastT) {
        reject(entry, counts, v == lastV ? DUPLICATE : CONFLICT);
        continue;
      }
      late = true;
    }
    if (late) {
      if (t < oldestLate) {
        reject(entry, counts, t < earliest ? TOO_OLD : OUT_OF_ORDER);
        continue;
      }
      store<u32>(lateRow, <u32>one);
      store<u32>(lateRow, index, 4);
      store<i64>(lateRow, t, 8);
      store<u64>(lateRow, v, 16);
      if (start != 0 && hasStart(0, start)) {
        noteLateStart(one, <u32>((lateRow - lateRows) / LATE_ROW), t, start);
      }
      lateRow += LATE_ROW;
      continue;
    }
    const ref = <i64>load<u32>(one, 12);
    if (row == rows) {
      baseRef = ref;
      baseTime = t;
      store<u8>(out, 2);
      store<u64>(out, bswap<u64>(ref), 1);
      store<u64>(out, bswap<u64>(t), 9);
      out += 17;
    }
    out = putVarint(out, ((ref - baseRef) << 1) ^ ((ref - baseRef) >> 63));
    out = putVarint(out, ((t - baseTime) << 1) ^ ((t - baseTime) >> 63));
    store<u64>(out, bswap<u64>(v));
    out += 8;
    store<u32>(row, <u32>one);
    store<u32>(row, load<u8>(one, 63) & HAS_SAMPLE, 4);
    store<i64>(row, t, 8);
    store<u64>(row, v, 16);
    store<i64>(row, lastT, 24);
    store<u64>(row, lastV, 32);
    row += ROW;
    store<i64>(one, t, 16);
    store<u64>(one, v, 24);
    const flags = <u32>load<u8>(one, 63) | HAS_SAMPLE;
    store<u8>(one, flags, 63);
    if (hasStart(flags, start)) noteStart(one, t, start);
    if (t > highest) highest = t;
    if (t < lowest) lowest = t;
    store<u32>(counts, load<u32>(counts) + 1);
  }
  position = at;
  recordEnd = out;
  lateCount = <i32>((lateRow - lateRows) / LATE_ROW);
  return <i32>((row - rows) / ROW);
}

let failedRows: i32 = 0;
/** Head rows that a failed prepare leaves for `headRollback`. */
export function numberedFailedRows(): i32 {
  return failedRows;
}

function failed(rows: usize, row: usize): i32 {
  failedRows = <i32>((row - rows) / ROW);
  return -1;
}
