// Snappy's block format (google/snappy, format_description.txt): uvarint decoded length, then elements.
//
//   literal  llllll00  [1-4 length bytes when llllll >= 60]  bytes
//   copy 1   ooolll01  oooooooo            4-11 bytes, 11-bit offset
//   copy 2   llllll10  2 offset bytes      1-64 bytes
//   copy 4   llllll11  4 offset bytes      1-64 bytes
//
// Input and output need 64 bytes of slack behind them.

import { wildCopy } from "./copy";

let headerLength: i32 = 0;

/** The claimed decoded length, or -1 when the header is no uvarint of at most 32 bits. */
export function snappyDecodedLength(at: usize, length: usize): f64 {
  let value: u64 = 0;
  const most = min<usize>(length, 5);
  for (let i: usize = 0; i < most; i++) {
    const byte = load<u8>(at + i);
    value |= <u64>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      headerLength = <i32>i + 1;
      return value > 0xffffffff ? -1 : <f64>value;
    }
  }
  return -1;
}

/** How many bytes the last `snappyDecodedLength` read. */
export function snappyHeaderLength(): i32 {
  return headerLength;
}

/** Decodes the elements at [from, from+length) into exactly `size` bytes at `to`; false when they do not fit that. */
export function snappyDecode(from: usize, length: usize, to: usize, size: usize): bool {
  let ip = from;
  const end = from + length;
  let op = to;
  const stop = to + size;
  while (ip < end) {
    const tag = <u32>load<u8>(ip);
    ip++;
    const kind = tag & 3;
    if (kind == 0) {
      let n: usize = (tag >> 2) + 1;
      if (n > 60) {
        const extra: usize = n - 60;
        if (extra > end - ip) return false;
        // Bytes read beyond `extra` are masked away.
        const raw = load<u32>(ip) & (0xffffffff >>> (32 - (<u32>extra << 3)));
        ip += extra;
        if (raw >= 0x7fffffff) return false;
        n = raw + 1;
      }
      if (n > end - ip || n > stop - op) return false;
      wildCopy(op, ip, n);
      ip += n;
      op += n;
      continue;
    }
    let n: usize;
    let offset: usize;
    if (kind == 1) {
      if (ip >= end) return false;
      n = ((tag >> 2) & 7) + 4;
      offset = ((tag >> 5) << 8) | load<u8>(ip);
      ip++;
    } else if (kind == 2) {
      if (end - ip < 2) return false;
      n = (tag >> 2) + 1;
      offset = load<u16>(ip);
      ip += 2;
    } else {
      if (end - ip < 4) return false;
      n = (tag >> 2) + 1;
      offset = load<u32>(ip);
      ip += 4;
    }
    if (offset == 0 || offset > op - to || n > stop - op) return false;
    const source = op - offset;
    if (offset >= 16) wildCopy(op, source, n);
    else if (offset >= 8) {
      for (let i: usize = 0; i < n; i += 8) store<u64>(op + i, load<u64>(source + i));
    } else {
      for (let i: usize = 0; i < n; i++) store<u8>(op + i, load<u8>(source + i));
    }
    op += n;
  }
  return op == stop;
}

export function snappyMaxEncodedLength(length: usize): f64 {
  return 32.0 + <f64>length + <f64>(length / 6);
}

const BLOCK: usize = 65536;
const TABLE_BITS: u32 = 14;
const table = memory.data(2 * 16384, 16);

// @ts-ignore: decorator
@inline
function slot(word: u32): usize {
  return table + (((word * 0x1e35a7bd) >>> (32 - TABLE_BITS)) << 1);
}

function putLiteral(op: usize, from: usize, n: usize): usize {
  const m = <u32>(n - 1);
  if (m < 60) {
    store<u8>(op, m << 2);
    op++;
  } else if (m < 256) {
    store<u8>(op, 60 << 2);
    store<u8>(op + 1, m);
    op += 2;
  } else {
    store<u8>(op, 61 << 2);
    store<u16>(op + 1, m);
    op += 3;
  }
  wildCopy(op, from, n);
  return op + n;
}

function putCopy(op: usize, offset: u32, n: usize): usize {
  while (n >= 68) {
    store<u8>(op, (63 << 2) | 2);
    store<u16>(op + 1, offset);
    op += 3;
    n -= 64;
  }
  if (n > 64) {
    store<u8>(op, (59 << 2) | 2);
    store<u16>(op + 1, offset);
    op += 3;
    n -= 60;
  }
  if (n >= 12 || offset >= 2048) {
    store<u8>(op, ((<u32>n - 1) << 2) | 2);
    store<u16>(op + 1, offset);
    return op + 3;
  }
  store<u8>(op, ((offset >> 8) << 5) | ((<u32>n - 4) << 2) | 1);
  store<u8>(op + 1, offset);
  return op + 2;
}

function encodeBlock(from: usize, length: usize, op: usize): usize {
  const end = from + length;
  let ip = from;
  let literal = from;
  if (length >= 16) {
    memory.fill(table, 0, 2 << TABLE_BITS);
    const limit = end - 15;
    ip++;
    let skip: u32 = 32;
    while (ip < limit) {
      const word = load<u32>(ip);
      const entry = slot(word);
      let candidate = from + <usize>load<u16>(entry);
      store<u16>(entry, <u16>(ip - from));
      if (load<u32>(candidate) != word || candidate >= ip) {
        ip += skip >> 5;
        skip++;
        continue;
      }
      skip = 32;
      if (ip > literal) op = putLiteral(op, literal, ip - literal);
      const start = ip;
      const offset = <u32>(ip - candidate);
      ip += 4;
      candidate += 4;
      while (ip + 8 <= end) {
        const x = load<u64>(ip) ^ load<u64>(candidate);
        if (x != 0) {
          ip += <usize>(ctz<u64>(x) >> 3);
          break;
        }
        ip += 8;
        candidate += 8;
      }
      if (ip + 8 > end) {
        while (ip < end && load<u8>(ip) == load<u8>(ip - offset)) ip++;
      }
      op = putCopy(op, offset, ip - start);
      literal = ip;
      if (ip < limit) store<u16>(slot(load<u32>(ip - 1)), <u16>(ip - 1 - from));
    }
  }
  return literal < end ? putLiteral(op, literal, end - literal) : op;
}

/** Writes at most `snappyMaxEncodedLength(length)` bytes at `to` and returns how many. */
export function snappyEncode(from: usize, length: usize, to: usize): usize {
  let op = to;
  let rest = <u32>length;
  while (rest >= 0x80) {
    store<u8>(op++, rest | 0x80);
    rest >>>= 7;
  }
  store<u8>(op++, rest);
  for (let at: usize = 0; at < length; at += BLOCK) {
    op = encodeBlock(from + at, min(BLOCK, length - at), op);
  }
  return op - to;
}
