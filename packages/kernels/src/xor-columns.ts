/**
 * XOR chunks decoded one behind the other into a pair of columns that lie in the kernel's memory, so that neither
 * chunk nor samples are copied on the way: chunks are read from files straight into `KernelBytes`.
 */

import { kernel, SLACK_BYTES } from "./load.ts";
import { XorChunkTruncatedError } from "./xor.ts";

/** A piece of the kernel's memory to read a file into. Give it back with `release`. */
export class KernelBytes {
  readonly #size: number;
  readonly #at: number;
  readonly bytes: Uint8Array;

  /** @throws {KernelMemoryError} */
  constructor(size: number) {
    const k = kernel();
    this.#size = size + SLACK_BYTES;
    this.#at = k.alloc(this.#size);
    this.bytes = new Uint8Array(k.memory.buffer, this.#at, size);
  }

  release(): void {
    kernel().free(this.#at, this.#size);
  }

  /** CRC-32C of a part. */
  crc32c(offset: number, length: number): number {
    return kernel().exports.crc32c(this.#at + offset, length, 0) >>> 0;
  }

  /** For `XorColumns.append`. */
  address(offset: number): number {
    return this.#at + offset;
  }
}

const FIRST_CAPACITY = 1024;
const LARGE_CAPACITY = 1 << 16;
/** A sample takes two bits at least: a chunk that claims more is not given memory. */
const MOST_SAMPLES_PER_BYTE = 4;

const SCRATCH_BYTES = 1 << 16;

/** Where chunks are copied to that lie elsewhere. */
let scratch: KernelBytes | null = null;

export class XorColumns {
  #at = 0;
  #capacity = 0;
  #times: Float64Array = new Float64Array(0);
  #values: Float64Array = new Float64Array(0);
  length = 0;

  /** Before the next series. */
  clear(): void {
    this.length = 0;
  }

  /**
   * Decodes the chunk of `bytes` at `offset`, `size` bytes long, behind what is there.
   * @throws {XorChunkTruncatedError} @throws {KernelMemoryError}
   */
  append(source: KernelBytes, offset: number, size: number): void {
    if (size < 2) throw new XorChunkTruncatedError(size);
    const { bytes } = source;
    const count = ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number);
    if (count > size * MOST_SAMPLES_PER_BYTE) throw new XorChunkTruncatedError(size);
    this.#reserve(this.length + count);
    const times = this.#at + this.length * 8;
    const values = times + this.#capacity * 8;
    const decoded = kernel().exports.xorDecode(source.address(offset), size, times, values, -1);
    if (decoded < 0) throw new XorChunkTruncatedError(size);
    this.length += decoded;
  }

  /** The same for a chunk that lies elsewhere. */
  appendBytes(chunk: Uint8Array): void {
    if (scratch === null || scratch.bytes.length < chunk.length) {
      scratch?.release();
      scratch = null;
      scratch = new KernelBytes(Math.max(chunk.length, SCRATCH_BYTES));
    }
    scratch.bytes.set(chunk);
    this.append(scratch, 0, chunk.length);
  }

  /** Puts samples that are decoded already behind what is there. */
  appendDecoded(timestamps: Float64Array, values: Float64Array): void {
    this.#reserve(this.length + timestamps.length);
    this.#times.set(timestamps, this.length);
    this.#values.set(values, this.length);
    this.length += timestamps.length;
  }

  /** Good until the next append. */
  timestamps(from: number, to: number): Float64Array {
    return this.#times.subarray(from, to);
  }

  values(from: number, to: number): Float64Array {
    return this.#values.subarray(from, to);
  }

  /** The whole column, for reading single times. */
  get times(): Float64Array {
    return this.#times;
  }

  /** More than is worth keeping for another series. */
  get isLarge(): boolean {
    return this.#capacity > LARGE_CAPACITY;
  }

  #reserve(samples: number): void {
    if (samples <= this.#capacity) return;
    const capacity = Math.max(samples, this.#capacity * 2, FIRST_CAPACITY);
    const k = kernel();
    const at = k.alloc(capacity * 16);
    const { buffer } = k.memory;
    const times = new Float64Array(buffer, at, capacity);
    const values = new Float64Array(buffer, at + capacity * 8, capacity);
    times.set(this.#times.subarray(0, this.length));
    values.set(this.#values.subarray(0, this.length));
    this.#free();
    this.#at = at;
    this.#capacity = capacity;
    this.#times = times;
    this.#values = values;
  }

  /** Gives the memory back; what is appended next begins anew. */
  release(): void {
    this.#free();
    this.#capacity = 0;
    this.length = 0;
  }

  #free(): void {
    if (this.#capacity > 0) kernel().free(this.#at, this.#capacity * 16);
  }
}
