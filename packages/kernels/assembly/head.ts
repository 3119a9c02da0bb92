// The head of one tenant: series by label bytes, and the append of a walked request in two steps.
//
//   head (128 bytes)
//    0 u32 table     4 u32 mask       8 u32 series      12 u32 last series looked up
//   16 u32 next ref 20 u32 limit     24 u32 pair table  28 u32 pair mask
//   32 u32 pairs    36 u32 next pair 40 i64 chunk range
//   table, pair table: (u32 hash, u32 address)*, open addressing
//   pair: u32 id, u32 bytes, then the Label field's bytes, tag included
//   row (40 bytes): u32 series, u32 0, i64 t, u64 v, i64 last t before, u64 last v before
//   late row (24 bytes): u32 series, u32 table index, i64 t, u64 v
//   deferred row (12 bytes): u32 table index, u32 series or 0, u32 verdict when 0
//   start (24 bytes): u32 series, u32 late row + 1 or 0, i64 t, i64 start timestamp
//
// `headPrepare` finds or makes the series, judges each sample, notes accepted ones as rows and as a samples
// record of the write-ahead log. After the log is written `headCommit` appends the rows to the chunks;
// `headRollback` takes them back instead.

import { alloc, free } from "./arena";
import { bytesEqual, compareBytes, wildCopy } from "./copy";
import {
  FLAG_DUPLICATE_LABEL, FLAG_EMPTY_LABEL, FLAG_HISTOGRAMS, FLAG_INVALID_UTF8, FLAG_NO_LABELS, FLAG_NOT_CANONICAL, FLAG_UNSORTED,
  afterVarint, labelName, labelNameLength, labelText, labelTextLength, readLabel, readVarint, skipField,
} from "./walk";
import { DEAD, HAS_SAMPLE, HISTOGRAM, SERIES_SIZE, STARTED, appendSample, closeOpenChunk, truncateSeries } from "./xor";

const HEAD_SIZE: usize = 128;
export const ROW: usize = 40;
export const LATE_ROW: usize = 24;
const DEFERRED_ROW: usize = 12;
const START: usize = 24;
const FIRST_SLOTS: u32 = 64;
export const INVALID_LABELS: u32 =
  FLAG_UNSORTED | FLAG_DUPLICATE_LABEL | FLAG_EMPTY_LABEL | FLAG_NO_LABELS | FLAG_INVALID_UTF8;
/** Label bytes of one series above this are refused: no real series comes near. */
export const MAX_LABEL_BYTES: usize = 1 << 20;

const ACCEPTED: u32 = 0;
export const DUPLICATE: u32 = 1;
export const OUT_OF_ORDER: u32 = 2;
export const TOO_OLD: u32 = 3;
export const TOO_FAR_IN_FUTURE: u32 = 4;
export const CONFLICT: u32 = 5;
const BAD_LABELS: u32 = 6;
const SERIES_LIMIT: u32 = 7;

let seed: u64 = 0;

/** Keys the hash, so that nobody can send label sets that collide. */
export function seedHash(low: u32, high: u32): void {
  seed = (<u64>high << 32) | low;
}

/** Reads up to 15 bytes behind the range. */
function hashBytes(at: usize, length: usize): u32 {
  let a: u64 = seed ^ (<u64>length * 0x9e3779b185ebca87);
  let b: u64 = rotl<u64>(a, 29) ^ 0xc2b2ae3d27d4eb4f;
  const end = at + (length & ~15);
  for (; at < end; at += 16) {
    a = rotl<u64>(a ^ load<u64>(at), 27) * 0x9e3779b185ebca87;
    b = rotl<u64>(b ^ load<u64>(at, 8), 31) * 0xc2b2ae3d27d4eb4f;
  }
  const tail = <u64>(length & 15);
  if (tail >= 8) {
    a = rotl<u64>(a ^ load<u64>(at), 27) * 0x9e3779b185ebca87;
    if (tail > 8) {
      b = rotl<u64>(b ^ (load<u64>(at, 8) & (~(<u64>0) >> (128 - (tail << 3)))), 31) * 0xc2b2ae3d27d4eb4f;
    }
  } else if (tail > 0) {
    a = rotl<u64>(a ^ (load<u64>(at) & (~(<u64>0) >> (64 - (tail << 3)))), 27) * 0x9e3779b185ebca87;
  }
  let h = a ^ rotl<u64>(b, 17);
  h = (h ^ (h >> 32)) * 0x165667b19e3779f9;
  h = (h ^ (h >> 29)) * 0xc2b2ae3d27d4eb4f;
  return <u32>(h >> 32);
}

function clear(at: usize, size: usize): usize {
  if (at == 0) unreachable();
  memory.fill(at, 0, size);
  return at;
}

export function headNew(chunkRangeMs: f64, firstRef: u32, seriesLimit: u32): usize {
  const head = clear(alloc(HEAD_SIZE), HEAD_SIZE);
  store<u32>(head, <u32>clear(alloc(FIRST_SLOTS << 3), FIRST_SLOTS << 3));
  store<u32>(head, FIRST_SLOTS - 1, 4);
  store<u32>(head, firstRef, 16);
  store<u32>(head, seriesLimit, 20);
  store<u32>(head, <u32>clear(alloc(FIRST_SLOTS << 3), FIRST_SLOTS << 3), 24);
  store<u32>(head, FIRST_SLOTS - 1, 28);
  store<i64>(head, <i64>chunkRangeMs, 40);
  return head;
}

/** Frees the head and all its pairs; its series must have been removed. */
export function headFree(head: usize): void {
  const pairs = <usize>load<u32>(head, 24);
  const pairSlots = load<u32>(head, 28) + 1;
  for (let i: u32 = 0; i < pairSlots; i++) {
    const pair = <usize>load<u32>(pairs + (<usize>i << 3), 4);
    if (pair != 0) free(pair, 8 + <usize>load<u32>(pair, 4));
  }
  free(pairs, <usize>pairSlots << 3);
  free(load<u32>(head), (<usize>load<u32>(head, 4) + 1) << 3);
  free(head, HEAD_SIZE);
}

/** Doubles the table whose address and mask are at `field` and `field + 4`. */
export function growTable(field: usize): void {
  const old = <usize>load<u32>(field);
  const oldSlots = load<u32>(field, 4) + 1;
  const slots = oldSlots << 1;
  const mask = slots - 1;
  const table = clear(alloc(<usize>slots << 3), <usize>slots << 3);
  for (let i: u32 = 0; i < oldSlots; i++) {
    const entry = load<u64>(old + (<usize>i << 3));
    if (entry >> 32 == 0) continue;
    let j = <u32>entry & mask;
    while (load<u32>(table + (<usize>j << 3), 4) != 0) j = (j + 1) & mask;
    store<u64>(table + (<usize>j << 3), entry);
  }
  free(old, <usize>oldSlots << 3);
  store<u32>(field, <u32>table);
  store<u32>(field, mask, 4);
}

export function insert(field: usize, hash: u32, address: usize): void {
  const table = <usize>load<u32>(field);
  const mask = load<u32>(field, 4);
  let i = hash & mask;
  while (load<u32>(table + (<usize>i << 3), 4) != 0) i = (i + 1) & mask;
  store<u32>(table + (<usize>i << 3), hash);
  store<u32>(table + (<usize>i << 3), <u32>address, 4);
}

/** Takes the entry of `address` out and moves later ones of its run back, so that no gap cuts a run. */
function remove(field: usize, hash: u32, address: usize): void {
  const table = <usize>load<u32>(field);
  const mask = load<u32>(field, 4);
  let i = hash & mask;
  while (load<u32>(table + (<usize>i << 3), 4) != <u32>address) {
    if (load<u32>(table + (<usize>i << 3), 4) == 0) return;
    i = (i + 1) & mask;
  }
  let j = i;
  for (;;) {
    j = (j + 1) & mask;
    const entry = load<u64>(table + (<usize>j << 3));
    if (entry >> 32 == 0) break;
    const home = <u32>entry & mask;
    if (((j - home) & mask) >= ((j - i) & mask)) {
      store<u64>(table + (<usize>i << 3), entry);
      i = j;
    }
  }
  store<u64>(table + (<usize>i << 3), 0);
}

let lastHash: u32 = 0;

/** Of the labels that `find` looked for in vain. */
export function hashOfLastFind(): u32 {
  return lastHash;
}

/** The series with these label bytes, or 0. The series that followed the last one found the time before is tried first. */
export function find(head: usize, labels: usize, length: usize): usize {
  const before = <usize>load<u32>(head, 12);
  if (before != 0) {
    const guess = <usize>load<u32>(before, 8);
    if (guess != 0 && load<u32>(guess, 4) == <u32>length && bytesEqual(load<u32>(guess), labels, length)) {
      store<u32>(head, <u32>guess, 12);
      return guess;
    }
  }
  const hash = hashBytes(labels, length);
  lastHash = hash;
  const table = <usize>load<u32>(head);
  const mask = load<u32>(head, 4);
  let i = hash & mask;
  for (;;) {
    const entry = load<u64>(table + (<usize>i << 3));
    const series = <usize>(entry >> 32);
    if (series == 0) return 0;
    if (<u32>entry == hash && load<u32>(series, 4) == <u32>length && bytesEqual(load<u32>(series), labels, length)) {
      if (before != 0) store<u32>(before, <u32>series, 8);
      store<u32>(head, <u32>series, 12);
      return series;
    }
    i = (i + 1) & mask;
  }
  return 0;
}

/** Finds a series without touching the order of requests. */
export function headFind(head: usize, labels: usize, length: usize): usize {
  const before = load<u32>(head, 12);
  store<u32>(head, 0, 12);
  const series = find(head, labels, length);
  store<u32>(head, before, 12);
  return series;
}

/** Where `createSeries` tells of new series: u32 series, ref, n, then n times (pair id, its address when new or 0). */
let newAt: usize = 0;
let newEnd: usize = 0;
/** Where the series record of the log grows: u64 ref, uvarint labels, str name and value each. 0 when none is wanted. */
let seriesRecordAt: usize = 0;

function pairOf(head: usize, at: usize, length: usize): usize {
  const hash = hashBytes(at, length);
  const table = <usize>load<u32>(head, 24);
  const mask = load<u32>(head, 28);
  let i = hash & mask;
  for (;;) {
    const entry = load<u64>(table + (<usize>i << 3));
    const pair = <usize>(entry >> 32);
    if (pair == 0) break;
    if (<u32>entry == hash && load<u32>(pair, 4) == <u32>length && bytesEqual(pair + 8, at, length)) return pair;
    i = (i + 1) & mask;
  }
  lastHash = hash;
  return 0;
}

/** Length of the canonical Label field at `at`, tag included. */
function labelFieldLength(at: usize, end: usize): usize {
  const length = readVarint(at + 1, end);
  return afterVarint() + <usize>length - at;
}

/** `lastHash` is the hash of the bytes. The memory for all of it is known to be there. */
function createSeries(head: usize, labels: usize, length: usize, ref: u32): usize {
  const hash = lastHash;
  const count = load<u32>(head, 8) + 1;
  if (count * 4 > (load<u32>(head, 4) + 1) * 3) growTable(head);
  const series = clear(alloc(SERIES_SIZE), SERIES_SIZE);
  const copy = alloc(length);
  if (copy == 0) unreachable();
  memory.copy(copy, labels, length);
  store<u32>(series, <u32>copy);
  store<u32>(series, <u32>length, 4);
  store<u32>(series, ref, 12);
  insert(head, hash, series);
  store<u32>(head, count, 8);
  const before = <usize>load<u32>(head, 12);
  if (before != 0) store<u32>(before, <u32>series, 8);
  store<u32>(head, <u32>series, 12);

  const out = newAt;
  let n: u32 = 0;
  let at = copy;
  const end = copy + length;
  while (at < end) {
    const size = labelFieldLength(at, end);
    let pair = pairOf(head, at, size);
    let fresh: usize = 0;
    if (pair == 0) {
      const pairHash = lastHash;
      const pairs = load<u32>(head, 32) + 1;
      if (pairs * 4 > (load<u32>(head, 28) + 1) * 3) growTable(head + 24);
      pair = alloc(8 + size);
      if (pair == 0) unreachable();
      store<u32>(pair, load<u32>(head, 36));
      store<u32>(pair, <u32>size, 4);
      memory.copy(pair + 8, at, size);
      insert(head + 24, pairHash, pair);
      store<u32>(head, pairs, 32);
      store<u32>(head, load<u32>(head, 36) + 1, 36);
      fresh = pair;
    }
    store<u32>(out + 12 + (<usize>n << 3), load<u32>(pair));
    store<u32>(out + 16 + (<usize>n << 3), <u32>fresh);
    n++;
    at += size;
  }
  if (seriesRecordAt != 0) logSeries(copy, end, ref, n);
  store<u32>(out, <u32>series);
  store<u32>(out, ref, 4);
  store<u32>(out, n, 8);
  newAt = out + 12 + (<usize>n << 3);
  return series;
}

function logSeries(labels: usize, end: usize, ref: u32, count: u32): void {
  let out = seriesRecordAt;
  store<u64>(out, bswap<u64>(ref));
  out = putVarint(out + 8, count);
  let at = labels;
  while (at < end) {
    readVarint(at + 1, end);
    at = afterVarint();
    // Name, then value: each a tag, a length, the bytes.
    for (let i = 0; i < 2; i++) {
      const length = <usize>readVarint(at + 1, end);
      at = afterVarint();
      out = putVarint(out, length);
      memory.copy(out, at, length);
      out += length;
      at += length;
    }
  }
  seriesRecordAt = out;
}

/** The ids of a series' pairs, n words at `out`; returns n. */
export function seriesPairs(head: usize, series: usize, out: usize): i32 {
  let n: usize = 0;
  let at = <usize>load<u32>(series);
  const end = at + <usize>load<u32>(series, 4);
  while (at < end) {
    const size = labelFieldLength(at, end);
    const pair = pairOf(head, at, size);
    store<u32>(out + (n << 2), pair == 0 ? 0xffffffff : load<u32>(pair));
    n++;
    at += size;
  }
  return <i32>n;
}

/** For replay: makes a series of known ref unless its labels are there already; returns it. Fills the new list. */
export function headRestore(head: usize, labels: usize, length: usize, ref: u32, list: usize): usize {
  newAt = list;
  seriesRecordAt = 0;
  store<u32>(head, 0, 12);
  const known = find(head, labels, length);
  if (known != 0) return known;
  const series = createSeries(head, labels, length, ref);
  if (ref >= load<u32>(head, 16)) store<u32>(head, ref + 1, 16);
  return series;
}

/** Where the series record of the last prepare ends; one byte behind its start when no series is new. */
export function seriesRecordEnd(): usize {
  return seriesRecordAt;
}

/** Bytes of the new list after the last prepare or restore. */
export function newListEnd(): usize {
  return newAt;
}

export function headNextRef(head: usize): u32 {
  return load<u32>(head, 16);
}

/** Raises the next ref: refs seen in the log are never given out again. */
export function headReserveRefs(head: usize, next: u32): void {
  if (next > load<u32>(head, 16)) store<u32>(head, next, 16);
}

export function headSeriesCount(head: usize): u32 {
  return load<u32>(head, 8);
}

export function headSetLimit(head: usize, limit: u32): void {
  store<u32>(head, limit, 20);
}

/** Writes the label bytes of a TimeSeries at `to` in canonical form; their length, or MAX_LABEL_BYTES + 1 for too many. */
function canonicalLabels(from: usize, end: usize, to: usize): usize {
  let at = from;
  let out = to;
  while (at < end) {
    const tag = readVarint(at, end);
    let p = afterVarint();
    if (tag >> 3 != 1) {
      at = skipField(<u32>tag & 7, p, end);
      continue;
    }
    const length = <usize>readVarint(p, end);
    p = afterVarint();
    readLabel(p, p + length);
    at = p + length;
    if (<usize>(out - to) + labelNameLength + labelTextLength + 24 > MAX_LABEL_BYTES) return MAX_LABEL_BYTES + 1;
    const inner: usize = <usize>2 + varintSize(labelNameLength) + varintSize(labelTextLength) + labelNameLength + labelTextLength;
    store<u8>(out++, 0x0a);
    out = putVarint(out, inner);
    store<u8>(out++, 0x0a);
    out = putVarint(out, labelNameLength);
    memory.copy(out, labelName, labelNameLength);
    out += labelNameLength;
    store<u8>(out++, 0x12);
    out = putVarint(out, labelTextLength);
    memory.copy(out, labelText, labelTextLength);
    out += labelTextLength;
  }
  return out - to;
}

function varintSize(value: usize): usize {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5;
}

export function putVarint(at: usize, value: u64): usize {
  while (value >= 0x80) {
    store<u8>(at++, <u8>value | 0x80);
    value >>= 7;
  }
  store<u8>(at++, <u8>value);
  return at;
}

let sampleTime: i64 = 0;
let sampleBits: u64 = 0;
let sampleStart: i64 = 0;

function readSample(at: usize, end: usize): void {
  sampleStart = 0;
  if (end - at > 10 && load<u8>(at) == 0x09 && load<u8>(at, 9) == 0x10) {
    sampleBits = load<u64>(at, 1);
    sampleTime = <i64>readVarint(at + 10, end);
    const more = afterVarint();
    if (more == end) return;
    if (load<u8>(more) == 0x18) {
      sampleStart = knownStart(<i64>readVarint(more + 1, end));
      if (afterVarint() == end) return;
      sampleStart = 0;
    }
  }
  sampleTime = 0;
  sampleBits = 0;
  while (at < end) {
    const tag = readVarint(at, end);
    const p = afterVarint();
    if (tag == 9) sampleBits = load<u64>(p);
    else if (tag == 16) sampleTime = <i64>readVarint(p, end);
    else if (tag == 24) sampleStart = knownStart(<i64>readVarint(p, end));
    at = skipField(<u32>tag & 7, p, end);
  }
}

/** A start timestamp outside of 2^53, which no reader can compute with, is as good as none. */
export function knownStart(start: i64): i64 {
  const most: i64 = 1 << 53;
  return start >= most || start <= -most ? 0 : start;
}

let startsFrom: usize = 0;
let startsTo: usize = 0;
let startedRows: i32 = 0;

/**
 * Where the next prepare or replay notes start timestamps: of samples that have one, and of the first sample without one
 * behind those. Room for as many as rows and late rows; 0 when they are not kept.
 */
export function startsInto(at: usize): void {
  startsFrom = at;
  startsTo = at;
  startedRows = 0;
}
/** Where the list ends. */
export function startsEnd(): usize {
  return startsTo;
}

/** How many of the list are of no late row. */
export function startsOfRows(): i32 {
  return startedRows;
}

/** Whether `noteStart` is to be called for a sample of a series with these flags. */
// @ts-ignore: decorator
@inline
export function hasStart(flags: u32, start: i64): bool {
  return startsFrom != 0 && (start != 0 || (flags & STARTED) != 0);
}

export function noteStart(series: usize, t: i64, start: i64): void {
  putStart(series, 0, t, start);
  startedRows++;
  const flags = <u32>load<u8>(series, 63);
  store<u8>(series, start != 0 ? flags | STARTED : flags & ~STARTED, 63);
}

/** Of the late row with this index. */
export function noteLateStart(series: usize, lateRow: u32, t: i64, start: i64): void {
  putStart(series, lateRow + 1, t, start);
}

function putStart(series: usize, late: u32, t: i64, start: i64): void {
  const at = startsTo;
  store<u32>(at, <u32>series);
  store<u32>(at, late, 4);
  store<i64>(at, t, 8);
  store<i64>(at, start, 16);
  startsTo = at + START;
}

/**
 * Writes the rows with the start timestamps of the list as a record of type 11 to `to`, which takes up to 34 bytes a row
 * and one; returns its end. The first sample is varint ref, varint t, varint start, f64; others varint ref - ref before,
 * varint t - first t, u8 marker (0 none, 1 as before, 2 a varint start - first start follows), f64.
 */
export function startedRecord(rows: usize, count: i32, to: usize): usize {
  let next = nextStart(startsFrom);
  let out = to;
  store<u8>(out++, 11);
  let refBefore: i64 = 0;
  let startBefore: i64 = 0;
  let firstTime: i64 = 0;
  let firstStart: i64 = 0;
  for (let i = 0; i < count; i++) {
    const row = rows + <usize>i * ROW;
    const series = load<u32>(row);
    const t = load<i64>(row, 8);
    let start: i64 = 0;
    if (next < startsTo && load<u32>(next) == series && load<i64>(next, 8) == t) {
      start = load<i64>(next, 16);
      next = nextStart(next + START);
    }
    const ref = <i64>load<u32>(series, 12);
    if (i == 0) {
      firstTime = t;
      firstStart = start;
      out = putZigzag(out, ref);
      out = putZigzag(out, t);
      out = putZigzag(out, start);
    } else {
      out = putZigzag(out, ref - refBefore);
      out = putZigzag(out, t - firstTime);
      if (start == 0) store<u8>(out++, 0);
      else if (start == startBefore) store<u8>(out++, 1);
      else {
        store<u8>(out++, 2);
        out = putZigzag(out, start - firstStart);
      }
    }
    store<u64>(out, bswap<u64>(load<u64>(row, 16)));
    out += 8;
    refBefore = ref;
    startBefore = start;
  }
  return out;
}

/** The first entry of the list from `at` on that is of no late row. */
function nextStart(at: usize): usize {
  while (at < startsTo && load<u32>(at, 4) != 0) at += START;
  return at;
}

function putZigzag(at: usize, value: i64): usize {
  return putVarint(at, (value << 1) ^ (value >> 63));
}

let seriesEntry: i32 = 0;
let resumeAt: usize = 0;
let rowCount: i32 = 0;
let lateCount: i32 = 0;
let deferredCount: i32 = 0;
let recordEnd: usize = 0;
let highest: i64 = i64.MIN_VALUE;
let lowest: i64 = i64.MAX_VALUE;
let firstTime: i64 = 0;

/** Entries of the last prepare that are done; less than asked for when rows or the new list were full. */
export function preparedEntries(): i32 {
  return seriesEntry;
}
export function preparedRecordEnd(): usize {
  return recordEnd;
}
/** Late samples of the last prepare: inside the out-of-order window, for the caller to judge. */
export function preparedLateRows(): i32 {
  return lateCount;
}
/** Entries of the last prepare that the caller appends: those with native histograms, or whose series had one last. */
export function preparedDeferred(): i32 {
  return deferredCount;
}
/** Least and greatest time of the last prepare's rows. */
export function preparedMinTime(): f64 {
  return <f64>lowest;
}
export function preparedMaxTime(): f64 {
  return <f64>highest;
}

/** The first sample's time that is not after `maxValid`, to open an empty head with; NaN when there is none. */
export function firstSampleTime(
  table: usize, detail: usize, chosen: usize, entries: i32, maxValid: f64,
): f64 {
  const latest = <i64>maxValid;
  for (let e = 0; e < entries; e++) {
    const index: usize = chosen == 0 ? <usize>e : load<u32>(chosen + (<usize>e << 2));
    let at = <usize>load<u32>(detail + (index << 4), 8);
    const end = <usize>load<u32>(detail + (index << 4), 12);
    if ((load<u32>(table + (index << 5), 16) & FLAG_NOT_CANONICAL) != 0) at = load<u32>(detail + (index << 4));
    while (at < end) {
      const tag = readVarint(at, end);
      const p = afterVarint();
      at = skipField(<u32>tag & 7, p, end);
      if (tag != 18 && tag != 34) continue;
      readVarint(p, end);
      if (tag == 18) readSample(afterVarint(), at);
      else readHistogramTime(afterVarint(), at);
      if (sampleTime <= latest) return <f64>sampleTime;
    }
  }
  return NaN;
}

/** Sets `sampleTime` to field 15 of a Histogram. */
function readHistogramTime(at: usize, end: usize): void {
  sampleTime = 0;
  while (at < end) {
    const tag = readVarint(at, end);
    const p = afterVarint();
    if (tag == 120) sampleTime = <i64>readVarint(p, end);
    at = skipField(<u32>tag & 7, p, end);
  }
}

// @ts-ignore: decorator
@inline
function reject(entry: usize, counts: usize, verdict: u32, n: u32): void {
  if (verdict > load<u32>(entry, 24)) store<u32>(entry, verdict, 24);
  if (verdict > DUPLICATE) store<u32>(entry, load<u32>(entry, 28) + n, 28);
  store<u32>(counts + (<usize>verdict << 2), load<u32>(counts + (<usize>verdict << 2)) + n);
}

/**
 * Prepares entries [from, entries) of the table (through `chosen` when that is not 0). `counts` are eight u32, one a
 * verdict, added to. `record` takes the samples record, `list` the new
 * series and `seriesRecord` their record (both `listSize` bytes), `scratch` canonical labels (1 MiB).
 * Samples that are out of order or before `minValid`, but not before `lateFrom`, go to `lateRows` (as many as rows)
 * without a verdict; entries with native histograms, or whose series had one last, to `deferred` (as many as rows) as
 * they are, their series made and marked HISTOGRAM. Returns the number of rows. A call that continues the one before passes its `preparedEntries()` as `from`.
 */
export function headPrepare(
  head: usize, table: usize, detail: usize, chosen: usize, from: i32, entries: i32,
  minValid: f64, maxValid: f64, rows: usize, rowCapacity: i32, record: usize,
  list: usize, listSize: usize, seriesRecord: usize, scratch: usize, counts: usize, resume: bool,
  lateFrom: f64, lateRows: usize, deferred: usize,
): i32 {
  const earliest = <i64>minValid;
  const latest = <i64>maxValid;
  const oldestLate = <i64>lateFrom;
  let lateRow = lateRows;
  const lateEnd = lateRows + <usize>rowCapacity * LATE_ROW;
  let deferredRow = deferred;
  const deferredEnd = deferred + <usize>rowCapacity * DEFERRED_ROW;
  newAt = list;
  newEnd = list + listSize;
  seriesRecordAt = seriesRecord + 1;
  store<u8>(seriesRecord, 1);
  rowCount = 0;
  highest = i64.MIN_VALUE;
  lowest = i64.MAX_VALUE;
  let out = record;
  let row = rows;
  const rowEnd = rows + <usize>rowCapacity * ROW;
  let baseRef: i64 = 0;
  let baseTime: i64 = 0;
  let continueAt: usize = resume ? resumeAt : 0;
  resumeAt = 0;
  let e = from;
  for (; e < entries; e++) {
    const index: usize = chosen == 0 ? <usize>e : load<u32>(chosen + (<usize>e << 2));
    const entry = table + (index << 5);
    const more = detail + (index << 4);
    const flags = load<u32>(entry, 16);
    const samples = load<u32>(entry, 20);
    if (continueAt == 0) store<u64>(entry, 0, 24);
    if (samples == 0 && (flags & FLAG_HISTOGRAMS) == 0) continue;
    if ((flags & FLAG_HISTOGRAMS) != 0 && deferredRow == deferredEnd) break;
    if ((flags & INVALID_LABELS) != 0) {
      if ((flags & FLAG_HISTOGRAMS) == 0) reject(entry, counts, BAD_LABELS, samples);
      else deferredRow = defer(deferredRow, <u32>index, 0, BAD_LABELS);
      continue;
    }
    let labels = <usize>load<u32>(more);
    let length = <usize>load<u32>(more, 4);
    let at = <usize>load<u32>(more, 8);
    const end = <usize>load<u32>(more, 12);
    if ((flags & FLAG_NOT_CANONICAL) != 0) {
      at = labels;
      length = canonicalLabels(labels, end, scratch);
      labels = scratch;
    }
    if (length > MAX_LABEL_BYTES) {
      if ((flags & FLAG_HISTOGRAMS) == 0) reject(entry, counts, BAD_LABELS, samples);
      else deferredRow = defer(deferredRow, <u32>index, 0, BAD_LABELS);
      continue;
    }
    if (continueAt != 0) at = continueAt;
    continueAt = 0;
    let series = find(head, labels, length);
    const hash = lastHash;
    if ((flags & FLAG_HISTOGRAMS) != 0 || (series != 0 && (load<u8>(series, 63) & HISTOGRAM) != 0)) {
      if (deferredRow == deferredEnd) break;
      if (series == 0) {
        const limit = load<u32>(head, 20);
        if (limit != 0 && load<u32>(head, 8) >= limit) {
          deferredRow = defer(deferredRow, <u32>index, 0, SERIES_LIMIT);
          continue;
        }
        if (newAt + 24 + length > newEnd || seriesRecordAt + 24 + length > seriesRecord + listSize) break;
        lastHash = hash;
        const ref = load<u32>(head, 16);
        store<u32>(head, ref + 1, 16);
        series = createSeries(head, labels, length, ref);
      }
      // Later entries of the same series have to wait for this one.
      store<u8>(series, load<u8>(series, 63) | <u8>HISTOGRAM, 63);
      deferredRow = defer(deferredRow, <u32>index, series, 0);
      continue;
    }
    let full = false;
    while (at < end) {
      const fieldAt = at;
      let p: usize;
      if (load<u8>(at) == 18 && load<u8>(at, 1) < 0x80) {
        p = at + 2;
        at = p + <usize>load<u8>(at, 1);
      } else {
        const tag = readVarint(at, end);
        p = afterVarint();
        at = skipField(<u32>tag & 7, p, end);
        if (tag != 18) continue;
        readVarint(p, end);
        p = afterVarint();
      }
      readSample(p, at);
      const t = sampleTime;
      const v = sampleBits;
      if (t > latest) {
        reject(entry, counts, TOO_FAR_IN_FUTURE, 1);
        continue;
      }
      let lastT: i64 = 0;
      let lastV: u64 = 0;
      let late = t < earliest;
      if (series != 0) {
        lastT = load<i64>(series, 16);
        lastV = load<u64>(series, 24);
        if ((load<u8>(series, 63) & HAS_SAMPLE) != 0 && t <= lastT) {
          if (t == lastT) {
            reject(entry, counts, v == lastV ? DUPLICATE : CONFLICT, 1);
            continue;
          }
          late = true;
        }
      }
      if (late && t < oldestLate) {
        reject(entry, counts, t < earliest ? TOO_OLD : OUT_OF_ORDER, 1);
        continue;
      }
      if (late ? lateRow == lateEnd : row == rowEnd) {
        full = true;
        at = fieldAt;
        break;
      }
      if (series == 0) {
        const limit = load<u32>(head, 20);
        if (limit != 0 && load<u32>(head, 8) >= limit) {
          reject(entry, counts, SERIES_LIMIT, 1);
          continue;
        }
        if (newAt + 24 + length > newEnd || seriesRecordAt + 24 + length > seriesRecord + listSize) {
          full = true;
          at = fieldAt;
          break;
        }
        lastHash = hash;
        const ref = load<u32>(head, 16);
        store<u32>(head, ref + 1, 16);
        series = createSeries(head, labels, length, ref);
      }
      if (late) {
        store<u32>(lateRow, <u32>series);
        store<u32>(lateRow, <u32>index, 4);
        store<i64>(lateRow, t, 8);
        store<u64>(lateRow, v, 16);
        if (sampleStart != 0 && startsFrom != 0) {
          noteLateStart(series, <u32>((lateRow - lateRows) / LATE_ROW), t, sampleStart);
        }
        lateRow += LATE_ROW;
        continue;
      }
      const ref = <i64>load<u32>(series, 12);
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
      store<u32>(row, <u32>series);
      store<u32>(row, load<u8>(series, 63) & HAS_SAMPLE, 4);
      store<i64>(row, t, 8);
      store<u64>(row, v, 16);
      store<i64>(row, lastT, 24);
      store<u64>(row, lastV, 32);
      row += ROW;
      store<i64>(series, t, 16);
      store<u64>(series, v, 24);
      const flagsNow = <u32>load<u8>(series, 63) | HAS_SAMPLE;
      store<u8>(series, flagsNow, 63);
      if (hasStart(flagsNow, sampleStart)) noteStart(series, t, sampleStart);
      if (t > highest) highest = t;
      if (t < lowest) lowest = t;
      store<u32>(counts, load<u32>(counts) + 1);
    }
    if (full) {
      resumeAt = at;
      break;
    }
  }
  seriesEntry = e;
  recordEnd = out;
  rowCount = <i32>((row - rows) / ROW);
  lateCount = <i32>((lateRow - lateRows) / LATE_ROW);
  deferredCount = <i32>((deferredRow - deferred) / DEFERRED_ROW);
  return rowCount;
}

function defer(row: usize, index: u32, series: usize, verdict: u32): usize {
  store<u32>(row, index);
  store<u32>(row, <u32>series, 4);
  store<u32>(row, verdict, 8);
  return row + DEFERRED_ROW;
}

/** Appends the rows to their chunks. */
export function headCommit(head: usize, rows: usize, count: i32): void {
  const range = load<i64>(head, 40);
  const end = rows + <usize>count * ROW;
  for (let row = rows; row < end; row += ROW) {
    appendSample(load<u32>(row), load<i64>(row, 8), load<u64>(row, 16), load<i64>(row, 24), load<u64>(row, 32), range);
  }
}

/** Puts the last samples of the rows' series back as they were. Series made by the prepare stay, empty. */
export function headRollback(rows: usize, count: i32): void {
  for (let i = count - 1; i >= 0; i--) {
    const row = rows + <usize>i * ROW;
    const series = <usize>load<u32>(row);
    store<i64>(series, load<i64>(row, 24), 16);
    store<u64>(series, load<u64>(row, 32), 24);
    if (load<u32>(row, 4) == 0) store<u8>(series, load<u8>(series, 63) & ~(<u8>HAS_SAMPLE), 63);
  }
}

/**
 * Replays the body of a samples record (after the type byte) into the head. `pages` is a table of u32 addresses by
 * ref - `firstRef`, `known` long. Returns the number of samples appended, or -1 for a malformed record;
 * samples that are not newer than their series' last, or older than `mint`, are passed over. Stops before a sample whose
 * series had a histogram last, or when the list of starts has `maxStarts` (`replayStoppedAt`, `replayStoppedSeries`):
 * `from` continues there, and is 0 at first.
 */
export function headReplaySamples(
  head: usize, at: usize, length: usize, byRef: usize, known: u32, mint: f64, from: usize, maxStarts: i32,
): i32 {
  const startsLimit = startsFrom + <usize>maxStarts * START;
  const end = at + length;
  stoppedSeries = 0;
  if (length < 16) return length == 0 ? 0 : -1;
  const earliest = <i64>mint;
  const range = load<i64>(head, 40);
  const baseRef = <i64>bswap<u64>(load<u64>(at));
  const baseTime = <i64>bswap<u64>(load<u64>(at, 8));
  at = from == 0 ? at + 16 : from;
  let appended = 0;
  unknownRefs = 0;
  highest = i64.MIN_VALUE;
  lowest = i64.MAX_VALUE;
  while (at < end) {
    const sampleAt = at;
    const rawRef = readVarint(at, end);
    at = afterVarint();
    if (at == 0) return -1;
    const rawTime = readVarint(at, end);
    at = afterVarint();
    if (at == 0 || end - at < 8) return -1;
    const v = bswap<u64>(load<u64>(at));
    at += 8;
    const ref = <u64>(baseRef + (<i64>(rawRef >> 1) ^ -(<i64>(rawRef & 1))));
    const t = baseTime + (<i64>(rawTime >> 1) ^ -(<i64>(rawTime & 1)));
    const series: usize = ref < <u64>known ? <usize>load<u32>(byRef + (<usize>ref << 2)) : <usize>0;
    if (series == 0) {
      unknownRefs++;
      continue;
    }
    if (t < earliest) continue;
    const flags = load<u8>(series, 63);
    const lastT = load<i64>(series, 16);
    if ((flags & HAS_SAMPLE) != 0 && t <= lastT) continue;
    if ((flags & HISTOGRAM) != 0 || (startsTo == startsLimit && hasStart(flags, 0))) {
      stoppedAt = sampleAt;
      stoppedSeries = series;
      break;
    }
    appendSample(series, t, v, lastT, load<u64>(series, 24), range);
    store<i64>(series, t, 16);
    store<u64>(series, v, 24);
    store<u8>(series, load<u8>(series, 63) | HAS_SAMPLE, 63);
    if (hasStart(flags, 0)) noteStart(series, t, 0);
    if (t > highest) highest = t;
    if (t < lowest) lowest = t;
    appended++;
  }
  return appended;
}

/** Before the sample that the next call goes on with: of the record its first time and start timestamp, of the sample before ref and start. */
let startedFirstTime: i64 = 0;
let startedFirst: i64 = 0;
let startedRef: i64 = 0;
let startedBefore: i64 = 0;

/**
 * The same for the body of a record of samples with start timestamps (see `startedRecord`), which it lists. A record that
 * names a marker that there is not is malformed.
 */
export function headReplayStarted(
  head: usize, at: usize, length: usize, byRef: usize, known: u32, mint: f64, from: usize, maxStarts: i32,
): i32 {
  const startsLimit = startsFrom + <usize>maxStarts * START;
  const end = at + length;
  stoppedSeries = 0;
  const earliest = <i64>mint;
  const range = load<i64>(head, 40);
  const begin = at;
  if (from != 0) at = from;
  let ref = startedRef;
  let start = startedBefore;
  let appended = 0;
  unknownRefs = 0;
  highest = i64.MIN_VALUE;
  lowest = i64.MAX_VALUE;
  while (at < end) {
    const sampleAt = at;
    const refBefore = ref;
    const startBefore = start;
    const isFirst = at == begin;
    const rawRef = readVarint(at, end);
    if (afterVarint() == 0) return -1;
    const rawTime = readVarint(afterVarint(), end);
    at = afterVarint();
    if (at == 0) return -1;
    let t = unzigzag(rawTime);
    let marker: u32 = 2;
    if (!isFirst) {
      if (at >= end) return -1;
      marker = load<u8>(at++);
      if (marker > 2) return -1;
    }
    if (marker == 2) {
      start = unzigzag(readVarint(at, end));
      at = afterVarint();
      if (at == 0) return -1;
    } else if (marker == 0) start = 0;
    if (end - at < 8) return -1;
    const v = bswap<u64>(load<u64>(at));
    at += 8;
    if (isFirst) {
      ref = unzigzag(rawRef);
      startedFirstTime = t;
      startedFirst = start;
    } else {
      ref += unzigzag(rawRef);
      t += startedFirstTime;
      if (marker == 2) start += startedFirst;
    }
    const series: usize = <u64>ref < <u64>known ? <usize>load<u32>(byRef + (<usize>ref << 2)) : <usize>0;
    if (series == 0) {
      unknownRefs++;
      continue;
    }
    if (t < earliest) continue;
    const flags = <u32>load<u8>(series, 63);
    const lastT = load<i64>(series, 16);
    if ((flags & HAS_SAMPLE) != 0 && t <= lastT) continue;
    const kept = knownStart(start);
    if ((flags & HISTOGRAM) != 0 || (startsTo == startsLimit && hasStart(flags, kept))) {
      stoppedAt = sampleAt;
      stoppedSeries = series;
      startedRef = refBefore;
      startedBefore = startBefore;
      break;
    }
    appendSample(series, t, v, lastT, load<u64>(series, 24), range);
    store<i64>(series, t, 16);
    store<u64>(series, v, 24);
    store<u8>(series, load<u8>(series, 63) | HAS_SAMPLE, 63);
    if (hasStart(flags, kept)) noteStart(series, t, kept);
    if (t > highest) highest = t;
    if (t < lowest) lowest = t;
    appended++;
  }
  return appended;
}

function unzigzag(raw: u64): i64 {
  return <i64>(raw >> 1) ^ -(<i64>(raw & 1));
}

let stoppedAt: usize = 0;
let stoppedSeries: usize = 0;
/** The series before whose sample the last replay stopped, or 0. */
export function replayStoppedSeries(): usize {
  return stoppedSeries;
}
export function replayStoppedAt(): usize {
  return stoppedAt;
}

let unknownRefs: i32 = 0;
/** Samples of the last replayed record whose series is not known. */
export function replayUnknownRefs(): i32 {
  return unknownRefs;
}

/** A single sample without a log, for samples that come from elsewhere; the caller has judged it. */
export function headAppendOne(head: usize, series: usize, t: f64, low: u32, high: u32): void {
  const time = <i64>t;
  const v = (<u64>high << 32) | low;
  appendSample(series, time, v, load<i64>(series, 16), load<u64>(series, 24), load<i64>(head, 40));
  store<i64>(series, time, 16);
  store<u64>(series, v, 24);
  store<u8>(series, load<u8>(series, 63) | HAS_SAMPLE, 63);
}

/** Marks a series for removal; after all marks `headUnlink` forgets them as successors, then `headRemove` frees each. */
export function seriesMarkDead(series: usize): void {
  store<u8>(series, load<u8>(series, 63) | <u8>DEAD, 63);
}

export function headUnlink(head: usize): void {
  const table = <usize>load<u32>(head);
  const slots = load<u32>(head, 4) + 1;
  for (let i: u32 = 0; i < slots; i++) {
    const series = <usize>load<u32>(table + (<usize>i << 3), 4);
    if (series == 0) continue;
    const successor = <usize>load<u32>(series, 8);
    if (successor != 0 && (load<u8>(successor, 63) & DEAD) != 0) store<u32>(series, 0, 8);
  }
  const last = <usize>load<u32>(head, 12);
  if (last != 0 && (load<u8>(last, 63) & DEAD) != 0) store<u32>(head, 0, 12);
}

export function headRemove(head: usize, series: usize): void {
  const labels = <usize>load<u32>(series);
  const length = <usize>load<u32>(series, 4);
  remove(head, hashBytes(labels, length), series);
  store<u32>(head, load<u32>(head, 8) - 1, 8);
  truncateSeries(series, i64.MAX_VALUE);
  free(labels, length);
  store<u32>(series, 0, 4);
  free(series, SERIES_SIZE);
}

/** Frees a pair that no series has any more. */
export function headRemovePair(head: usize, pair: usize): void {
  const length = <usize>load<u32>(pair, 4);
  remove(head + 24, hashBytes(pair + 8, length), pair);
  store<u32>(head, load<u32>(head, 32) - 1, 32);
  free(pair, 8 + length);
}

export function seriesTruncate(series: usize, mint: f64): bool {
  return truncateSeries(series, <i64>mint);
}

export function seriesCloseChunk(series: usize): void {
  closeOpenChunk(series);
}

/** Label sets in canonical bytes, in the order of Prometheus: name, value, pair by pair. */
function compareSeries(a: usize, b: usize): i32 {
  let p = <usize>load<u32>(a);
  let q = <usize>load<u32>(b);
  const pEnd = p + <usize>load<u32>(a, 4);
  const qEnd = q + <usize>load<u32>(b, 4);
  while (p < pEnd && q < qEnd) {
    readVarint(p + 1, pEnd);
    const pName = afterVarint() + 1;
    readVarint(q + 1, qEnd);
    const qName = afterVarint() + 1;
    const pNameLength = <usize>readVarint(pName, pEnd);
    const pText = afterVarint();
    const qNameLength = <usize>readVarint(qName, qEnd);
    const qText = afterVarint();
    let order = compareBytes(pText, pNameLength, qText, qNameLength);
    if (order != 0) return order;
    const pValueLength = <usize>readVarint(pText + pNameLength + 1, pEnd);
    const pValue = afterVarint();
    const qValueLength = <usize>readVarint(qText + qNameLength + 1, qEnd);
    const qValue = afterVarint();
    order = compareBytes(pValue, pValueLength, qValue, qValueLength);
    if (order != 0) return order;
    p = pValue + pValueLength;
    q = qValue + qValueLength;
  }
  return p < pEnd ? 1 : q < qEnd ? -1 : 0;
}

/**
 * One part of one pass of a merge sort of `count` entries (u32 series, u32 anything) by labels: merges pairs of sorted
 * runs of `width` from entry `start` on, until `most` entries are done, from `from` to `to`. Returns where it stopped.
 */
export function sortPass(from: usize, to: usize, count: i32, width: i32, start: i32, most: i32): i32 {
  const stop = start + most;
  while (start < count && start < stop) {
    let i = start;
    const middle = min(start + width, count);
    let j = middle;
    const end = min(start + (width << 1), count);
    for (let k = start; k < end; k++) {
      let first = i < middle;
      if (first && j < end) {
        first = compareSeries(load<u32>(from + (<usize>i << 3)), load<u32>(from + (<usize>j << 3))) <= 0;
      }
      store<u64>(to + (<usize>k << 3), load<u64>(from + (<usize>(first ? i++ : j++) << 3)));
    }
    start = end;
  }
  return start;
}
