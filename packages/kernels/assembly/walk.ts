// One pass over a prometheus.WriteRequest body: every TimeSeries becomes an entry of the table of
// src/write-request.ts, and of a second, internal one (`Detail`) that the head reads.
//
//   WriteRequest  1 TimeSeries*
//   TimeSeries    1 Label*  2 Sample*  3 Exemplar*  4 Histogram*
//   Label         1 name    2 value
//   Sample        1 double value  2 int64 timestamp
//
// Everything is checked here, nested messages included, so that later readers may trust the structure.
// The body needs 64 bytes of slack behind it.

import { bytesEqual, compareBytes } from "./copy";
import { headFind } from "./head";
import { hashBegin, hashByte, hashEnd, hashPut } from "./xxh64";

export const FLAG_HISTOGRAMS: u32 = 1;
export const FLAG_EXEMPLARS: u32 = 2;
export const FLAG_UNSORTED: u32 = 4;
export const FLAG_DUPLICATE_LABEL: u32 = 8;
export const FLAG_EMPTY_LABEL: u32 = 16;
export const FLAG_NO_LABELS: u32 = 32;
export const FLAG_INVALID_UTF8: u32 = 64;
/** The label bytes are not in the one form that the head stores; they are rewritten before a lookup. */
export const FLAG_NOT_CANONICAL: u32 = 256;

/** So many look-ups that lead to nothing a walk may cost beyond those that do. */
const MOST_MISSES: i32 = 32;

let position: usize = 0;
let errorAt: usize = 0;

/** Where the last walk stopped: the end, or the first field that no longer fitted the table. */
export function walkPosition(): usize {
  return position;
}
/** The address of the field that made the last walk fail. */
export function walkErrorAt(): usize {
  return errorAt;
}

let next: usize = 0;

/** Sets `next` behind the varint, or to 0 when it is cut or longer than ten bytes. */
export function readVarint(at: usize, end: usize): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 7) {
    if (at >= end) break;
    const byte = load<u8>(at++);
    value |= <u64>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      next = at;
      return value;
    }
  }
  next = 0;
  return 0;
}

// @ts-ignore: decorator
@inline
export function afterVarint(): usize {
  return next;
}

/** The address behind the value of a field with this wire type, or 0 when it does not fit. Groups are refused. */
export function skipField(wireType: u32, at: usize, end: usize): usize {
  if (wireType == 0) {
    readVarint(at, end);
    return next;
  }
  if (wireType == 1) return end - at >= 8 ? at + 8 : 0;
  if (wireType == 2) {
    const length = readVarint(at, end);
    if (next == 0 || length > <u64>(end - next)) return 0;
    return next + <usize>length;
  }
  if (wireType == 5) return end - at >= 4 ? at + 4 : 0;
  return 0;
}

function validFields(at: usize, end: usize): bool {
  while (at < end) {
    const tag = readVarint(at, end);
    if (next == 0 || tag >> 3 == 0 || tag > 0xffffffff) return false;
    at = skipField(<u32>tag & 7, next, end);
    if (at == 0) return false;
  }
  return true;
}

function validSample(at: usize, end: usize): bool {
  while (at < end) {
    const tag = readVarint(at, end);
    if (next == 0 || tag >> 3 == 0 || tag > 0xffffffff) return false;
    if ((tag >> 3 == 1 && (tag & 7) != 1) || (tag >> 3 == 2 && (tag & 7) != 0)) return false;
    at = skipField(<u32>tag & 7, next, end);
    if (at == 0) return false;
  }
  return true;
}

export let labelName: usize = 0;
export let labelNameLength: usize = 0;
export let labelText: usize = 0;
export let labelTextLength: usize = 0;

/** Reads any valid Label message into the four globals above; of a field given twice the last one counts. */
export function readLabel(at: usize, end: usize): bool {
  labelName = at;
  labelNameLength = 0;
  labelText = at;
  labelTextLength = 0;
  while (at < end) {
    const tag = readVarint(at, end);
    if (next == 0 || tag >> 3 == 0 || tag > 0xffffffff) return false;
    const field = tag >> 3;
    if (field == 1 || field == 2) {
      if ((tag & 7) != 2) return false;
      const length = readVarint(next, end);
      if (next == 0 || length > <u64>(end - next)) return false;
      if (field == 1) {
        labelName = next;
        labelNameLength = <usize>length;
      } else {
        labelText = next;
        labelTextLength = <usize>length;
      }
      at = next + <usize>length;
    } else {
      at = skipField(<u32>tag & 7, next, end);
      if (at == 0) return false;
    }
  }
  return true;
}

function validUtf8(at: usize, length: usize): bool {
  const end = at + length;
  while (at < end) {
    const a = <u32>load<u8>(at);
    if (a < 0x80) {
      at++;
      continue;
    }
    if (a < 0xc2 || a > 0xf4) return false;
    const more: usize = a < 0xe0 ? 1 : a < 0xf0 ? 2 : 3;
    if (end - at <= more) return false;
    const b = <u32>load<u8>(at + 1);
    if ((b & 0xc0) != 0x80) return false;
    if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f)) return false;
    if ((a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f)) return false;
    for (let i: usize = 2; i <= more; i++) if ((load<u8>(at + i) & 0xc0) != 0x80) return false;
    at += more + 1;
  }
  return true;
}

/** Reads up to 15 bytes behind the range; a high bit there only costs the caller a closer look. */
// @ts-ignore: decorator
@inline
function hasHighBit(at: usize, end: usize): bool {
  let all = v128.load(at);
  for (let p = at + 16; p < end; p += 16) all = v128.or(all, v128.load(p));
  return i8x16.bitmask(all) != 0;
}

/** Whether all names and values of a TimeSeries, whose fields were checked, are UTF-8. */
function labelsAreUtf8(from: usize, end: usize): bool {
  let at = from;
  while (at < end) {
    const tag = readVarint(at, end);
    let p = next;
    if (tag >> 3 != 1) {
      at = skipField(<u32>tag & 7, p, end);
      continue;
    }
    const length = <usize>readVarint(p, end);
    p = next;
    readLabel(p, p + length);
    if (!validUtf8(labelName, labelNameLength) || !validUtf8(labelText, labelTextLength)) return false;
    at = p + length;
  }
  return true;
}

/** The head whose series are tried, 0 for none; the series that the one before was found to be, or 0. */
let hintHead: usize = 0;
let hintChain: usize = 0;
let hits: i32 = 0;
let misses: i32 = 0;

/**
 * The series of the head that followed the last one in an earlier request, when its labels are those at `from`: they were
 * checked when it was made, and are in the head's form. 0 when it is not, or when a further label follows.
 */
// @ts-ignore: decorator
@inline
function expected(from: usize, end: usize): usize {
  if (hintChain == 0) return 0;
  const guess = <usize>load<u32>(hintChain, 8);
  if (guess == 0) return 0;
  const length = <usize>load<u32>(guess, 4);
  if (length > end - from || !bytesEqual(load<u32>(guess), from, length)) return 0;
  const after = from + length;
  return after == end || load<u8>(after) != 0x0a ? guess : 0;
}

/**
 * After a series that was not expected: looks it up, unless most are of no use here. One that the head does not have, as
 * where it has a share of the series only, lies between two that follow each other there.
 */
function resume(labels: usize, length: usize, flags: u32): void {
  misses++;
  if (misses > hits + MOST_MISSES || (flags & ~(FLAG_HISTOGRAMS | FLAG_EXEMPLARS)) != 0) return;
  const found = headFind(hintHead, labels, length);
  if (found != 0) hintChain = found;
}

/**
 * Walks fields of [from, end), filling table entries from `first` on; stops before the table is over `capacity`.
 * `tenantLength` < 0 leaves the hashes 0; then the series of `head`, 0 for none, are tried first: labels that are there
 * already need no check. Returns the number of entries in the table, or -1 for a malformed body.
 */
export function walkRequest(
  from: usize, end: usize, tenant: usize, tenantLength: i32, table: usize, detail: usize, first: i32, capacity: i32,
  head: usize,
): i32 {
  hintHead = head;
  hintChain = head == 0 ? 0 : <usize>load<u32>(head, 12);
  hits = 0;
  misses = 0;
  let count = first;
  let at = from;
  while (at < end) {
    errorAt = at;
    const start = at;
    let tag: u64 = load<u8>(at);
    if (tag < 0x80) at++;
    else {
      tag = readVarint(at, end);
      if (next == 0 || tag > 0xffffffff) return -1;
      at = next;
    }
    if (tag >> 3 == 0) return -1;
    if (tag >> 3 != 1) {
      at = skipField(<u32>tag & 7, at, end);
      if (at == 0) return -1;
      continue;
    }
    if (tag != 10) return -1;
    const length = readVarint(at, end);
    if (next == 0 || length > <u64>(end - next)) return -1;
    if (count == capacity) {
      position = start;
      return count;
    }
    const body = next;
    const stop = next + <usize>length;
    const entry = table + (<usize>count << 5);
    const more = detail + (<usize>count << 4);
    const known = expected(body, stop);
    if (!walkSeries(body, stop, tenant, tenantLength, entry, more, known)) return -1;
    store<u32>(entry, <u32>start);
    store<u32>(entry, <u32>(stop - start), 4);
    store<u64>(entry, 0, 24);
    count++;
    at = stop;
  }
  position = at;
  return count;
}

/** @param known The series whose labels these are, or 0. */
function walkSeries(
  from: usize, end: usize, tenant: usize, tenantLength: i32, entry: usize, detail: usize, known: usize,
): bool {
  const hashing = tenantLength >= 0;
  if (hashing) {
    hashBegin();
    hashPut(tenant, <usize>tenantLength);
    hashByte(0xff);
  }
  let flags: u32 = known == 0 ? FLAG_NO_LABELS : 0;
  let samples: u32 = 0;
  let labelsEnd = known == 0 ? from : from + <usize>load<u32>(known, 4);
  let previous: usize = 0;
  let previousLength: usize = 0;
  let at = labelsEnd;
  while (at < end) {
    errorAt = at;
    const fieldAt = at;
    let tag: u64 = load<u8>(at);
    if (tag < 0x80) at++;
    else {
      tag = readVarint(at, end);
      if (next == 0 || tag > 0xffffffff) return false;
      at = next;
      flags |= FLAG_NOT_CANONICAL;
    }
    const field = tag >> 3;
    if (field == 0) return false;
    if (field > 4) {
      at = skipField(<u32>tag & 7, at, end);
      if (at == 0) return false;
      continue;
    }
    if ((tag & 7) != 2) return false;
    let length: usize = at < end ? load<u8>(at) : 0x80;
    if (length < 0x80) at++;
    else {
      const long = readVarint(at, end);
      if (next == 0 || long > <u64>(end - next)) return false;
      length = <usize>long;
      if (load<u8>(next - 1) == 0) flags |= FLAG_NOT_CANONICAL;
      at = next;
    }
    if (length > end - at) return false;
    const stop = at + length;
    if (field == 2) {
      samples++;
      // 09 value 10 timestamp: what every sender writes.
      let plain = false;
      if (length > 10 && load<u8>(at) == 0x09 && load<u8>(at, 9) == 0x10) {
        let p = at + 10;
        while (p < stop && load<u8>(p) >= 0x80) p++;
        plain = p + 1 == stop && length <= 20;
      }
      if (!plain && !validSample(at, stop)) return false;
    } else if (field == 1) {
      // There are more labels than those of the series: from the beginning, as if it were not known.
      if (known != 0) return walkSeries(from, end, tenant, tenantLength, entry, detail, 0);
      if (fieldAt != labelsEnd) flags |= FLAG_NOT_CANONICAL;
      labelsEnd = stop;
      flags &= ~FLAG_NO_LABELS;
      let name = at + 2;
      let nameLength: usize = 0;
      let text: usize = 0;
      let textLength: usize = 0;
      let canonical = false;
      // 0a n name 12 n value, minimal lengths: the form that the head keeps.
      if (length >= 6 && load<u8>(at) == 0x0a) {
        nameLength = load<u8>(at, 1);
        const p = name + nameLength;
        if (nameLength - 1 < 0x7f && p + 2 < stop && load<u8>(p) == 0x12) {
          textLength = load<u8>(p, 1);
          text = p + 2;
          if (textLength >= 0x80) {
            const high = <usize>load<u8>(p, 2);
            textLength = (textLength & 0x7f) | (high << 7);
            text++;
            canonical = high - 1 < 0x7f && text + textLength == stop;
          } else canonical = textLength > 0 && text + textLength == stop;
        }
      }
      if (!canonical) {
        flags |= FLAG_NOT_CANONICAL;
        if (!readLabel(at, stop)) return false;
        name = labelName;
        nameLength = labelNameLength;
        text = labelText;
        textLength = labelTextLength;
        if (nameLength == 0 || textLength == 0) flags |= FLAG_EMPTY_LABEL;
      }
      if (previous != 0) {
        if (nameLength == 0 || previousLength == 0 || load<u8>(previous) >= load<u8>(name)) {
          const order = compareBytes(previous, previousLength, name, nameLength);
          if (order == 0) flags |= FLAG_DUPLICATE_LABEL;
          else if (order > 0) flags |= FLAG_UNSORTED;
        }
      }
      previous = name;
      previousLength = nameLength;
      if (hashing) {
        hashPut(name, nameLength);
        hashByte(0xff);
        hashPut(text, textLength);
        hashByte(0xff);
      }
    } else {
      flags |= field == 3 ? FLAG_EXEMPLARS : FLAG_HISTOGRAMS;
      if (!validFields(at, stop)) return false;
    }
    at = stop;
  }
  if (known == 0) {
    if (hasHighBit(from, labelsEnd) && !labelsAreUtf8(from, labelsEnd)) flags |= FLAG_INVALID_UTF8;
    if (hintHead != 0) resume(from, labelsEnd - from, flags);
  } else {
    hintChain = known;
    hits++;
  }
  store<u64>(entry, hashing ? hashEnd() : 0, 8);
  store<u32>(entry, flags, 16);
  store<u32>(entry, samples, 20);
  store<u32>(detail, <u32>from);
  store<u32>(detail, <u32>(labelsEnd - from), 4);
  store<u32>(detail, <u32>labelsEnd, 8);
  store<u32>(detail, <u32>end, 12);
  return true;
}
