/**
 * Zstandard's two entropy codes (RFC 8878, 4.1 and 4.2): finite states and prefix codes. Both are read from the end of
 * their bytes backwards; the highest bit that is set marks where they begin.
 */

import { ZstdFrameError } from "./errors.ts";

/** Bits from the end of bytes [from, end) backwards. */
export class BackwardBits {
  readonly #bytes: Uint8Array;
  readonly #from: number;
  /** Bits that are left. */
  left: number;

  constructor(bytes: Uint8Array, from: number, end: number) {
    const last = end > from ? (bytes[end - 1] as number) : 0;
    if (last === 0) throw new ZstdFrameError("a bit stream without its end mark");
    this.#bytes = bytes;
    this.#from = from;
    this.left = (end - from) * 8 - 1 - Math.clz32(last) + 24;
  }

  /** @param count At most 25. */
  read(count: number): number {
    const at = this.left - count;
    if (at < 0) throw new ZstdFrameError("a bit stream is too short");
    this.left = at;
    return this.#at(at, count);
  }

  /** The next `count` bits without taking them, filled up with zeros where the stream ends. */
  peek(count: number): number {
    const { left } = this;
    return left >= count ? this.#at(left - count, count) : this.#at(0, left) << (count - left);
  }

  #at(bit: number, count: number): number {
    const bytes = this.#bytes;
    const at = this.#from + (bit >>> 3);
    // Behind the end there is `undefined`, which is 0 here.
    const word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    return (word >>> (bit & 7)) & ((1 << count) - 1);
  }
}

export type StateTable = {
  accuracyLog: number;
  symbols: Uint8Array;
  bits: Uint8Array;
  bases: Uint16Array;
};

/** The table of one symbol that takes no bits. */
export function constantTable(symbol: number): StateTable {
  return {
    accuracyLog: 0,
    symbols: Uint8Array.of(symbol),
    bits: new Uint8Array(1),
    bases: new Uint16Array(1),
  };
}

/** @param counts How many states each symbol has; -1 for less than one. */
export function stateTable(counts: readonly number[], accuracyLog: number): StateTable {
  const size = 1 << accuracyLog;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size;
  for (const [symbol, count] of counts.entries()) {
    next[symbol] = Math.abs(count);
    if (count === -1) symbols[--high] = symbol;
  }
  const step = (size >>> 1) + (size >>> 3) + 3;
  let at = 0;
  for (const [symbol, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  }
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const symbol = symbols[state] as number;
    const seen = next[symbol] as number;
    next[symbol] = seen + 1;
    const count = accuracyLog - (31 - Math.clz32(seen));
    bits[state] = count;
    bases[state] = (seen << count) - size;
  }
  return { accuracyLog, symbols, bits, bases };
}

/**
 * Reads the counts of a table's symbols from `at` on.
 *
 * @returns the table and where its description ends.
 */
export function readStateTable(
  bytes: Uint8Array,
  from: number,
  end: number,
  mostSymbols: number,
  mostAccuracy: number,
): { table: StateTable; end: number } {
  let bit = from * 8;
  const read = (count: number): number => {
    if (bit + count > end * 8) throw new ZstdFrameError("a table is cut off");
    const at = bit >>> 3;
    const word =
      (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
    const value = (word >>> (bit & 7)) & ((1 << count) - 1);
    bit += count;
    return value;
  };
  const accuracyLog = read(4) + 5;
  if (accuracyLog > mostAccuracy) throw new ZstdFrameError(`a table of 2^${accuracyLog} states`);
  let remaining = 1 << accuracyLog;
  const counts: number[] = [];
  while (remaining > 0) {
    if (counts.length >= mostSymbols) throw new ZstdFrameError("a table with too many symbols");
    const width = 32 - Math.clz32(remaining + 1);
    // The smaller values take a bit less.
    const threshold = (1 << width) - 1 - (remaining + 1);
    const half = 1 << (width - 1);
    let value = read(width - 1);
    if (value >= threshold) {
      value |= read(1) * half;
      if (value >= half) value -= threshold;
    }
    const count = value - 1;
    remaining -= Math.abs(count);
    counts.push(count);
    if (count !== 0) continue;
    for (let repeat = 3; repeat === 3; ) {
      repeat = read(2);
      for (let i = 0; i < repeat; i++) counts.push(0);
      if (counts.length > mostSymbols) throw new ZstdFrameError("a table with too many symbols");
    }
  }
  if (remaining < 0) throw new ZstdFrameError("a table's counts do not add up");
  return { table: stateTable(counts, accuracyLog), end: (bit + 7) >>> 3 };
}

export type PrefixTable = { maxBits: number; symbols: Uint8Array; bits: Uint8Array };

const MOST_PREFIX_BITS = 11;

/** Reads the description of a prefix code. @returns the table and where its description ends. */
export function readPrefixTable(
  bytes: Uint8Array,
  from: number,
  end: number,
): { table: PrefixTable; end: number } {
  const header = from < end ? (bytes[from] as number) : 0;
  const start = from + 1;
  const weights: number[] = [];
  let after: number;
  if (header >= 128) {
    const count = header - 127;
    after = start + Math.ceil(count / 2);
    if (after > end) throw new ZstdFrameError("a prefix code is cut off");
    for (let i = 0; i < count; i++) {
      const pair = bytes[start + (i >>> 1)] as number;
      weights.push(i % 2 === 0 ? pair >>> 4 : pair & 15);
    }
  } else {
    after = start + header;
    if (after > end) throw new ZstdFrameError("a prefix code is cut off");
    readWeights(bytes, start, after, weights);
  }
  return { table: prefixTable(weights), end: after };
}

/** Two chains of states take turns, until the bits are used up. */
function readWeights(bytes: Uint8Array, from: number, end: number, weights: number[]): void {
  const { table, end: start } = readStateTable(bytes, from, end, 256, 6);
  const { accuracyLog, symbols, bits, bases } = table;
  const stream = new BackwardBits(bytes, start, end);
  let one = stream.read(accuracyLog);
  let other = stream.read(accuracyLog);
  for (;;) {
    if (weights.length > 253) throw new ZstdFrameError("a prefix code with too many symbols");
    weights.push(symbols[one] as number);
    const count = bits[one] as number;
    if (stream.left < count) break;
    const next = (bases[one] as number) + stream.read(count);
    [one, other] = [other, next];
  }
  weights.push(symbols[other] as number);
}

/** @param weights Of all symbols but the last, whose weight is what is left. */
function prefixTable(weights: number[]): PrefixTable {
  let total = 0;
  for (const weight of weights) {
    if (weight > MOST_PREFIX_BITS) throw new ZstdFrameError("a prefix of too many bits");
    if (weight > 0) total += 1 << (weight - 1);
  }
  const maxBits = 32 - Math.clz32(total);
  const left = (1 << maxBits) - total;
  if (total === 0 || maxBits > MOST_PREFIX_BITS || (left & (left - 1)) !== 0) {
    throw new ZstdFrameError("a prefix code that does not add up");
  }
  weights.push(32 - Math.clz32(left));
  const symbols = new Uint8Array(1 << maxBits);
  const bits = new Uint8Array(1 << maxBits);
  let at = 0;
  for (let weight = 1; weight <= maxBits; weight++) {
    for (const [symbol, each] of weights.entries()) {
      if (each !== weight) continue;
      const count = 1 << (weight - 1);
      symbols.fill(symbol, at, at + count);
      bits.fill(maxBits + 1 - weight, at, at + count);
      at += count;
    }
  }
  return { maxBits, symbols, bits };
}

/** Decodes one stream of prefix codes into [at, at + count). */
export function readPrefixed(
  { maxBits, symbols, bits }: PrefixTable,
  stream: BackwardBits,
  out: Uint8Array,
  at: number,
  count: number,
): void {
  for (let i = at; i < at + count; i++) {
    const index = stream.peek(maxBits);
    out[i] = symbols[index] as number;
    stream.left -= bits[index] as number;
    if (stream.left < 0) throw new ZstdFrameError("a bit stream is too short");
  }
  if (stream.left !== 0) throw new ZstdFrameError("a bit stream is too long");
}
