// A series' chunks as StoreAPI sends them (src/series-chunks.ts), decoded into a pair of columns.
//
//   AggrChunk   12 length | 08 min time | 10 max time | 1a length | (08 type)? 12 length data (18 hash)?
//
// That is how every sender writes floats of raw samples. Whatever differs is left to the general decoder.

import { xorDecode } from "./xor-decode";

/** Not the usual layout, not XOR, or chunks that reach back: nothing is wrong yet. */
const UNUSUAL: i32 = -1;
/** A chunk ends before its own count says. */
const TRUNCATED: i32 = -2;
/** A sample takes two bits at least: a chunk that claims more is not given memory. */
const MOST_SAMPLES_PER_BYTE: usize = 4;

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

/** Reads the AggrChunk at `p` and goes behind it; false for one that is not usual. */
function usual(end: usize): bool {
  broken = false;
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
    // Type 0 is XOR.
    if (uvarint(stop) != 0 || p >= stop) return false;
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
 * chunk or does not begin after the one before it.
 */
export function chunksClaimed(at: usize, end: usize, mint: f64, maxt: f64): i32 {
  let total: usize = 0;
  let before = i64.MIN_VALUE;
  p = at;
  while (p < end) {
    if (!usual(end)) return UNUSUAL;
    if (minTime <= before || maxTime < minTime) return UNUSUAL;
    before = maxTime;
    if (<f64>maxTime < mint || <f64>minTime > maxt) continue;
    if (dataLength < 2) return TRUNCATED;
    const count = <usize>bswap<u16>(load<u16>(data));
    if (count > dataLength * MOST_SAMPLES_PER_BYTE) return TRUNCATED;
    total += count;
  }
  return <i32>min<usize>(total, <usize>i32.MAX_VALUE);
}

/**
 * Decodes those chunks into columns that have room for what they claim; returns the number of samples. What a chunk
 * holds past [mint, maxt] is decoded too.
 */
export function chunksDecode(at: usize, end: usize, mint: f64, maxt: f64, times: usize, values: usize): i32 {
  let total: usize = 0;
  p = at;
  while (p < end) {
    if (!usual(end)) return UNUSUAL;
    if (<f64>maxTime < mint || <f64>minTime > maxt) continue;
    const to = times + (total << 3);
    const decoded = xorDecode(data, dataLength, to, values + (total << 3), -1);
    if (decoded < 0) return TRUNCATED;
    if (decoded == 0) continue;
    // A chunk may hold samples from before the time that it says.
    if (total > 0 && load<f64>(to) <= load<f64>(to - 8)) return UNUSUAL;
    total += <usize>decoded;
  }
  return <i32>total;
}
