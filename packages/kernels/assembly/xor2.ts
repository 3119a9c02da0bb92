// XOR2 chunks (Prometheus, tsdb/docs/format/chunks.md): floats with start timestamps, to and from columns. The format is drawn in
// tsdb/src/chunkenc/xor2.ts, which is the twin of what is here.
//
// Columns are of f64, times and start timestamps (0 for none) in ms, values as bits.

import { putBits, putUvarint, putWide, startBits, bitsEnd, fits } from "./xor";
import { uvarint, uvarintEnd } from "./xor-decode";

const STALE: u64 = 0x7ff0000000000002;
const FIRST_STORED: u32 = 0x80;
/** The header has seven bits for the index of the first sample behind which a start timestamp stands. */
const LAST_START: u32 = 127;
const NO_WINDOW: u32 = 0xff;

let leading: u32 = 0;
let trailing: u32 = 0;
/** The last value that was not stale. */
let value: u64 = 0;

/** A signed number whose prefix of ones says its bits: 3, 6, 9, 12, 18, 25, 56 or 64. */
function putVarbit(v: i64): void {
  if (v == 0) putBits(0, 1);
  else if (fits(v, 3)) putBits((2 << 3) | (<u64>v & 0x7), 5);
  else if (fits(v, 6)) putBits((6 << 6) | (<u64>v & 0x3f), 9);
  else if (fits(v, 9)) putBits((14 << 9) | (<u64>v & 0x1ff), 13);
  else if (fits(v, 12)) putBits((30 << 12) | (<u64>v & 0xfff), 17);
  else if (fits(v, 18)) putBits((62 << 18) | (<u64>v & 0x3ffff), 24);
  else if (fits(v, 25)) putBits((126 << 25) | (<u64>v & 0x1ffffff), 32);
  else if (fits(v, 56)) {
    putBits(254, 8);
    putBits(<u64>v & 0xffffffffffffff, 56);
  } else {
    putBits(255, 8);
    putWide(<u64>v, 64);
  }
}

// @ts-ignore: decorator
@inline
function fitsWindow(xor: u64): bool {
  return leading != NO_WINDOW && <u32>clz<u64>(xor) >= leading && <u32>ctz<u64>(xor) >= trailing;
}

function putInside(v: u64): void {
  putWide((value ^ v) >> trailing, 64 - leading - trailing);
  value = v;
}

function putOpening(v: u64): void {
  const xor = value ^ v;
  leading = min<u32>(<u32>clz<u64>(xor), 31);
  trailing = <u32>ctz<u64>(xor);
  const bits = 64 - leading - trailing;
  putBits((<u64>leading << 6) | (bits & 63), 11);
  putWide(xor >> trailing, bits);
  value = v;
}

function putCodeA(v: u64): void {
  if (v == STALE) putBits(7, 3);
  else if (v == value) putBits(0, 1);
  else if (fitsWindow(value ^ v)) {
    putBits(2, 2);
    putInside(v);
  } else {
    putBits(6, 3);
    putOpening(v);
  }
}

function putJoint(dod: i64, v: u64): void {
  if (dod == 0) {
    if (v == STALE) putBits(31, 5);
    else if (v == value) putBits(0, 1);
    else if (fitsWindow(value ^ v)) {
      putBits(4, 3);
      putInside(v);
    } else {
      putBits(5, 3);
      putOpening(v);
    }
    return;
  }
  if (dod >= -4096 && dod < 4096) putBits((6 << 13) | (<u64>dod & 0x1fff), 16);
  else if (dod >= -524288 && dod < 524288) putBits((14 << 20) | (<u64>dod & 0xfffff), 24);
  else {
    putBits(30, 5);
    putWide(<u64>dod, 64);
  }
  putCodeA(v);
}

function zigzag(v: i64): u64 {
  return <u64>((v << 1) ^ (v >> 63));
}

/** Writes `count` samples, at least one, to `to`, which takes 31 bytes a sample and 64; returns the end. */
export function xor2Encode(times: usize, values: usize, starts: usize, count: i32, to: usize): usize {
  store<u16>(to, bswap<u16>(<u16>count));
  let t = <i64>load<f64>(times);
  let v = load<u64>(values);
  let start = <i64>load<f64>(starts);
  let at = putUvarint(to + 3, zigzag(t));
  store<u64>(at, bswap<u64>(v));
  at += 8;
  let header: u32 = 0;
  if (start != 0) {
    header = FIRST_STORED;
    at = putUvarint(at, zigzag(t - start));
  }
  value = v == STALE ? 0 : v;
  leading = NO_WINDOW;
  trailing = 0;
  let delta: i64 = 0;
  let distance: i64 = 0;
  startBits(at);
  for (let i = 1; i < count; i++) {
    const before = t;
    const startBefore = start;
    const deltaBefore = delta;
    const place = <usize>i << 3;
    t = <i64>load<f64>(times + place);
    v = load<u64>(values + place);
    start = <i64>load<f64>(starts + place);
    delta = t - before;
    if (i == 1) {
      startBits(putUvarint(at, <u64>delta));
      putCodeA(v);
    } else putJoint(delta - deltaBefore, v);
    if ((header & LAST_START) == 0) {
      if (start == startBefore && i != LAST_START) continue;
      header |= i;
    }
    putVarbit(before - start - distance);
    distance = before - start;
  }
  store<u8>(to, <u8>header, 2);
  return count == 1 ? at : bitsEnd();
}

let base: usize = 0;
let bit: usize = 0;

/** The next `n` (1 to 56) bits; reads up to eight bytes behind them. */
// @ts-ignore: decorator
@inline
function take(n: u32): u64 {
  const word = bswap<u64>(load<u64>(base + (bit >> 3))) << (bit & 7);
  bit += n;
  return word >> (64 - n);
}

function takeWide(n: u32): u64 {
  if (n <= 56) return take(n);
  const high = take(n - 32);
  return (high << 32) | take(32);
}

/** Ones before a zero, `most` of them at most. */
function takeOnes(most: u32): u32 {
  let ones: u32 = 0;
  while (ones < most && take(1) != 0) ones++;
  return ones;
}

function takeVarbit(): i64 {
  const step = takeOnes(8);
  if (step == 0) return 0;
  if (step == 8) return <i64>takeWide(64);
  const width: u32 =
    step == 1 ? 3 : step == 2 ? 6 : step == 3 ? 9 : step == 4 ? 12 : step == 5 ? 18 : step == 6 ? 25 : 56;
  const raw = take(width);
  return raw > (<u64>1 << (width - 1)) ? <i64>(raw - (<u64>1 << width)) : <i64>raw;
}

let isMalformed: bool = false;

function takeInside(): void {
  value ^= takeWide(64 - leading - trailing) << trailing;
}

function takeOpening(): void {
  const zeros = <u32>take(5);
  let bits = <u32>take(6);
  if (bits == 0) bits = 64;
  if (zeros + bits > 64) {
    isMalformed = true;
    return;
  }
  leading = zeros;
  trailing = 64 - zeros - bits;
  value ^= takeWide(bits) << trailing;
}

function takeCodeA(): u64 {
  if (take(1) == 0) return value;
  if (take(1) == 0) {
    takeInside();
    return value;
  }
  if (take(1) != 0) return STALE;
  takeOpening();
  return value;
}

/**
 * Decodes all samples of a chunk, start timestamps unless `starts` is 0; returns their number, or -1 for a chunk that ends before its own count says or is none.
 * Reads up to 64 bytes behind it.
 */
export function xor2Decode(at: usize, length: usize, times: usize, values: usize, starts: usize): i32 {
  if (length < 3) return -1;
  const count = <i32>bswap<u16>(load<u16>(at));
  if (count == 0) return 0;
  const header = <u32>load<u8>(at, 2);
  const firstStart = <i32>(header & LAST_START);
  const end = at + length;
  const raw = uvarint(at + 3, end);
  let p = uvarintEnd();
  if (p == 0 || p + 8 > end) return -1;
  let t = <i64>(raw >> 1) ^ -(<i64>(raw & 1));
  let v = bswap<u64>(load<u64>(p));
  p += 8;
  let start: i64 = 0;
  if ((header & FIRST_STORED) != 0) {
    const rawStart = uvarint(p, end);
    p = uvarintEnd();
    if (p == 0) return -1;
    start = t - (<i64>(rawStart >> 1) ^ -(<i64>(rawStart & 1)));
  }
  store<f64>(times, <f64>t);
  store<u64>(values, v);
  if (starts != 0) store<f64>(starts, <f64>start);
  if (count == 1) return 1;
  let delta = <i64>uvarint(p, end);
  p = uvarintEnd();
  if (p == 0) return -1;
  base = p;
  bit = 0;
  const bits = (end - p) << 3;
  value = v == STALE ? 0 : v;
  leading = 0;
  trailing = 0;
  isMalformed = false;
  let distance: i64 = 0;
  for (let i = 1; i < count; i++) {
    if (i == 1) v = takeCodeA();
    else {
      const ones = takeOnes(5);
      if (ones == 0) v = value;
      else if (ones == 1) {
        if (take(1) != 0) takeOpening();
        else takeInside();
        v = value;
      } else if (ones == 5) v = STALE;
      else {
        if (ones == 2) delta += <i64>(take(13) << 51) >> 51;
        else if (ones == 3) delta += <i64>(take(20) << 44) >> 44;
        else delta += <i64>takeWide(64);
        v = takeCodeA();
      }
    }
    if (firstStart != 0 && i >= firstStart) {
      distance += takeVarbit();
      start = t - distance;
    }
    t += delta;
    if (bit > bits || isMalformed) return -1;
    const place = <usize>i << 3;
    store<f64>(times + place, <f64>t);
    store<u64>(values + place, v);
    if (starts != 0) store<f64>(starts + place, <f64>start);
  }
  return count;
}
