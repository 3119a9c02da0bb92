/** Appends the primitives of Prometheus' disk formats and of protobuf to a growing buffer. */

/** One 64-bit integer and its halves, the lower first. */
const word64 = new BigUint64Array(1);
const words = new Uint32Array(word64.buffer);

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  /** Bytes written so far. May be set back to write over what came after. */
  length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What was written, as a view that the next write may change or leave behind. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  copy(): Uint8Array {
    return this.#bytes.slice(0, this.length);
  }

  reset(): void {
    this.length = 0;
  }

  /** Makes room for `size` more bytes and returns where they begin. */
  #grow(size: number): number {
    const at = this.length;
    if (at + size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, at + size));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.length = at + size;
    return at;
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value);
  }

  /** @param value A whole number from 0 to 2^64; exact up to 2^53. */
  u64(value: number): void {
    const at = this.#grow(8);
    this.#view.setUint32(at, Math.floor(value / 2 ** 32));
    this.#view.setUint32(at + 4, value % 2 ** 32);
  }

  u64Big(value: bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value));
  }

  /** @param value A whole number, exact within ±2^53. */
  i64(value: number): void {
    const at = this.#grow(8);
    const high = Math.floor(value / 2 ** 32);
    this.#view.setInt32(at, high);
    this.#view.setUint32(at + 4, value - high * 2 ** 32);
  }

  f64(value: number): void {
    const at = this.#grow(8);
    this.#view.setFloat64(at, value);
  }

  /** Writes the bits of `values[index]`, NaN payload included. */
  f64From(values: Float64Array, index: number): void {
    const at = this.#grow(8);
    const words = new Uint32Array(values.buffer, values.byteOffset + index * 8, 2);
    this.#view.setUint32(at, words[1] as number);
    this.#view.setUint32(at + 4, words[0] as number);
  }

  /** @param value A whole number from 0 to 2^53. */
  uvarint(value: number): void {
    const at = this.#grow(10);
    let end = at;
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[end++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[end++] = rest;
    this.length = end;
  }

  uvarintBig(value: bigint): void {
    word64[0] = BigInt.asUintN(64, value);
    let low = words[0] as number;
    let high = words[1] as number;
    while (high > 0 || low >= 0x80) {
      this.u8((low & 0x7f) | 0x80);
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.u8(low);
  }

  /** Zigzag. @param value A whole number within ±2^52. */
  varint(value: number): void {
    this.uvarint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  varintBig(value: bigint): void {
    this.uvarintBig(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  zeros(count: number): void {
    const at = this.#grow(count);
    this.#bytes.fill(0, at, at + count);
  }

  /** uvarint length in bytes, then UTF-8. */
  string(text: string): void {
    const size = Buffer.byteLength(text);
    this.uvarint(size);
    const at = this.#grow(size);
    Buffer.from(this.#bytes.buffer, at, size).write(text, "utf8");
  }

  /** Overwrites four bytes that were written before. */
  setU32(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }
}
