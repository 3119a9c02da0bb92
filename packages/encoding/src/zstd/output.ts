/** What the frames decode to: one run of bytes that grows, is never larger than allowed, and is the window too. */

import { ZstdFrameError, ZstdTooLargeError } from "./errors.ts";

const FIRST_BYTES = 64 << 10;

export class Output {
  bytes: Uint8Array = new Uint8Array(0);
  length = 0;
  readonly #maxLength: number;

  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  /** Room for a frame that says how long it is. @throws {ZstdTooLargeError} */
  claim(size: number): void {
    this.reserve(size);
    if (this.bytes.length < this.length + size) this.#grow(this.length + size);
  }

  /** Room for `size` more bytes. @throws {ZstdTooLargeError} */
  reserve(size: number): void {
    const wanted = this.length + size;
    if (wanted > this.#maxLength) throw new ZstdTooLargeError(wanted, this.#maxLength);
    if (wanted <= this.bytes.length) return;
    const doubled = Math.max(FIRST_BYTES, this.bytes.length * 2);
    this.#grow(Math.max(wanted, Math.min(doubled, this.#maxLength)));
  }

  copy(from: Uint8Array, at: number, size: number): void {
    this.reserve(size);
    this.bytes.set(from.subarray(at, at + size), this.length);
    this.length += size;
  }

  fill(value: number, size: number): void {
    this.reserve(size);
    this.bytes.fill(value, this.length, this.length + size);
    this.length += size;
  }

  /** `size` bytes from `offset` bytes back, byte by byte: they may overlap what they make. Room is the caller's matter. */
  repeat(offset: number, size: number): void {
    const { bytes, length } = this;
    if (offset > length) throw new ZstdFrameError("a match begins before the content");
    if (offset >= size && size > 32) {
      bytes.copyWithin(length, length - offset, length - offset + size);
    } else {
      for (let i = length; i < length + size; i++) bytes[i] = bytes[i - offset] as number;
    }
    this.length = length + size;
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  #grow(size: number): void {
    const larger = new Uint8Array(size);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }
}
