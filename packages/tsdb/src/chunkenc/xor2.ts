/**
 * Float chunks with start timestamps, encoding 4 (Prometheus, tsdb/docs/format/chunks.md).
 *
 *   u16 samples | u8 header of the start timestamps | sample*
 *
 *   sample 0    varint t, f64 v
 *   sample 1    uvarint t1 - t0, code A
 *   others      0            delta of delta 0, the value before
 *               10           delta of delta 0, code B
 *               110 | 13     code A, likewise 1110 | 20 and 11110 | 64
 *               11111        delta of delta 0, stale
 *   code A      0 same, 10 old window, 110 new window, 111 stale
 *   code B      0 old window, 1 new window
 *
 * Each followed by its start timestamp. Differences are to the last value that was not stale.
 */

import { BitReader, BitWriter } from "@torus/encoding";
import { ChunkEncoding } from "@torus/model";
import { STALE_BITS, type StoredSamples } from "./samples.ts";
import { StartTimeReader, StartTimeWriter } from "./start-times.ts";
import { checkCount, copyBits } from "./xor.ts";
import { XorWindow } from "./xor-window.ts";

const HEADER_BYTES = 3;
/** Widths of deltas of delta behind two, three and four ones; plain two's complement. */
const DELTA_BITS = [13, 20, 64] as const;

export class Xor2Appender {
  readonly #out: BitWriter;
  #count = 0;
  #time = 0n;
  #delta = 0n;
  #value = new XorWindow(0n);
  #startTimes = new StartTimeWriter();

  constructor() {
    this.#out = new BitWriter();
    this.#out.bits(0, 8 * HEADER_BYTES);
  }

  /** An appender that goes on behind a chunk's last sample. @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
  static resume(chunk: Uint8Array): Xor2Appender {
    const appender = new Xor2Appender();
    const { samples, bit, window } = decode(chunk);
    const { times, startTimes } = samples;
    copyBits(appender.#out, chunk, 8 * HEADER_BYTES, bit);
    const count = times.length;
    appender.#count = count;
    if (count === 0) return appender;
    appender.#time = times[count - 1] as bigint;
    if (count > 1)
      appender.#delta = BigInt.asIntN(64, appender.#time - (times[count - 2] as bigint));
    window.openWhole();
    appender.#value = window;
    // Its state follows from the samples alone, so it is made by giving them once more.
    const nowhere = new BitWriter();
    for (let i = 0; i < count; i++) {
      appender.#startTimes.write(nowhere, i, times[i] as bigint, startTimes?.[i] ?? 0n);
    }
    return appender;
  }

  get count(): number {
    return this.#count;
  }

  append(time: bigint, value: bigint, startTime: bigint): void {
    const out = this.#out;
    const delta = BigInt.asIntN(64, time - this.#time);
    if (this.#count === 0) {
      out.varintBig(time);
      out.bitsBig(value, 64);
      this.#value = new XorWindow(value === STALE_BITS ? 0n : value);
    } else if (this.#count === 1) {
      out.uvarintBig(delta);
      this.#codeA(value);
    } else {
      this.#joint(BigInt.asIntN(64, delta - this.#delta), value);
    }
    if (this.#count > 0) this.#delta = delta;
    this.#startTimes.write(out, this.#count, time, startTime);
    this.#time = time;
    this.#count++;
  }

  #joint(deltaOfDelta: bigint, value: bigint): void {
    const out = this.#out;
    if (deltaOfDelta === 0n) {
      if (value === STALE_BITS) out.bits(0b11111, 5);
      else if (value === this.#value.bits) out.bits(0, 1);
      else {
        out.bits(0b10, 2);
        const fits = this.#value.fits(this.#value.bits ^ value);
        out.bits(fits ? 0 : 1, 1);
        if (fits) this.#value.writeInside(out, value);
        else this.#value.writeOpening(out, value);
      }
      return;
    }
    const step = DELTA_BITS.findIndex(
      (width) => BigInt.asIntN(width, deltaOfDelta) === deltaOfDelta,
    );
    out.bits(2 ** (step + 3) - 2, step + 3);
    out.bitsBig(deltaOfDelta, DELTA_BITS[step] as number);
    this.#codeA(value);
  }

  #codeA(value: bigint): void {
    const out = this.#out;
    if (value === STALE_BITS) out.bits(0b111, 3);
    else if (value === this.#value.bits) out.bits(0, 1);
    else if (this.#value.fits(this.#value.bits ^ value)) {
      out.bits(0b10, 2);
      this.#value.writeInside(out, value);
    } else {
      out.bits(0b110, 3);
      this.#value.writeOpening(out, value);
    }
  }

  /** The chunk so far, in memory of its own. */
  bytes(): Uint8Array {
    const bytes = this.#out.written.slice();
    bytes[0] = this.#count >>> 8;
    bytes[1] = this.#count & 0xff;
    bytes[2] = this.#startTimes.header;
    return bytes;
  }
}

/** @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
export function decodeXor2(chunk: Uint8Array): StoredSamples {
  return decode(chunk).samples;
}

function decode(chunk: Uint8Array): { samples: StoredSamples; bit: number; window: XorWindow } {
  const reader = new BitReader(chunk);
  const count = reader.bits(16);
  checkCount(chunk, count);
  const starts = new StartTimeReader(reader.bits(8));
  const times = new BigInt64Array(count);
  const values = new BigUint64Array(count);
  const startTimes = new BigInt64Array(count);
  let window = new XorWindow(0n);
  let time = 0n;
  let delta = 0n;
  for (let i = 0; i < count; i++) {
    let value: bigint;
    if (i === 0) {
      time = reader.varintBig();
      value = reader.bitsBig(64);
      window = new XorWindow(value === STALE_BITS ? 0n : value);
    } else if (i === 1) {
      delta = reader.uvarintBig();
      value = readCodeA(reader, window);
    } else {
      let ones = 0;
      while (ones < 5 && reader.one()) ones++;
      if (ones === 0) value = window.bits;
      else if (ones === 1) value = readCodeB(reader, window);
      else if (ones === 5) value = STALE_BITS;
      else {
        const width = DELTA_BITS[ones - 2] as number;
        delta += BigInt.asIntN(width, reader.bitsBig(width));
        value = readCodeA(reader, window);
      }
    }
    if (i > 0) time = BigInt.asIntN(64, time + delta);
    times[i] = time;
    values[i] = value;
    startTimes[i] = starts.read(reader, i, time);
  }
  return { samples: { times, startTimes, values, histograms: null }, bit: reader.bit, window };
}

function readCodeA(reader: BitReader, window: XorWindow): bigint {
  if (!reader.one()) return window.bits;
  if (!reader.one()) return window.readInside(reader);
  return reader.one() ? STALE_BITS : window.readOpening(reader, ChunkEncoding.XOR2);
}

function readCodeB(reader: BitReader, window: XorWindow): bigint {
  return reader.one() ? window.readOpening(reader, ChunkEncoding.XOR2) : window.readInside(reader);
}
