// XXH64 with seed 0: over one range, or over pieces that are gathered in a scratch area (`hashBegin`,
// `hashPut`, `hashByte`, `hashEnd`), as the hashring's key is.

import { wildCopy } from "./copy";

const P1: u64 = 0x9e3779b185ebca87;
const P2: u64 = 0xc2b2ae3d27d4eb4f;
const P3: u64 = 0x165667b19e3779f9;
const P4: u64 = 0x85ebca77c2b2ae63;
const P5: u64 = 0x27d4eb2f165667c5;

let v1: u64 = 0;
let v2: u64 = 0;
let v3: u64 = 0;
let v4: u64 = 0;

// @ts-ignore: decorator
@inline
function round(acc: u64, input: u64): u64 {
  return rotl<u64>(acc + input * P2, 31) * P1;
}

// @ts-ignore: decorator
@inline
function mergeRound(acc: u64, value: u64): u64 {
  return (acc ^ round(0, value)) * P1 + P4;
}

function begin(): void {
  v1 = P1 + P2;
  v2 = P2;
  v3 = 0;
  v4 = 0 - P1;
}

/** Takes all whole stripes of 32 bytes and returns the address behind them. */
function stripes(at: usize, length: usize): usize {
  let a = v1;
  let b = v2;
  let c = v3;
  let d = v4;
  const end = at + (length & ~31);
  for (; at < end; at += 32) {
    a = round(a, load<u64>(at));
    b = round(b, load<u64>(at, 8));
    c = round(c, load<u64>(at, 16));
    d = round(d, load<u64>(at, 24));
  }
  v1 = a;
  v2 = b;
  v3 = c;
  v4 = d;
  return at;
}

/** `total` bytes in all, of which the last, fewer than 32, are at `at`. */
function finish(at: usize, total: u64): u64 {
  let hash: u64;
  if (total >= 32) {
    hash = rotl<u64>(v1, 1) + rotl<u64>(v2, 7) + rotl<u64>(v3, 12) + rotl<u64>(v4, 18);
    hash = mergeRound(hash, v1);
    hash = mergeRound(hash, v2);
    hash = mergeRound(hash, v3);
    hash = mergeRound(hash, v4);
  } else hash = P5;
  hash += total;
  let left = <usize>(total & 31);
  for (; left >= 8; left -= 8, at += 8) hash = rotl<u64>(hash ^ round(0, load<u64>(at)), 27) * P1 + P4;
  if (left >= 4) {
    hash = rotl<u64>(hash ^ (<u64>load<u32>(at) * P1), 23) * P2 + P3;
    left -= 4;
    at += 4;
  }
  for (; left > 0; left--, at++) hash = rotl<u64>(hash ^ (<u64>load<u8>(at) * P5), 11) * P1;
  hash = (hash ^ (hash >> 33)) * P2;
  hash = (hash ^ (hash >> 29)) * P3;
  return hash ^ (hash >> 32);
}

export function xxh64(at: usize, length: usize): u64 {
  begin();
  return finish(stripes(at, length), length);
}

const CAPACITY: usize = 4096;
const scratch = memory.data(4096 + 64, 16);
let filled: usize = 0;
let flushed: u64 = 0;

export function hashBegin(): void {
  begin();
  filled = 0;
  flushed = 0;
}

/** Reads up to 15 bytes behind the piece. */
export function hashPut(at: usize, length: usize): void {
  while (filled + length > CAPACITY) {
    const part = CAPACITY - filled;
    memory.copy(scratch + filled, at, part);
    stripes(scratch, CAPACITY);
    flushed += CAPACITY;
    filled = 0;
    at += part;
    length -= part;
  }
  wildCopy(scratch + filled, at, length);
  filled += length;
}

// @ts-ignore: decorator
@inline
export function hashByte(byte: u8): void {
  if (filled == CAPACITY) {
    stripes(scratch, CAPACITY);
    flushed += CAPACITY;
    filled = 0;
  }
  store<u8>(scratch + filled, byte);
  filled++;
}

export function hashEnd(): u64 {
  return finish(stripes(scratch, filled), flushed + filled);
}
