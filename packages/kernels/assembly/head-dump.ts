// A series of a head as bytes that another process makes it from again: labels, what its next sample is judged and
// appended by, and chunks as they lie in memory.
//
//   u32 ref   u32 label bytes   u32 open bytes, 0 for none   u32 closed chunks
//   48 bytes: the series' words from 16 on, as in xor.ts, of which the two addresses mean nothing
//   label bytes | open chunk: i64 first t, the chunk | closed chunks, newest first: u32 bytes, then they as in xor.ts

import { alloc } from "./arena";
import { headRestore, newListEnd } from "./head";
import { HAS_SAMPLE, HISTOGRAM, SLOT_CLASS_MASK, closedSize, slotSize } from "./xor";

const HEADER: usize = 16;
const FIELDS: usize = 16;
const FIELDS_SIZE: usize = 48;
/** Smaller ones cannot be freed: a closed chunk has at least its header. */
const LEAST_CLOSED: u32 = 24;

/**
 * Writes a series at `out`; returns where it ends, or 0 when that is behind `end`. Of a series whose last sample is a
 * native histogram what is open lies elsewhere: it is written as if its closed chunks were all, without the newest when
 * `skipNewest` is set.
 */
export function seriesDump(series: usize, skipNewest: bool, out: usize, end: usize): usize {
  const length = <usize>load<u32>(series, 4);
  const slot = <usize>load<u32>(series, 48);
  const open: usize = slot != 0 && load<u16>(series, 58) != 0 ? 8 + <usize>load<u16>(series, 56) : 0;
  let at = out + HEADER + FIELDS_SIZE + length + open;
  if (at > end) return 0;
  store<u32>(out, load<u32>(series, 12));
  store<u32>(out, <u32>length, 4);
  store<u32>(out, <u32>open, 8);
  memory.copy(out + HEADER, series + FIELDS, FIELDS_SIZE);
  memory.copy(out + HEADER + FIELDS_SIZE, load<u32>(series), length);
  if (open != 0) memory.copy(out + HEADER + FIELDS_SIZE + length, slot, open);
  let chunk = <usize>load<u32>(series, 52);
  if (skipNewest && chunk != 0) chunk = load<u32>(chunk);
  const newest = chunk;
  let count: u32 = 0;
  for (; chunk != 0; chunk = load<u32>(chunk)) {
    const size = closedSize(chunk);
    if (at + 4 + size > end) return 0;
    store<u32>(at, <u32>size);
    memory.copy(at + 4, chunk, size);
    at += 4 + size;
    count++;
  }
  store<u32>(out, count, 12);
  const flags = <u32>load<u8>(series, 63);
  if ((flags & HISTOGRAM) != 0) {
    const last = newest == 0 ? 0 : load<i64>(newest, 16);
    store<i64>(out + HEADER, last);
    store<u64>(out + HEADER, 0, 8);
    store<u8>(out + HEADER, newest == 0 ? 0 : HAS_SAMPLE, 47);
  }
  return at;
}

let stopped: usize = 0;
let lowest: i64 = 0;
let highest: i64 = 0;

/** Where the last `headRestoreDump` stopped, because the list was full or all was done. */
export function restoredEnd(): usize {
  return stopped;
}
/** Of the samples that the last `headRestoreDump` made; i64's ends when there were none. */
export function restoredMinTime(): f64 {
  return <f64>lowest;
}
export function restoredMaxTime(): f64 {
  return <f64>highest;
}

/**
 * Makes the series at `at`, one after another, until `end` or until `list` (see `headRestore`) has no room for another.
 * Chunks that end before `mint` are left out. Returns how many series it made; -1 for bytes that are no series, -2 for
 * one that is there already, -3 for a chunk that reaches over `mint`.
 */
export function headRestoreDump(head: usize, at: usize, end: usize, mint: f64, list: usize, listSize: usize): i32 {
  const earliest = <i64>mint;
  lowest = i64.MAX_VALUE;
  highest = i64.MIN_VALUE;
  let made = 0;
  let free = list;
  while (at < end) {
    stopped = at;
    if (end - at < HEADER + FIELDS_SIZE) return -1;
    const ref = load<u32>(at);
    const length = <usize>load<u32>(at, 4);
    const open = <usize>load<u32>(at, 8);
    const count = load<u32>(at, 12);
    const fields = at + HEADER;
    const labels = fields + FIELDS_SIZE;
    if (length > end - labels || open > end - labels - length) return -1;
    if (made > 0 && free + 24 + length > list + listSize) return made;
    const series = headRestore(head, labels, length, ref, free);
    if (newListEnd() == free) return -2;
    free = newListEnd();
    made++;
    memory.copy(series + FIELDS, fields, FIELDS_SIZE);
    store<u32>(series, 0, 48);
    store<u32>(series, 0, 52);
    at = labels + length;
    const flags = <u32>load<u8>(series, 63);
    const last = load<i64>(series, 16);
    if (open != 0 && last >= earliest) {
      const first = load<i64>(at);
      if (first < earliest) return -3;
      const size = slotSize(flags);
      if (open > size || open != 8 + <usize>load<u16>(series, 56)) return -1;
      const slot = alloc(size);
      if (slot == 0) unreachable();
      memory.copy(slot, at, open);
      store<u32>(series, <u32>slot, 48);
      if (first < lowest) lowest = first;
      if (last > highest) highest = last;
    } else {
      store<u16>(series, 0, 58);
      store<u8>(series, flags & ~SLOT_CLASS_MASK, 63);
    }
    at += open;
    let newer = series + 52;
    for (let i: u32 = 0; i < count; i++) {
      if (end - at < 4) return -1;
      const size = load<u32>(at);
      at += 4;
      if (size < LEAST_CLOSED || size > <u32>(end - at) || size != <u32>closedSize(at)) return -1;
      const chunk = at;
      at += size;
      const chunkLast = load<i64>(chunk, 16);
      if (chunkLast < earliest) continue;
      const chunkFirst = load<i64>(chunk, 8);
      if (chunkFirst < earliest) return -3;
      const closed = alloc(size);
      if (closed == 0) unreachable();
      memory.copy(closed, chunk, size);
      store<u32>(closed, 0);
      store<u32>(newer, <u32>closed);
      newer = closed;
      if (chunkFirst < lowest) lowest = chunkFirst;
      if (chunkLast > highest) highest = chunkLast;
    }
  }
  stopped = at;
  return made;
}
