/**
 * Chunks of series as fields of StoreAPI's Series, written in the kernel's memory: a chunk's bytes and its hash are
 * touched there only, whether it lies in a head or was read from a file.
 *
 *   chunks   12 length | 08 min time | 10 max time | 1a length | (08 type) 12 length data 18 XXH64
 */

import { kernel, SLACK_BYTES } from "./load.ts";
import { inScratch, type KernelBytes } from "./xor-columns.ts";

/** What a field needs at most beside its chunk. */
const AROUND = 72;
const FIRST_BYTES = 64 << 10;

/** A chunk of a head's series and all before it, as they were at one moment. */
export type SeriesAt = {
  /** Address of the series. */
  series: number;
  /** Address of the newest closed chunk then, or 0. */
  newestClosed: number;
  /** Of the open chunk then; 0 for none. */
  openSamples: number;
  /** ms. */
  lastTime: number;
};

/** Fields one behind the other. Give the memory back with `release`. */
export class ChunkFields {
  #at = 0;
  #capacity = 0;
  length = 0;

  clear(): void {
    this.length = 0;
  }

  /** Drops what was written behind `length`. */
  cut(length: number): void {
    this.length = length;
  }

  /**
   * Appends a chunk that lies in the kernel's memory.
   * @param type StoreAPI's number of its encoding. @param times In ms. @throws {KernelMemoryError}
   */
  append(
    minTime: number,
    maxTime: number,
    type: number,
    source: KernelBytes,
    offset: number,
    size: number,
  ): void {
    this.#reserve(size + AROUND);
    const to = this.#at + this.length;
    const { exports } = kernel();
    const end = exports.chunkWrite(to, minTime, maxTime, type, source.address(offset), size);
    this.length = (end >>> 0) - this.#at;
  }

  /**
   * Appends those chunks of a head's series that do not end before `floor` and overlap [mint, maxt], all in ms.
   * @returns False, and nothing is appended, when not all of them are plain XOR chunks that begin after `after`.
   * @throws {KernelMemoryError}
   */
  appendSeries(at: SeriesAt, floor: number, mint: number, maxt: number, after: number): boolean {
    const { series, newestClosed, openSamples, lastTime } = at;
    this.#reserve(FIRST_BYTES);
    const to = this.#at + this.length;
    const end = kernel().exports.chunksOfSeries(
      series,
      newestClosed,
      openSamples,
      lastTime,
      floor,
      mint,
      maxt,
      after,
      to,
      this.#at + this.#capacity,
    );
    if (end === 0) return false;
    this.length = (end >>> 0) - this.#at;
    return true;
  }

  /** The same for a chunk that lies elsewhere. @throws {KernelMemoryError} */
  appendBytes(minTime: number, maxTime: number, type: number, chunk: Uint8Array): void {
    const scratch = inScratch(chunk);
    this.append(minTime, maxTime, type, scratch, 0, chunk.length);
  }

  /** What was written, until anything is written again. */
  view(): Uint8Array {
    return kernel().bytes.subarray(this.#at, this.#at + this.length);
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.#capacity) return;
    const k = kernel();
    const capacity = Math.max(needed, this.#capacity * 2, FIRST_BYTES * 2);
    const at = k.alloc(capacity + SLACK_BYTES);
    k.bytes.copyWithin(at, this.#at, this.#at + this.length);
    this.#free();
    this.#at = at;
    this.#capacity = capacity;
  }

  release(): void {
    this.#free();
    this.#at = 0;
    this.#capacity = 0;
    this.length = 0;
  }

  #free(): void {
    if (this.#capacity > 0) kernel().free(this.#at, this.#capacity + SLACK_BYTES);
  }
}
