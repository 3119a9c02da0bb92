/**
 * Float chunks, encoding 1 (Prometheus, tsdb/docs/format/chunks.md), exact in every bit of time and value.
 *
 *   u16 samples | varint t, f64 v | uvarint t1 - t0, varbit_xor | (delta of delta, varbit_xor)*
 *
 * Columns for queries come from the kernel (`xorDecodeChunk`); this is for what must not round times, and for writing.
 */

import { BitReader, BitWriter, ChunkTruncatedError } from "@torus/encoding";
import { ChunkEncoding } from "@torus/model";
import type { StoredSamples } from "./samples.ts";
import { fitsSigned, signedOf } from "./varbit.ts";
import { XorWindow } from "./xor-window.ts";

/** Width of a delta of delta by the number of ones in front of it. */
const DELTA_BITS = [0, 14, 17, 20, 64] as const;
const HEADER_BYTES = 2;

export class XorAppender {
  readonly #out: BitWriter;
  #count = 0;
  #time = 0n;
  #delta = 0n;
  #value = new XorWindow(0n);

  constructor() {
    this.#out = new BitWriter();
    this.#out.bits(0, 8 * HEADER_BYTES);
  }

  /** An appender that goes on behind a chunk's last sample. @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
  static resume(chunk: Uint8Array): XorAppender {
    const appender = new XorAppender();
    const { samples, bit, window } = decode(chunk);
    const { times } = samples;
    const count = times.length;
    copyBits(appender.#out, chunk, 8 * HEADER_BYTES, bit);
    appender.#count = count;
    if (count === 0) return appender;
    appender.#time = times[count - 1] as bigint;
    if (count > 1)
      appender.#delta = BigInt.asIntN(64, appender.#time - (times[count - 2] as bigint));
    window.openWhole();
    appender.#value = window;
    return appender;
  }

  get count(): number {
    return this.#count;
  }

  /** @param value Bits of the double. */
  append(time: bigint, value: bigint, _startTime?: bigint): void {
    const out = this.#out;
    const delta = BigInt.asIntN(64, time - this.#time);
    if (this.#count === 0) {
      out.varintBig(time);
      out.bitsBig(value, 64);
      this.#value = new XorWindow(value);
    } else {
      if (this.#count === 1) out.uvarintBig(delta);
      else writeDelta(out, BigInt.asIntN(64, delta - this.#delta));
      this.#value.write(out, value);
    }
    if (this.#count > 0) this.#delta = delta;
    this.#time = time;
    this.#count++;
  }

  /** The chunk so far, in memory of its own. */
  bytes(): Uint8Array {
    const bytes = this.#out.written.slice();
    bytes[0] = this.#count >>> 8;
    bytes[1] = this.#count & 0xff;
    return bytes;
  }
}

export function copyBits(out: BitWriter, bytes: Uint8Array, from: number, to: number): void {
  const reader = new BitReader(bytes, from);
  while (reader.bit + 32 <= to) out.bits(reader.bits(32), 32);
  const rest = to - reader.bit;
  out.bits(reader.bits(rest), rest);
}

function writeDelta(out: BitWriter, value: bigint): void {
  if (value === 0n) {
    out.bits(0, 1);
    return;
  }
  let ones = 1;
  while (ones < 4 && !fitsSigned(value, DELTA_BITS[ones] as number)) ones++;
  if (ones === 4) out.bits(0b1111, 4);
  else out.bits(2 ** (ones + 1) - 2, ones + 1);
  out.bitsBig(value, DELTA_BITS[ones] as number);
}

function readDelta(reader: BitReader): bigint {
  let ones = 0;
  while (ones < 4 && reader.one()) ones++;
  const width = DELTA_BITS[ones] as number;
  return width === 0 ? 0n : signedOf(reader.bitsBig(width), width);
}

/** @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
export function decodeXor(chunk: Uint8Array): StoredSamples {
  return decode(chunk).samples;
}

function decode(chunk: Uint8Array): { samples: StoredSamples; bit: number; window: XorWindow } {
  const reader = new BitReader(chunk);
  const count = reader.bits(16);
  checkCount(chunk, count);
  const times = new BigInt64Array(count);
  const values = new BigUint64Array(count);
  let window = new XorWindow(0n);
  let time = 0n;
  let delta = 0n;
  for (let i = 0; i < count; i++) {
    if (i === 0) {
      time = reader.varintBig();
      window = new XorWindow(reader.bitsBig(64));
    } else {
      delta = i === 1 ? reader.uvarintBig() : delta + readDelta(reader);
      time = BigInt.asIntN(64, time + delta);
      window.read(reader, ChunkEncoding.XOR);
    }
    times[i] = time;
    values[i] = window.bits;
  }
  return {
    samples: { times, startTimes: null, values, histograms: null },
    bit: reader.bit,
    window,
  };
}

/** A sample takes a bit at least: what claims more than there are is not given memory. */
export function checkCount(chunk: Uint8Array, count: number): void {
  if (count > chunk.length * 8) throw new ChunkTruncatedError(count, 16, chunk.length);
}
