// A sender's own numbers for the series that pass through it, so that a record can name a series by its number
// instead of its labels.
//
//   refs (64 bytes), its first words as the head's, because `find` serves both
//    0 u32 table     4 u32 mask       8 u32 series      12 u32 last one looked up
//   16 u32 by number 20 u32 its size
//   entry (32 bytes)
//    0 u32 labels    4 u32 label bytes   8 u32 successor    12 u32 number
//   16 i32 section of the ring, -1 when it is not known     20 u32 generation in which it was last seen
//
// A row of a record: zigzag(number - last number - 1), zigzag(time - last time), f64 value; all but the value are
// varints, and the last time is the record's base time at first. Beside the rows, of those that have a start timestamp:
// zigzag(row - last row - 1), zigzag(start timestamp - last one).

import { alloc, free } from "./arena";
import { INVALID_LABELS, MAX_LABEL_BYTES, find, growTable, hashOfLastFind, insert, knownStart, putVarint } from "./head";
import { FLAG_EXEMPLARS, FLAG_HISTOGRAMS, FLAG_NOT_CANONICAL, afterVarint, readVarint } from "./walk";

const REFS_SIZE: usize = 64;
const ENTRY: usize = 32;
const FIRST_SLOTS: usize = 1024;
const NONE: u32 = 0xffffffff;

export function refsNew(): usize {
  const refs = alloc(REFS_SIZE);
  const table = alloc(FIRST_SLOTS << 3);
  const byNumber = alloc(FIRST_SLOTS << 2);
  if (refs == 0 || table == 0 || byNumber == 0) return 0;
  memory.fill(refs, 0, REFS_SIZE);
  memory.fill(table, 0, FIRST_SLOTS << 3);
  store<u32>(refs, <u32>table);
  store<u32>(refs, <u32>FIRST_SLOTS - 1, 4);
  store<u32>(refs, <u32>byNumber, 16);
  store<u32>(refs, <u32>FIRST_SLOTS, 20);
  return refs;
}

export function refsFree(refs: usize): void {
  const count = <usize>load<u32>(refs, 8);
  const byNumber = <usize>load<u32>(refs, 16);
  for (let i: usize = 0; i < count; i++) {
    const entry = <usize>load<u32>(byNumber + (i << 2));
    free(load<u32>(entry), load<u32>(entry, 4));
    free(entry, ENTRY);
  }
  free(byNumber, <usize>load<u32>(refs, 20) << 2);
  free(load<u32>(refs), (<usize>load<u32>(refs, 4) + 1) << 3);
  free(refs, REFS_SIZE);
}

export function refsCount(refs: usize): u32 {
  return load<u32>(refs, 8);
}

/** The entry of a number, which was given out. */
export function refsEntry(refs: usize, number: u32): usize {
  return load<u32>(<usize>load<u32>(refs, 16) + (<usize>number << 2));
}

/** Entries seen in `generation` or later. */
export function refsSeenSince(refs: usize, generation: u32): u32 {
  const count = <usize>load<u32>(refs, 8);
  const byNumber = <usize>load<u32>(refs, 16);
  let seen: u32 = 0;
  for (let i: usize = 0; i < count; i++) {
    if (load<u32>(<usize>load<u32>(byNumber + (i << 2)), 20) >= generation) seen++;
  }
  return seen;
}

/** The ring has changed. */
export function refsForgetSections(refs: usize): void {
  const count = <usize>load<u32>(refs, 8);
  const byNumber = <usize>load<u32>(refs, 16);
  for (let i: usize = 0; i < count; i++) store<i32>(<usize>load<u32>(byNumber + (i << 2)), -1, 16);
}

/** `find` has just looked for these labels in vain. */
function create(refs: usize, labels: usize, length: usize): usize {
  const hash = hashOfLastFind();
  const number = load<u32>(refs, 8);
  if ((number + 1) * 4 > (load<u32>(refs, 4) + 1) * 3) growTable(refs);
  if (number == load<u32>(refs, 20)) {
    const old = <usize>load<u32>(refs, 16);
    const grown = alloc(<usize>number << 3);
    if (grown == 0) return 0;
    memory.copy(grown, old, <usize>number << 2);
    free(old, <usize>number << 2);
    store<u32>(refs, <u32>grown, 16);
    store<u32>(refs, number << 1, 20);
  }
  const copy = alloc(length);
  if (copy == 0) return 0;
  const entry = alloc(ENTRY);
  if (entry == 0) {
    free(copy, length);
    return 0;
  }
  memory.copy(copy, labels, length);
  memory.fill(entry, 0, ENTRY);
  store<u32>(entry, <u32>copy);
  store<u32>(entry, <u32>length, 4);
  store<u32>(entry, number, 12);
  store<i32>(entry, -1, 16);
  store<u32>(<usize>load<u32>(refs, 16) + (<usize>number << 2), <u32>entry);
  insert(refs, hash, entry);
  store<u32>(refs, number + 1, 8);
  const before = <usize>load<u32>(refs, 12);
  if (before != 0) store<u32>(before, <u32>entry, 8);
  store<u32>(refs, <u32>entry, 12);
  return entry;
}

let allFlags: u32 = 0;
/** The flags of all entries of the last `refsFind`. */
export function refsFlags(): u32 {
  return allFlags;
}

/**
 * Looks up, or makes as long as there are fewer than `limit`, the number of every entry of a request's table, and
 * writes (u32 number or NONE, i32 section or -1) for each to `found`. Returns how many sections are not known.
 */
export function refsFind(
  refs: usize, table: usize, detail: usize, entries: i32, limit: u32, generation: u32, found: usize,
): i32 {
  let open = 0;
  allFlags = 0;
  for (let e = 0; e < entries; e++) {
    const flags = load<u32>(table + (<usize>e << 5), 16);
    allFlags |= flags;
    const more = detail + (<usize>e << 4);
    const length = <usize>load<u32>(more, 4);
    let entry: usize = 0;
    if ((flags & (INVALID_LABELS | FLAG_NOT_CANONICAL)) == 0 && length <= MAX_LABEL_BYTES) {
      const labels = <usize>load<u32>(more);
      entry = find(refs, labels, length);
      if (entry == 0 && load<u32>(refs, 8) < limit) entry = create(refs, labels, length);
    }
    if (entry == 0) {
      store<u64>(found, 0xffffffffffffffff);
      open++;
    } else {
      const section = load<i32>(entry, 16);
      store<u32>(entry, generation, 20);
      store<u32>(found, load<u32>(entry, 12));
      store<i32>(found, section, 4);
      if (section < 0) open++;
    }
    found += 8;
  }
  return open;
}

let rowsEnd: usize = 0;
let restCount: i32 = 0;
let baseTime: i64 = 0;

export function refsRowsEnd(): usize {
  return rowsEnd;
}
/** Entries of the last `refsRows` that no row can tell. */
export function refsRest(): i32 {
  return restCount;
}
export function refsBaseTime(): i64 {
  return baseTime;
}

// @ts-ignore: decorator
@inline
function zigzag(value: i64): u64 {
  return <u64>((value << 1) ^ (value >> 63));
}

let startsAt: usize = 0;

/** Where the next `refsRows` writes start timestamps, up to 15 bytes a row; 0 when the receiver takes none. */
export function refsStartsInto(at: usize): void {
  startsAt = at;
}
export function refsStartsEnd(): usize {
  return startsAt;
}

/**
 * Writes the samples of entries (through `chosen` when that is not 0) as rows to `to`, and for each row its entry to
 * `order`. An entry goes to `rest` instead when the receiver does not know its number (`registered`, a byte for each)
 * or it is more than plain float samples. A row needs up to 23 bytes, and has at least 13 in the request.
 */
export function refsRows(
  table: usize, detail: usize, chosen: usize, entries: i32, found: usize, registered: usize, to: usize, order: usize, rest: usize,
): i32 {
  let out = to;
  let rows = order;
  let left = rest;
  let previous: i64 = -1;
  let time: i64 = 0;
  baseTime = 0;
  let lastStarted: i64 = -1;
  let lastStart: i64 = 0;
  for (let e = 0; e < entries; e++) {
    const index: usize = chosen == 0 ? <usize>e : load<u32>(chosen + (<usize>e << 2));
    const number = load<u32>(found + (index << 3));
    const flags = load<u32>(table + (index << 5), 16);
    let at = <usize>load<u32>(detail + (index << 4), 8);
    const end = <usize>load<u32>(detail + (index << 4), 12);
    let plain =
      number != NONE && at < end && (flags & (FLAG_HISTOGRAMS | FLAG_EXEMPLARS)) == 0 &&
      load<u8>(registered + <usize>number) != 0;
    const outBefore = out;
    const rowsBefore = rows;
    const previousBefore = previous;
    const timeBefore = time;
    const startsBefore = startsAt;
    const startedBefore = lastStarted;
    const startBefore = lastStart;
    while (plain && at < end) {
      // 12 n 09 value 10 timestamp, and 18 start timestamp when there is one
      const n = <usize>load<u8>(at, 1);
      const stop = at + 2 + n;
      if (load<u8>(at) != 18 || n < 11 || n > 31 || stop > end || load<u8>(at, 2) != 0x09 || load<u8>(at, 11) != 0x10) {
        plain = false;
        break;
      }
      const t = <i64>readVarint(at + 12, stop);
      const more = afterVarint();
      let start: i64 = 0;
      if (more != stop) {
        if (more != 0 && load<u8>(more) == 0x18) start = <i64>readVarint(more + 1, stop);
        if (more == 0 || afterVarint() != stop) {
          plain = false;
          break;
        }
        start = knownStart(start);
      }
      if (start != 0 && startsAt != 0) {
        const row = <i64>((rows - order) >> 2);
        startsAt = putVarint(startsAt, zigzag(row - lastStarted - 1));
        startsAt = putVarint(startsAt, zigzag(start - lastStart));
        lastStarted = row;
        lastStart = start;
      }
      if (rows == order) {
        baseTime = t;
        time = t;
      }
      out = putVarint(out, zigzag(<i64>number - previous - 1));
      out = putVarint(out, zigzag(t - time));
      store<u64>(out, load<u64>(at, 3));
      out += 8;
      previous = number;
      time = t;
      store<u32>(rows, <u32>index);
      rows += 4;
      at = stop;
    }
    if (!plain) {
      out = outBefore;
      rows = rowsBefore;
      previous = previousBefore;
      time = timeBefore;
      startsAt = startsBefore;
      lastStarted = startedBefore;
      lastStart = startBefore;
      store<u32>(left, <u32>index);
      left += 4;
    }
  }
  rowsEnd = out;
  restCount = <i32>((left - rest) >> 2);
  return <i32>((rows - order) >> 2);
}
