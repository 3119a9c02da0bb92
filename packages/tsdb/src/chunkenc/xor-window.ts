/**
 * Doubles as the difference to the one before (Prometheus, tsdb/docs/format/chunks.md; varbit_xor): of the bits that differ, those
 * between the leading and trailing zeros.
 *
 *   0                                                     the same bits
 *   10 | the bits inside the window used last             when that covers all differences
 *   11 | u5 leading | u6 significant (64 as 0) | bits     which becomes the window
 */

import type { BitReader, BitWriter } from "@torus/encoding";

/** Bytes that no writer of the format makes. */
export class ChunkMalformedError extends Error {
  readonly encoding: number;
  constructor(encoding: number, what: string, options?: ErrorOptions) {
    super(`chunk of encoding ${encoding}: ${what}`, options);
    this.name = "ChunkMalformedError";
    this.encoding = encoding;
  }
}

/** What no window looks like: the first difference always opens one. */
const NO_WINDOW = -1;

/** The state of one column of doubles, of a writer or of a reader. */
export class XorWindow {
  /** Bits of the value before. */
  bits: bigint;
  #leading = NO_WINDOW;
  #trailing = 0;

  constructor(first: bigint) {
    this.bits = first;
  }

  /** A state reached by reading, before a difference was met, has a window of all 64 bits. */
  openWhole(): void {
    if (this.#leading !== NO_WINDOW) return;
    this.#leading = 0;
    this.#trailing = 0;
  }

  write(out: BitWriter, value: bigint): void {
    const difference = this.bits ^ value;
    if (difference === 0n) {
      out.bits(0, 1);
      return;
    }
    out.bits(1, 1);
    const fits = this.fits(difference);
    out.bits(fits ? 0 : 1, 1);
    if (fits) this.writeInside(out, value);
    else this.writeOpening(out, value);
  }

  fits(difference: bigint): boolean {
    if (this.#leading === NO_WINDOW) return false;
    return leadingZeros(difference) >= this.#leading && trailingZeros(difference) >= this.#trailing;
  }

  /** The bits of the difference that the window shows. */
  writeInside(out: BitWriter, value: bigint): void {
    const difference = this.bits ^ value;
    out.bitsBig(difference >> BigInt(this.#trailing), 64 - this.#leading - this.#trailing);
    this.bits = value;
  }

  /** Leading zeros, number of bits, bits: a new window. */
  writeOpening(out: BitWriter, value: bigint): void {
    const difference = this.bits ^ value;
    // The format has five bits for leading zeros, so 31 is the most it can hold.
    this.#leading = Math.min(leadingZeros(difference), 31);
    this.#trailing = trailingZeros(difference);
    const significant = 64 - this.#leading - this.#trailing;
    out.bits(this.#leading, 5);
    out.bits(significant & 63, 6);
    out.bitsBig(difference >> BigInt(this.#trailing), significant);
    this.bits = value;
  }

  /** @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
  read(reader: BitReader, encoding: number): bigint {
    if (!reader.one()) return this.bits;
    return reader.one() ? this.readOpening(reader, encoding) : this.readInside(reader);
  }

  readInside(reader: BitReader): bigint {
    this.openWhole();
    const width = 64 - this.#leading - this.#trailing;
    this.bits ^= reader.bitsBig(width) << BigInt(this.#trailing);
    return this.bits;
  }

  readOpening(reader: BitReader, encoding: number): bigint {
    const leading = reader.bits(5);
    const significant = reader.bits(6) || 64;
    if (leading + significant > 64) {
      throw new ChunkMalformedError(
        encoding,
        `${leading} leading zeros before ${significant} bits`,
      );
    }
    this.#leading = leading;
    this.#trailing = 64 - leading - significant;
    this.bits ^= reader.bitsBig(significant) << BigInt(this.#trailing);
    return this.bits;
  }
}

function leadingZeros(value: bigint): number {
  const high = Number(value >> 32n);
  return high !== 0 ? Math.clz32(high) : 32 + Math.clz32(Number(value & 0xffffffffn));
}

function trailingZeros(value: bigint): number {
  const low = Number(value & 0xffffffffn) | 0;
  if (low !== 0) return 31 - Math.clz32(low & -low);
  const high = Number(value >> 32n) | 0;
  return 63 - Math.clz32(high & -high);
}
