// XOR chunks (Prometheus, tsdb/docs/format/chunks.md): appending to a series' open chunk; decoding is in xor-decode.ts.
//
//   chunk   u16 count | varint t, f64 v | uvarint t1-t0, xor v | (delta of delta t, xor v)*
//
// A series is 64 bytes:
//    0 u32 labels      4 u32 label bytes   8 u32 successor    12 u32 ref
//   16 i64 last t     24 u64 last v       32 i64 last delta   40 i64 cut at this time
//   48 u32 open slot  52 u32 newest closed chunk
//   56 u16 bytes      58 u16 samples      60 u8 free bits     61 u8 leading  62 u8 trailing  63 u8 flags
// An open slot is i64 first t, then the chunk; a closed chunk is
//    0 u32 older one   4 u16 bytes   6 u16 samples   8 i64 min t   16 i64 max t   24 data
// or, with 0 bytes, one of another encoding: 24 u32 bytes   28 u32 encoding   32 data

import { alloc, free } from "./arena";

export const SERIES_SIZE: usize = 64;
export const SLOT_CLASS_MASK: u32 = 0xe0;
const SLOT_CLASS_SHIFT: u32 = 5;
/** The series has a last sample. */
export const HAS_SAMPLE: u32 = 4;
/** The last sample has a start timestamp. */
export const STARTED: u32 = 2;
export const DEAD: u32 = 8;
/** The last sample is a native histogram, or the request that is being appended has some: the caller takes its samples. */
export const HISTOGRAM: u32 = 16;

const CLOSED_HEADER: usize = 24;
const ENCODED_HEADER: usize = 32;
/** What one sample and an eight-byte store may need behind the stream. */
const ROOM: usize = 32;
const MAX_CHUNK_BYTES: u32 = 1005;
const TARGET_SAMPLES: u32 = 120;

// Half of a chunk's bytes would be empty room if slots doubled.
const SLOT_SIZES = memory.data<u16>([128, 192, 256, 384, 528, 688, 864, 1088]);

// @ts-ignore: decorator
@inline
export function slotSize(flags: u32): usize {
  return <usize>load<u16>(SLOT_SIZES + <usize>((flags >> SLOT_CLASS_SHIFT) << 1));
}

let bitAt: usize = 0;
let bitUsed: u32 = 0;

/** Appends the low `n` <= 56 bits of `value`, which has no others set. */
// @ts-ignore: decorator
@inline
function put(value: u64, n: u32): void {
  const before: u64 = bitUsed ? <u64>load<u8>(bitAt) << 56 : 0;
  store<u64>(bitAt, bswap<u64>(before | (value << (64 - bitUsed - n))));
  bitUsed += n;
  bitAt += bitUsed >> 3;
  bitUsed &= 7;
}

/** Whether v fits n bits in this format: -(2^(n-1)-1) .. 2^(n-1). */
// @ts-ignore: decorator
@inline
export function fits(v: i64, n: u32): bool {
  const half = (<i64>1) << (n - 1);
  return v > -half && v <= half;
}

function putTime(dod: i64): void {
  if (dod == 0) put(0, 1);
  else if (fits(dod, 14)) put((2 << 14) | (<u64>dod & 0x3fff), 16);
  else if (fits(dod, 17)) put((6 << 17) | (<u64>dod & 0x1ffff), 20);
  else if (fits(dod, 20)) put((14 << 20) | (<u64>dod & 0xfffff), 24);
  else {
    put(15, 4);
    put(<u64>dod >> 32, 32);
    put(<u64>dod & 0xffffffff, 32);
  }
}

function putValue(series: usize, xor: u64): void {
  if (xor == 0) {
    put(0, 1);
    return;
  }
  // The format has five bits for leading zeros, so 31 is the most it can hold.
  const leading = min<u32>(<u32>clz<u64>(xor), 31);
  const trailing = <u32>ctz<u64>(xor);
  const oldLeading = <u32>load<u8>(series, 61);
  const oldTrailing = <u32>load<u8>(series, 62);
  let bits: u32;
  let middle: u64;
  if (oldLeading != 0xff && leading >= oldLeading && trailing >= oldTrailing) {
    bits = 64 - oldLeading - oldTrailing;
    middle = xor >> oldTrailing;
    put(2, 2);
  } else {
    store<u8>(series, leading, 61);
    store<u8>(series, trailing, 62);
    bits = 64 - leading - trailing;
    middle = xor >> trailing;
    put((3 << 11) | (<u64>leading << 6) | (bits & 63), 13);
  }
  if (bits <= 56) put(middle, bits);
  else {
    put(middle >> 32, bits - 32);
    put(middle & 0xffffffff, 32);
  }
}

/** For other writers of bits: where the next ones go, a whole byte. */
export function startBits(at: usize): void {
  bitAt = at;
  bitUsed = 0;
}

export function putBits(value: u64, n: u32): void {
  put(value, n);
}

/** The low `n` <= 64 bits of `value`, which has no others set. */
export function putWide(value: u64, n: u32): void {
  if (n > 56) {
    put(value >> 32, n - 32);
    put(value & 0xffffffff, 32);
  } else put(value, n);
}

export function bitsEnd(): usize {
  return bitAt + (bitUsed > 0 ? 1 : 0);
}

export function putUvarint(at: usize, value: u64): usize {
  while (value >= 0x80) {
    store<u8>(at++, <u8>value | 0x80);
    value >>= 7;
  }
  store<u8>(at++, <u8>value);
  return at;
}

/** Stands for a series whose window `putValue` keeps. */
const ALONE = memory.data(64);

/**
 * Writes columns (f64 times in ms, values as bits) of at least one sample as a chunk to `to`, which takes 23 bytes a
 * sample and 64; returns its end.
 */
export function xorEncode(times: usize, values: usize, count: i32, to: usize): usize {
  store<u8>(ALONE, 0xff, 61);
  store<u8>(ALONE, 0, 62);
  store<u16>(to, bswap<u16>(<u16>count));
  let t = <i64>load<f64>(times);
  let v = load<u64>(values);
  const at = putUvarint(to + 2, (<u64>t << 1) ^ <u64>(t >> 63));
  store<u64>(at, bswap<u64>(v));
  startBits(at + 8);
  let delta: i64 = 0;
  for (let i = 1; i < count; i++) {
    const before = t;
    const bitsBefore = v;
    const deltaBefore = delta;
    t = <i64>load<f64>(times + (<usize>i << 3));
    v = load<u64>(values + (<usize>i << 3));
    delta = t - before;
    if (i == 1) startBits(putUvarint(bitAt, <u64>delta));
    else putTime(delta - deltaBefore);
    putValue(ALONE, v ^ bitsBefore);
  }
  return bitsEnd();
}

/** Moves the open chunk to the closed ones. */
export function closeChunk(series: usize): void {
  const slot = <usize>load<u32>(series, 48);
  if (slot == 0) return;
  const length = <usize>load<u16>(series, 56);
  const flags = <u32>load<u8>(series, 63);
  if (load<u16>(series, 58) != 0) {
    const closed = alloc(CLOSED_HEADER + length);
    if (closed == 0) unreachable();
    store<u32>(closed, load<u32>(series, 52));
    store<u16>(closed, length, 4);
    store<u16>(closed, load<u16>(series, 58), 6);
    store<i64>(closed, load<i64>(slot), 8);
    store<i64>(closed, chunkLast, 16);
    memory.copy(closed + CLOSED_HEADER, slot + 8, length);
    store<u32>(series, <u32>closed, 52);
  }
  free(slot, slotSize(flags));
  store<u32>(series, 0, 48);
  store<u16>(series, 0, 58);
  store<u8>(series, flags & ~SLOT_CLASS_MASK, 63);
}

/** The time of the open chunk's last sample, set before `closeChunk`. */
let chunkLast: i64 = 0;

export function closeOpenChunk(series: usize): void {
  chunkLast = load<i64>(series, 16);
  closeChunk(series);
}

/** Makes a closed chunk of any encoding the newest of the series; returns where its `length` bytes go. */
export function seriesPushChunk(series: usize, encoding: u32, samples: u32, minT: f64, maxT: f64, length: usize): usize {
  const closed = alloc(ENCODED_HEADER + length);
  if (closed == 0) unreachable();
  store<u32>(closed, load<u32>(series, 52));
  store<u16>(closed, 0, 4);
  store<u16>(closed, samples, 6);
  store<i64>(closed, <i64>minT, 8);
  store<i64>(closed, <i64>maxT, 16);
  store<u32>(closed, <u32>length, 24);
  store<u32>(closed, encoding, 28);
  store<u32>(series, <u32>closed, 52);
  return closed + ENCODED_HEADER;
}

/** What a closed chunk takes, its header included. */
export function closedSize(chunk: usize): usize {
  const length = <usize>load<u16>(chunk, 4);
  return length == 0 ? ENCODED_HEADER + <usize>load<u32>(chunk, 24) : CLOSED_HEADER + length;
}

function rangeEnd(t: i64, range: i64): i64 {
  // Division that floors, so that times before 1970 fall into aligned ranges as well.
  let k = t / range;
  if (t % range < 0) k--;
  return k * range + range;
}

/** Spreads the rest of a range evenly over chunks that fill as fast as this one did. */
function predictedEnd(first: i64, last: i64, end: i64): i64 {
  const n = <f64>(end - first) / <f64>((last - first + 1) * 4);
  if (n <= 1) return end;
  return <i64>(<f64>first + <f64>(end - first) / Math.floor(n));
}

/** Appends a sample behind (lastT, lastV), cutting the chunk first when it is full. */
export function appendSample(series: usize, t: i64, v: u64, lastT: i64, lastV: u64, range: i64): void {
  let slot = <usize>load<u32>(series, 48);
  let count = <u32>load<u16>(series, 58);
  if (count > 0) {
    let full = <u32>load<u16>(series, 56) > MAX_CHUNK_BYTES;
    if (!full) {
      if (count == TARGET_SAMPLES / 4) {
        store<i64>(series, predictedEnd(load<i64>(slot), lastT, load<i64>(series, 40)), 40);
      }
      full = t >= load<i64>(series, 40) || count >= TARGET_SAMPLES * 2;
    }
    if (full) {
      chunkLast = lastT;
      closeChunk(series);
      count = 0;
      slot = 0;
    }
  }
  if (count == 0) {
    if (slot == 0) {
      slot = alloc(slotSize(0));
      if (slot == 0) unreachable();
      store<u32>(series, <u32>slot, 48);
      store<u8>(series, load<u8>(series, 63) & ~SLOT_CLASS_MASK, 63);
    }
    store<i64>(slot, t);
    store<i64>(series, rangeEnd(t, range), 40);
    const data = slot + 8;
    store<u16>(data, bswap<u16>(1));
    const at = putUvarint(data + 2, (<u64>t << 1) ^ <u64>(t >> 63));
    store<u64>(at, bswap<u64>(v));
    store<u16>(series, <u16>(at + 8 - data), 56);
    store<u16>(series, 1, 58);
    store<u8>(series, 0, 60);
    store<u8>(series, 0xff, 61);
    store<u8>(series, 0, 62);
    store<i64>(series, 0, 32);
    return;
  }
  const bytes = <usize>load<u16>(series, 56);
  const flags = <u32>load<u8>(series, 63);
  if (<usize>8 + bytes + ROOM > slotSize(flags)) {
    const widerFlags = flags + (1 << SLOT_CLASS_SHIFT);
    const wider = alloc(slotSize(widerFlags));
    if (wider == 0) unreachable();
    memory.copy(wider, slot, 8 + bytes);
    free(slot, slotSize(flags));
    slot = wider;
    store<u32>(series, <u32>slot, 48);
    store<u8>(series, widerFlags, 63);
  }
  const data = slot + 8;
  const freeBits = <u32>load<u8>(series, 60);
  const delta = t - lastT;
  if (count == 1) {
    bitAt = putUvarint(data + bytes, <u64>delta);
    bitUsed = 0;
  } else {
    bitAt = data + bytes - (freeBits > 0 ? 1 : 0);
    bitUsed = (8 - freeBits) & 7;
    putTime(delta - load<i64>(series, 32));
  }
  putValue(series, v ^ lastV);
  count++;
  store<i64>(series, delta, 32);
  store<u16>(series, <u16>(bitAt - data + (bitUsed > 0 ? 1 : 0)), 56);
  store<u16>(series, <u16>count, 58);
  store<u8>(series, (8 - bitUsed) & 7, 60);
  store<u16>(data, bswap<u16>(<u16>count));
}

/** Frees the closed chunks that end before `mint`, and the open one when it does; true when nothing is left. */
export function truncateSeries(series: usize, mint: i64): bool {
  let link = series + 52;
  let chunk = <usize>load<u32>(link);
  while (chunk != 0) {
    const older = <usize>load<u32>(chunk);
    if (load<i64>(chunk, 16) < mint) {
      store<u32>(link, <u32>older);
      free(chunk, closedSize(chunk));
    } else link = chunk;
    chunk = older;
  }
  const flags = <u32>load<u8>(series, 63);
  const slot = <usize>load<u32>(series, 48);
  if (slot != 0 && load<i64>(series, 16) < mint) {
    free(slot, slotSize(flags));
    store<u32>(series, 0, 48);
    store<u16>(series, 0, 58);
    store<u8>(series, flags & ~SLOT_CLASS_MASK, 63);
  }
  return load<u32>(series, 48) == 0 && load<u32>(series, 52) == 0;
}
