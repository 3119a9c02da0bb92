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

/** A copy of the bytes, good until the next call. */
export function inScratch(bytes: Uint8Array): KernelBytes {
  if (scratch === null || scratch.bytes.length < bytes.length) {
    scratch?.release();
    scratch = null;
    scratch = new KernelBytes(Math.max(bytes.length, SCRATCH_BYTES));
  }
  scratch.bytes.set(bytes);
  return scratch;
}

/** What the kernel says of chunks that are for the general decoder. */
const UNUSUAL = -1;

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
    this.append(inScratch(chunk), 0, chunk.length);
  }

  /**
   * Decodes, behind what is there, those chunks of a series that overlap [mint, maxt] (in ms; what they hold beside it
   * is decoded too).
   *
   * @param chunks `chunks` fields of StoreAPI's Series, one behind the other.
   * @param startTimes Whether start timestamps are wanted: XOR2 chunks are not for these columns then.
   * @param charge Told before memory is taken how many samples the chunks claim to hold.
   * @returns False when they are not all plain XOR or XOR2 chunks that follow each other in time: nothing is appended then.
   * @throws {XorChunkTruncatedError} @throws {KernelMemoryError}
   */
  appendSeries(
    chunks: Uint8Array,
    mint: number,
    maxt: number,
    startTimes: boolean,
    charge: (samples: number) => void,
  ): boolean {
    const from = inScratch(chunks).address(0);
    const end = from + chunks.length;
    const { exports } = kernel();
    const claimed = exports.chunksClaimed(from, end, mint, maxt, !startTimes);
    if (claimed === UNUSUAL) return false;
    if (claimed < 0) throw new XorChunkTruncatedError(chunks.length);
    charge(claimed);
    this.#reserve(this.length + claimed);
    const times = this.#at + this.length * 8;
    const values = times + this.#capacity * 8;
    const decoded = exports.chunksDecode(from, end, mint, maxt, !startTimes, times, values);
    if (decoded === UNUSUAL) return false;
    if (decoded < 0) throw new XorChunkTruncatedError(chunks.length);
    this.length += decoded;
    return true;
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
