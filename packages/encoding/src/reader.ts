/**
 * Reads the primitives of Prometheus' disk formats and of protobuf from a byte array: big-endian integers,
 * LEB128 varints, zigzag varints, length-prefixed strings. Every read is checked against the end.
 *
 * Integers come as numbers where 53 bits hold them; `varintBig` and `uvarintBig` are exact for all 64.
 */

/** The bytes end before what was to be read from them. */
export class TruncatedError extends Error {
  readonly offset: number;
  readonly wanted: number;
  readonly available: number;
  constructor(what: string, offset: number, wanted: number, available: number) {
    super(`read ${what} (${wanted} bytes) at byte ${offset} of ${available}`);
    this.name = "TruncatedError";
    this.offset = offset;
    this.wanted = wanted;
    this.available = available;
  }
}

/** A varint of more than ten bytes or more than 64 bits. */
export class VarintOverflowError extends Error {
  readonly offset: number;
  constructor(offset: number) {
    super(`varint at byte ${offset} has more than 64 bits`);
    this.name = "VarintOverflowError";
    this.offset = offset;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

/** One 64-bit integer and its halves, the lower first. */
const word64 = new BigUint64Array(1);
const words = new Uint32Array(word64.buffer);

export class ByteReader {
  readonly bytes: Uint8Array;
  /** Next byte to be read. */
  offset: number;
  /** Reads stop here. */
  readonly end: number;
  /** Made when it is first needed: most readers are of a message that has varints and bytes only. */
  #lazyView: DataView | null = null;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
  }

  get #view(): DataView {
    const { buffer, byteOffset, byteLength } = this.bytes;
    this.#lazyView ??= new DataView(buffer, byteOffset, byteLength);
    return this.#lazyView;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  #take(what: string, size: number): number {
    const at = this.offset;
    if (size < 0 || size > this.end - at) throw new TruncatedError(what, at, size, this.end);
    this.offset = at + size;
    return at;
  }

  u8(): number {
    return this.bytes[this.#take("u8", 1)] as number;
  }

  u16(): number {
    return this.#view.getUint16(this.#take("u16", 2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take("u32", 4));
  }

  /** A u64 as a number; above 2^53 it is the nearest double. */
  u64(): number {
    const at = this.#take("u64", 8);
    return this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
  }

  u64Big(): bigint {
    return this.#view.getBigUint64(this.#take("u64", 8));
  }

  /** An int64 as a number; beyond ±2^53 it is the nearest double. */
  i64(): number {
    const at = this.#take("i64", 8);
    return this.#view.getInt32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
  }

  /** Copies an f64's bits to `out[index]` without a number in between, so that NaN payloads survive. */
  f64Into(out: Float64Array, index: number): void {
    const at = this.#take("f64", 8);
    const words = new Uint32Array(out.buffer, out.byteOffset + index * 8, 2);
    words[1] = this.#view.getUint32(at);
    words[0] = this.#view.getUint32(at + 4);
  }

  f64(): number {
    return this.#view.getFloat64(this.#take("f64", 8));
  }

  /** @returns A number; above 2^53 one near the value. */
  uvarint(): number {
    const start = this.offset;
    let value = 0;
    let scale = 1;
    for (let i = 0; ; i++) {
      if (this.offset >= this.end) throw new TruncatedError("uvarint", start, i + 1, this.end);
      const byte = this.bytes[this.offset++] as number;
      if (i === 9 && byte > 1) throw new VarintOverflowError(start);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  uvarintBig(): bigint {
    const start = this.offset;
    // The value's 28 lowest bits, the 28 above them, and the last 8: each BigInt operation allocates.
    let low = 0;
    let middle = 0;
    let high = 0;
    for (let i = 0; ; i++) {
      if (this.offset >= this.end) throw new TruncatedError("uvarint", start, i + 1, this.end);
      const byte = this.bytes[this.offset++] as number;
      if (i === 9 && byte > 1) throw new VarintOverflowError(start);
      const bits = byte & 0x7f;
      if (i < 4) low |= bits << (7 * i);
      else if (i < 8) middle |= bits << (7 * (i - 4));
      else high |= bits << (7 * (i - 8));
      if (byte < 0x80) break;
    }
    words[0] = low | (middle << 28);
    words[1] = (middle >>> 4) | (high << 24);
    return word64[0] as bigint;
  }

  /** A zigzag varint as a number; beyond ±2^53 it is the nearest double. */
  varint(): number {
    const start = this.offset;
    const raw = this.uvarint();
    if (raw <= Number.MAX_SAFE_INTEGER) return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
    this.offset = start;
    return Number(this.varintBig());
  }

  varintBig(): bigint {
    const raw = this.uvarintBig();
    return (raw >> 1n) ^ -(raw & 1n);
  }

  /** A view of the next `size` bytes, not a copy. */
  take(size: number): Uint8Array {
    const at = this.#take("bytes", size);
    return this.bytes.subarray(at, at + size);
  }

  skip(size: number): void {
    this.#take("bytes", size);
  }

  /** uvarint length and that many bytes, as a view. */
  lengthPrefixed(): Uint8Array {
    return this.take(this.uvarint());
  }

  string(): string {
    return decodeUtf8(this.lengthPrefixed());
  }
}

/** UTF-8 to a string; short ASCII is built without the decoder's overhead. Takes views of shared memory too. */
export function decodeUtf8(bytes: Uint8Array): string {
  const { length } = bytes;
  if (length <= 24) {
    let text = "";
    let i = 0;
    for (; i < length; i++) {
      const byte = bytes[i] as number;
      if (byte >= 0x80) break;
      text += String.fromCharCode(byte);
    }
    if (i === length) return text;
  }
  // TextDecoder refuses views of a SharedArrayBuffer; Buffer does not.
  if (bytes.buffer instanceof ArrayBuffer) return decoder.decode(bytes);
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString("utf8");
}
