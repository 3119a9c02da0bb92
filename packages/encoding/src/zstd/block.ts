/**
 * Compressed blocks (RFC 8878, 3.1.1.3): literals, and sequences that say how many of them to copy and what to repeat.
 * Tables and the last three offsets carry over to the next block of the frame.
 */

import {
  BackwardBits,
  constantTable,
  type PrefixTable,
  readPrefixed,
  readPrefixTable,
  readStateTable,
  type StateTable,
  stateTable,
} from "./entropy.ts";
import { ZstdFrameError } from "./errors.ts";
import type { Output } from "./output.ts";

/** What each code of a length stands for, and how many bits are added to it. */
type Codes = { bases: readonly number[]; bits: readonly number[] };

function codes(first: number, extra: readonly number[], base: number): Codes {
  const bases = Array.from({ length: first }, (_, i) => base + i);
  const bits = Array.from({ length: first }, () => 0);
  let next = base + first;
  for (const each of extra) {
    bases.push(next);
    bits.push(each);
    next += 2 ** each;
  }
  return { bases, bits };
}

const LITERAL_CODES: Codes = codes(
  16,
  [1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  0,
);
const MATCH_CODES: Codes = codes(
  32,
  [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  3,
);
/** Bytes that a block decodes to at most. */
export const MOST_BLOCK = 128 << 10;
/** 2^27 is the largest window taken. */
const MOST_OFFSET_CODE = 27;

const run = (value: number, length: number): number[] => Array.from({ length }, () => value);

/** The tables of blocks that bring none. */
const LITERAL_COUNTS = [
  4,
  3,
  ...run(2, 11),
  ...run(1, 3),
  ...run(2, 9),
  3,
  2,
  ...run(1, 5),
  ...run(-1, 4),
];
const MATCH_COUNTS = [1, 4, 3, ...run(2, 6), ...run(1, 37), ...run(-1, 7)];
const OFFSET_COUNTS = [...run(1, 6), ...run(2, 3), ...run(1, 15), ...run(-1, 5)];

type Kind = {
  mostSymbols: number;
  mostAccuracy: number;
  standard: StateTable;
};

const LITERALS: Kind = {
  mostSymbols: 36,
  mostAccuracy: 9,
  standard: stateTable(LITERAL_COUNTS, 6),
};
const OFFSETS: Kind = { mostSymbols: 32, mostAccuracy: 8, standard: stateTable(OFFSET_COUNTS, 5) };
const MATCHES: Kind = { mostSymbols: 53, mostAccuracy: 9, standard: stateTable(MATCH_COUNTS, 6) };

/** The literals of the block that is being decoded: there is one at a time, and a frame can be as short as its header. */
const scratch = new Uint8Array(MOST_BLOCK);

export class ZstdBlocks {
  readonly #input: Uint8Array;
  readonly #out: Output;
  readonly #windowSize: number;
  readonly #mostBytes: number;
  readonly #start: number;
  #prefixes: PrefixTable | null = null;
  readonly #tables = new Map<Kind, StateTable>();
  readonly #offsets: [number, number, number] = [1, 4, 8];

  /** @param mostBytes What a block may decode to. */
  constructor(input: Uint8Array, out: Output, windowSize: number, mostBytes: number) {
    this.#input = input;
    this.#out = out;
    this.#windowSize = windowSize;
    this.#mostBytes = mostBytes;
    this.#start = out.length;
  }

  /** Decodes the block in [from, end) of the input. @throws {ZstdFrameError} */
  decode(from: number, end: number): void {
    const { count, end: at } = this.#readLiterals(from, end);
    this.#readSequences(at, end, count);
  }

  #readLiterals(from: number, end: number): { count: number; end: number } {
    const input = this.#input;
    if (from >= end) throw new ZstdFrameError("an empty block");
    const byte = (i: number): number => {
      if (from + i >= end) throw new ZstdFrameError("literals are cut off");
      return input[from + i] as number;
    };
    const first = byte(0);
    const type = first & 3;
    const format = (first >>> 2) & 3;
    if (type < 2) {
      let count = first >>> 3;
      let header = 1;
      if (format === 1) [count, header] = [(first >>> 4) | (byte(1) << 4), 2];
      else if (format === 3) {
        [count, header] = [(first >>> 4) | (byte(1) << 4) | (byte(2) << 12), 3];
      }
      this.#checkLiterals(count);
      const at = from + header;
      const length = type === 0 ? count : 1;
      if (at + length > end) throw new ZstdFrameError("literals are cut off");
      if (type === 0) scratch.set(input.subarray(at, at + count));
      else scratch.fill(input[at] as number, 0, count);
      return { count, end: at + length };
    }
    const width = [10, 10, 14, 18][format] as number;
    const header = [3, 3, 4, 5][format] as number;
    let bits = 0;
    for (let i = header - 1; i >= 0; i--) bits = bits * 256 + byte(i);
    const count = Math.floor(bits / 16) % 2 ** width;
    const size = Math.floor(bits / 16 / 2 ** width);
    this.#checkLiterals(count);
    const after = from + header + size;
    if (after > end) throw new ZstdFrameError("literals are cut off");
    this.#readPrefixedLiterals(from + header, after, count, type === 2, format === 0 ? 1 : 4);
    return { count, end: after };
  }

  #checkLiterals(count: number): void {
    if (count > this.#mostBytes) throw new ZstdFrameError(`${count} literals in a block`);
  }

  #readPrefixedLiterals(
    from: number,
    end: number,
    count: number,
    bringsTable: boolean,
    streams: 1 | 4,
  ): void {
    const input = this.#input;
    let at = from;
    if (bringsTable) {
      const read = readPrefixTable(input, from, end);
      this.#prefixes = read.table;
      at = read.end;
    }
    const table = this.#prefixes;
    if (table === null) throw new ZstdFrameError("no prefix code to go on with");
    if (streams === 1) {
      readPrefixed(table, new BackwardBits(input, at, end), scratch, 0, count);
      return;
    }
    if (at + 6 > end) throw new ZstdFrameError("literals are cut off");
    const each = Math.floor((count + 3) / 4);
    let start = at + 6;
    for (let i = 0; i < 4; i++) {
      const size = (input[at + i * 2] as number) | ((input[at + i * 2 + 1] as number) << 8);
      const stop = i === 3 ? end : start + size;
      const amount = i === 3 ? count - 3 * each : each;
      if (stop > end || amount < 0) throw new ZstdFrameError("literals are cut off");
      readPrefixed(table, new BackwardBits(input, start, stop), scratch, i * each, amount);
      start = stop;
    }
  }

  #readSequences(from: number, end: number, literals: number): void {
    const input = this.#input;
    const out = this.#out;
    let at = from;
    const byte = (): number => {
      if (at >= end) throw new ZstdFrameError("sequences are cut off");
      return input[at++] as number;
    };
    let count = byte();
    if (count === 255) count = byte() + (byte() << 8) + 0x7f00;
    else if (count > 127) count = ((count - 128) << 8) + byte();
    if (count === 0) {
      if (at !== end) throw new ZstdFrameError("bytes behind the last sequence");
      out.copy(scratch, 0, literals);
      return;
    }
    const modes = byte();
    if ((modes & 3) !== 0) throw new ZstdFrameError("a reserved mode is set");
    const table = (kind: Kind, mode: number): StateTable => {
      const read = this.#table(kind, mode, at, end);
      at = read.end;
      this.#tables.set(kind, read.table);
      return read.table;
    };
    const literalTable = table(LITERALS, modes >>> 6);
    const offsetTable = table(OFFSETS, (modes >>> 4) & 3);
    const matchTable = table(MATCHES, (modes >>> 2) & 3);
    const stream = new BackwardBits(input, at, end);
    let literalState = stream.read(literalTable.accuracyLog);
    let offsetState = stream.read(offsetTable.accuracyLog);
    let matchState = stream.read(matchTable.accuracyLog);
    let taken = 0;
    let made = 0;
    for (let i = 0; i < count; i++) {
      const offsetCode = offsetTable.symbols[offsetState] as number;
      const matchCode = matchTable.symbols[matchState] as number;
      const literalCode = literalTable.symbols[literalState] as number;
      if (offsetCode > MOST_OFFSET_CODE) throw new ZstdFrameError("an offset of too many bits");
      const high = Math.max(0, offsetCode - 24);
      const highBits = stream.read(high);
      const offsetValue =
        (1 << offsetCode) + (highBits << (offsetCode - high)) + stream.read(offsetCode - high);
      const match =
        (MATCH_CODES.bases[matchCode] as number) +
        stream.read(MATCH_CODES.bits[matchCode] as number);
      const copied =
        (LITERAL_CODES.bases[literalCode] as number) +
        stream.read(LITERAL_CODES.bits[literalCode] as number);
      taken += copied;
      made += copied + match;
      if (taken > literals) throw new ZstdFrameError("more literals than there are");
      if (made > this.#mostBytes) throw new ZstdFrameError(`a block of more than ${made} bytes`);
      out.reserve(copied + match);
      out.copy(scratch, taken - copied, copied);
      const offset = this.#offset(offsetValue, copied);
      if (offset > this.#windowSize || offset > out.length - this.#start) {
        throw new ZstdFrameError("a match begins before the window");
      }
      out.repeat(offset, match);
      if (i === count - 1) break;
      literalState =
        (literalTable.bases[literalState] as number) +
        stream.read(literalTable.bits[literalState] as number);
      matchState =
        (matchTable.bases[matchState] as number) +
        stream.read(matchTable.bits[matchState] as number);
      offsetState =
        (offsetTable.bases[offsetState] as number) +
        stream.read(offsetTable.bits[offsetState] as number);
    }
    if (stream.left !== 0) throw new ZstdFrameError("a bit stream is too long");
    if (made + literals - taken > this.#mostBytes) {
      throw new ZstdFrameError(`a block of more than ${this.#mostBytes} bytes`);
    }
    out.copy(scratch, taken, literals - taken);
  }

  #table(kind: Kind, mode: number, at: number, end: number): { table: StateTable; end: number } {
    const input = this.#input;
    if (mode === 0) return { table: kind.standard, end: at };
    if (mode === 2) return readStateTable(input, at, end, kind.mostSymbols, kind.mostAccuracy);
    if (mode === 3) {
      const table = this.#tables.get(kind);
      if (table === undefined) throw new ZstdFrameError("no table to go on with");
      return { table, end: at };
    }
    const symbol = at < end ? (input[at] as number) : kind.mostSymbols;
    if (symbol >= kind.mostSymbols) throw new ZstdFrameError(`a table of symbol ${symbol}`);
    return { table: constantTable(symbol), end: at + 1 };
  }

  /** Values 1 to 3 stand for the last offsets; without literals the first of them is left out. */
  #offset(value: number, literals: number): number {
    const [first, second, third] = this.#offsets;
    let offset: number;
    const index = value > 3 ? 4 : literals === 0 ? value + 1 : value;
    if (value > 3) offset = value - 3;
    else if (index === 1) return first;
    else if (index === 2) offset = second;
    else offset = index === 3 ? third : first - 1;
    if (offset <= 0) throw new ZstdFrameError("an offset of no bytes");
    this.#offsets[0] = offset;
    this.#offsets[1] = first;
    if (index !== 2) this.#offsets[2] = second;
    return offset;
  }
}
