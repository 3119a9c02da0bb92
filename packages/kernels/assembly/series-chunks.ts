// A series' chunks as StoreAPI sends them (src/series-chunks.ts): written, and decoded into a pair of columns.
//
//   AggrChunk   12 length | 08 min time | 10 max time | 1a length | (08 type)? 12 length data (18 hash)?
//
// That is how every sender writes floats of raw samples; a time or hash of 0 is left out. Whatever differs is left to
// the general decoder, but for XOR2 (type 3) where start timestamps are not wanted.

import { xor2Decode } from "./xor2";
import { xorDecode } from "./xor-decode";
import { xxh64 } from "./xxh64";

/** Not the usual layout, not XOR, or chunks that reach back: nothing is wrong yet. */
const UNUSUAL: i32 = -1;
/** A chunk ends before its own count says. */
const TRUNCATED: i32 = -2;
/** A sample takes two bits at least: a chunk that claims more is not given memory. */
const MOST_SAMPLES_PER_BYTE: usize = 4;
/** Of XOR2 one bit. */
const MOST_XOR2_SAMPLES_PER_BYTE: usize = 8;
const XOR: u32 = 0;
const XOR2: u32 = 3;

let p: usize = 0;
let broken: bool = false;

function uvarint(end: usize): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 7) {
    if (p >= end) break;
    const byte = <u64>load<u8>(p++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  broken = true;
  return 0;
}

let minTime: i64 = 0;
let maxTime: i64 = 0;
let data: usize = 0;
let dataLength: usize = 0;
let chunkType: u32 = XOR;

/** Reads the AggrChunk at `p` and goes behind it; false for one that is not usual, as any of XOR2 is unless `xor2`. */
function usual(end: usize, xor2: bool): bool {
  broken = false;
  chunkType = XOR;
  if (load<u8>(p++) != 0x12) return false;
  const length = uvarint(end);
  if (broken || length > <u64>(end - p)) return false;
  const stop = p + <usize>length;
  if (p >= stop || load<u8>(p++) != 0x08) return false;
  minTime = <i64>uvarint(stop);
  if (p >= stop || load<u8>(p++) != 0x10) return false;
  maxTime = <i64>uvarint(stop);
  if (p >= stop || load<u8>(p++) != 0x1a) return false;
  if (uvarint(stop) != <u64>(stop - p) || broken || p >= stop) return false;
  let tag = load<u8>(p++);
  if (tag == 0x08) {
    const type = uvarint(stop);
    if (p >= stop || (type != XOR && !(xor2 && type == XOR2))) return false;
    chunkType = <u32>type;
    tag = load<u8>(p++);
  }
  if (tag != 0x12) return false;
  const size = uvarint(stop);
  if (broken || size > <u64>(stop - p)) return false;
  data = p;
  dataLength = <usize>size;
  p += dataLength;
  if (p < stop) {
    if (load<u8>(p++) != 0x18) return false;
    uvarint(stop);
  }
  return !broken && p == stop;
}

/**
 * The samples that the chunks in [at, end) which overlap [mint, maxt] claim to have; UNUSUAL when one is not a usual
 * chunk or does not begin after the one before it. Chunks of XOR2 are usual when `xor2` is set.
 */
export function chunksClaimed(at: usize, end: usize, mint: f64, maxt: f64, xor2: bool): i32 {
  let total: usize = 0;
  let before = i64.MIN_VALUE;
  p = at;
  while (p < end) {
    if (!usual(end, xor2)) return UNUSUAL;
    if (minTime <= before || maxTime < minTime) return UNUSUAL;
    before = maxTime;
    if (<f64>maxTime < mint || <f64>minTime > maxt) continue;
    if (dataLength < 2) return TRUNCATED;
    const count = <usize>bswap<u16>(load<u16>(data));
    const perByte = chunkType == XOR ? MOST_SAMPLES_PER_BYTE : MOST_XOR2_SAMPLES_PER_BYTE;
    if (count > dataLength * perByte) return TRUNCATED;
    total += count;
  }
  return <i32>min<usize>(total, <usize>i32.MAX_VALUE);
}

/**
 * Decodes those chunks into columns that have room for what they claim; returns the number of samples. What a chunk
 * holds past [mint, maxt] is decoded too; start timestamps are left out.
 */
export function chunksDecode(
  at: usize, end: usize, mint: f64, maxt: f64, xor2: bool, times: usize, values: usize,
): i32 {
  let total: usize = 0;
  p = at;
  while (p < end) {
    if (!usual(end, xor2)) return UNUSUAL;
    if (<f64>maxTime < mint || <f64>minTime > maxt) continue;
    const to = times + (total << 3);
    const decoded = chunkType == XOR
      ? xorDecode(data, dataLength, to, values + (total << 3), -1)
      : xor2Decode(data, dataLength, to, values + (total << 3), 0);
    if (decoded < 0) return TRUNCATED;
    if (decoded == 0) continue;
    // A chunk may hold samples from before the time that it says.
    if (total > 0 && load<f64>(to) <= load<f64>(to - 8)) return UNUSUAL;
    total += <usize>decoded;
  }
  return <i32>total;
}

// @ts-ignore: decorator
@inline
function varintSize(value: u64): usize {
  return (<usize>(70 - clz<u64>(value | 1))) / 7;
}

// @ts-ignore: decorator
@inline
function putVarint(at: usize, value: u64): usize {
  while (value >= 0x80) {
    store<u8>(at++, <u8>value | 0x80);
    value >>= 7;
  }
  store<u8>(at++, <u8>value);
  return at;
}

/** What a chunk's field needs at most beside its data. */
const AROUND: usize = 72;

/**
 * Writes a chunk of the given StoreAPI type at `to`, where there is room for its data and AROUND; returns where it
 * ends.
 */
export function chunkWrite(to: usize, minT: f64, maxT: f64, type: u32, at: usize, length: usize): usize {
  const low = <u64>(<i64>minT);
  const high = <u64>(<i64>maxT);
  const hash = xxh64(at, length);
  let raw: usize = 1 + varintSize(length) + length;
  if (type != 0) raw += 2;
  if (hash != 0) raw += 1 + varintSize(hash);
  let size: usize = 1 + varintSize(raw) + raw;
  if (low != 0) size += 1 + varintSize(low);
  if (high != 0) size += 1 + varintSize(high);
  store<u8>(to++, 0x12);
  to = putVarint(to, size);
  if (low != 0) {
    store<u8>(to++, 0x08);
    to = putVarint(to, low);
  }
  if (high != 0) {
    store<u8>(to++, 0x10);
    to = putVarint(to, high);
  }
  store<u8>(to++, 0x1a);
  to = putVarint(to, raw);
  if (type != 0) {
    store<u8>(to++, 0x08);
    store<u8>(to++, <u8>type);
  }
  store<u8>(to++, 0x12);
  to = putVarint(to, length);
  memory.copy(to, at, length);
  to += length;
  if (hash != 0) {
    store<u8>(to++, 0x18);
    to = putVarint(to, hash);
  }
  return to;
}

const MOST_CHUNKS: u32 = 1024;
/** Addresses of closed chunks, newest first. */
const nodes = memory.data(4096);
/** Of a chunk whose sample count is an earlier one than it says. */
const counted = memory.data(2048);

function writeCounted(to: usize, minT: f64, maxT: f64, at: usize, length: usize, samples: u32): usize {
  memory.copy(counted, at, length);
  store<u16>(counted, bswap<u16>(<u16>samples));
  return chunkWrite(to, minT, maxT, 0, counted, length);
}

// @ts-ignore: decorator
@inline
function endsBefore(node: usize, floor: f64): bool {
  return node == 0 || <f64>load<i64>(node, 16) < floor;
}

/**
 * Writes those chunks of a head's series (drawn in xor.ts) that were there at a mark, do not end before `floor` and
 * overlap [mint, maxt]. Returns where they end, or 0 when there are too many, one is no XOR chunk or does not begin after
 * `after`, or there is no room before `end`.
 *
 * @param newest The newest closed chunk at the mark, or 0.
 * @param samples Of the chunk that was open at the mark, whose last sample is of `lastT`; 0 for none.
 */
export function chunksOfSeries(
  series: usize,
  newest: usize,
  samples: u32,
  lastT: f64,
  floor: f64,
  mint: f64,
  maxt: f64,
  after: f64,
  to: usize,
  end: usize,
): usize {
  const from = max(mint, floor);
  let count: u32 = 0;
  for (let node = newest; !endsBefore(node, floor); node = <usize>load<u32>(node)) {
    if (count == MOST_CHUNKS || load<u16>(node, 4) == 0) return 0;
    store<u32>(nodes + <usize>(count++ << 2), <u32>node);
  }
  while (count > 0) {
    const node = <usize>load<u32>(nodes + <usize>(--count << 2));
    const minT = <f64>load<i64>(node, 8);
    const maxT = <f64>load<i64>(node, 16);
    if (maxT < from || minT > maxt) continue;
    const length = <usize>load<u16>(node, 4);
    if (minT <= after || end - to < length + AROUND) return 0;
    to = chunkWrite(to, minT, maxT, 0, node + 24, length);
  }
  if (samples == 0 || lastT < from) return to;
  let node = <usize>load<u32>(series, 52);
  if (node == newest || endsBefore(node, floor)) {
    const slot = <usize>load<u32>(series, 48);
    const minT = <f64>load<i64>(slot);
    const length = <usize>load<u16>(series, 56);
    if (minT > maxt) return to;
    if (minT <= after || end - to < length + AROUND) return 0;
    return writeCounted(to, minT, lastT, slot + 8, length, samples);
  }
  // The chunk that was open then is the oldest of those that were closed since.
  for (;;) {
    const older = <usize>load<u32>(node);
    if (older == newest || endsBefore(older, floor)) break;
    node = older;
  }
  const length = <usize>load<u16>(node, 4);
  const minT = <f64>load<i64>(node, 8);
  if (length == 0) return 0;
  if (minT > maxt) return to;
  if (minT <= after || end - to < length + AROUND) return 0;
  return writeCounted(to, minT, lastT, node + 24, length, samples);
}
