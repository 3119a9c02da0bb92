/** Bit streams as chunks have them: from the top bit of each byte down, the last byte filled with zeros. */

/** A chunk ends before its own sample count says. */
export class ChunkTruncatedError extends Error {
  readonly bit: number;
  readonly bits: number;
  readonly bytes: number;
  constructor(bits: number, bit: number, bytes: number) {
    super(`read ${bits} bits at bit ${bit} of a ${bytes}-byte chunk`);
    this.name = "ChunkTruncatedError";
    this.bits = bits;
    this.bit = bit;
    this.bytes = bytes;
  }
}

export class BitReader {
  readonly #bytes: Uint8Array;
  /** Next bit to be read, counted from the start of the bytes. */
  bit: number;

  constructor(bytes: Uint8Array, bit = 0) {
    this.#bytes = bytes;
    this.bit = bit;
  }

  /** @param count 0 to 32. @returns An unsigned number. */
  bits(count: number): number {
    const end = this.bit + count;
    if (end > this.#bytes.length * 8) {
      throw new ChunkTruncatedError(count, this.bit, this.#bytes.length);
    }
    if (count === 0) return 0;
    const bytes = this.#bytes;
    const at = this.bit >>> 3;
    const skip = this.bit & 7;
    this.bit = end;
    // Behind the last byte are zeros to a shift; none of them is part of the answer.
    const word =
      ((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number);
    const low = skip + count > 32 ? (bytes[at + 4] as number) >>> (8 - skip) : 0;
    return ((word << skip) | low) >>> (32 - count);
  }

  /** Prefixes are read bit by bit, so this one is written out: a fifth of a histogram chunk's time. */
  one(): boolean {
    const at = this.bit;
    const byte = this.#bytes[at >>> 3];
    if (byte === undefined) throw new ChunkTruncatedError(1, at, this.#bytes.length);
    this.bit = at + 1;
    return ((byte >>> (7 - (at & 7))) & 1) === 1;
  }

  /** @param count 0 to 64. */
  bitsBig(count: number): bigint {
    if (count <= 32) return BigInt(this.bits(count));
    const high = this.bits(count - 32);
    return (BigInt(high) << 32n) | BigInt(this.bits(32));
  }

  /** LEB128 from the bit position on. */
  uvarintBig(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bits(8);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return BigInt.asUintN(64, value);
  }

  varintBig(): bigint {
    const raw = this.uvarintBig();
    return BigInt.asIntN(64, (raw >> 1n) ^ -(raw & 1n));
  }
}

export class BitWriter {
  #bytes: Uint8Array;
  /** Bits written so far. */
  bit = 0;

  constructor(capacity = 128) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** What was written, the last byte filled with zeros; a view until the next write. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, (this.bit + 7) >>> 3);
  }

  /** Writes the low `count` (0 to 32) bits of an unsigned number. */
  bits(value: number, count: number): void {
    if (this.bit + count > this.#bytes.length * 8) {
      const larger = new Uint8Array(this.#bytes.length * 2 + 8);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    let left = count;
    while (left > 0) {
      const free = 8 - (this.bit & 7);
      const put = left < free ? left : free;
      const part = (value >>> (left - put)) & ((1 << put) - 1);
      const at = this.bit >>> 3;
      this.#bytes[at] = (this.#bytes[at] as number) | (part << (free - put));
      this.bit += put;
      left -= put;
    }
  }

  bitsBig(value: bigint, count: number): void {
    const bits = BigInt.asUintN(count, value);
    if (count > 32) this.bits(Number(bits >> 32n), count - 32);
    this.bits(Number(bits & 0xffffffffn), Math.min(count, 32));
  }

  /** LEB128 bytes at the bit position. */
  uvarintBig(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    while (rest >= 0x80n) {
      this.bits(Number(rest & 0x7fn) | 0x80, 8);
      rest >>= 7n;
    }
    this.bits(Number(rest), 8);
  }

  varintBig(value: bigint): void {
    this.uvarintBig((value << 1n) ^ (value >> 63n));
  }
}
