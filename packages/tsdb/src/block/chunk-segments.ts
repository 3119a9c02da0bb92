/**
 * A block's chunks/NNNNNN files:
 *
 *   u32 85bd40dd   u8 version 1   3 zero bytes
 *   uvarint length of the data | u8 encoding | data | u32 CRC-32C over encoding and data        for each chunk
 *
 * A chunk's reference is (file number - 1) * 2^32 + the offset of its length field.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import { ByteReader, ByteWriter, crc32c } from "@torus/encoding";
import type { ChunkEncoding } from "@torus/model";
import { files } from "../files.ts";
import { FileWriter } from "./file-writer.ts";

const MAGIC = 0x85bd40dd;
const HEADER_SIZE = 8;
const SEGMENT_SIZE = 512 * 1024 * 1024;
/** A chunk is some hundred bytes, of a wide histogram some ten thousand. */
const MAX_CHUNK = 64 << 20;

export class ChunkFileDamagedError extends Error {
  readonly ref: number;
  constructor(dir: string, ref: number, what: string) {
    super(
      `read the chunk at ${ref % 2 ** 32} of ${segmentName(dir, Math.floor(ref / 2 ** 32))}: ${what}`,
    );
    this.name = "ChunkFileDamagedError";
    this.ref = ref;
  }
}

function segmentName(dir: string, index: number): string {
  return path.join(dir, String(index + 1).padStart(6, "0"));
}

export class ChunkSegmentWriter {
  readonly #dir: string;
  readonly #segmentSize: number;
  #index = -1;
  #file: FileWriter | null = null;
  readonly #scratch = new ByteWriter(16);

  constructor(dir: string, segmentSize = SEGMENT_SIZE) {
    files.makeDirectory(dir);
    this.#dir = dir;
    this.#segmentSize = segmentSize;
  }

  /** Writes a chunk and returns its reference. The bytes must not change until `finish`. */
  write(encoding: ChunkEncoding, data: Uint8Array): number {
    const largest = 5 + 1 + data.length + 4;
    if (this.#file === null || this.#file.position + largest > this.#segmentSize) this.#next();
    const file = this.#file as unknown as FileWriter;
    const ref = this.#index * 2 ** 32 + file.position;
    this.#scratch.uvarint(data.length);
    file.drain(this.#scratch);
    file.beginChecksum();
    this.#scratch.u8(encoding);
    file.drain(this.#scratch);
    file.write(data);
    this.#scratch.u32(file.checksum);
    file.drain(this.#scratch);
    return ref;
  }

  #next(): void {
    this.#file?.finish();
    this.#index++;
    this.#file = new FileWriter(segmentName(this.#dir, this.#index));
    this.#scratch.u32(MAGIC);
    this.#scratch.u8(1);
    this.#scratch.zeros(3);
    this.#file.drain(this.#scratch);
  }

  finish(): void {
    this.#file?.finish();
    this.#file = null;
  }

  abandon(): void {
    this.#file?.abandon();
    this.#file = null;
  }
}

const FIRST_WINDOW = 4096;
const LAST_WINDOW = 512 * 1024;

/**
 * Reads chunks by reference. Reading ahead grows while references follow each other, so that a whole scan takes
 * few system calls and a single lookup reads little. Close it: it holds files open.
 */
export class ChunkSegmentReader {
  readonly #dir: string;
  readonly #files = new Map<number, number>();
  #windowFile = -1;
  #windowStart = 0;
  #window: Uint8Array = new Uint8Array(0);
  #ahead = FIRST_WINDOW;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /**
   * @returns Encoding and data; the data is a view of a buffer that is not written to again.
   * @throws {ChunkFileDamagedError}
   */
  read(ref: number): { encoding: ChunkEncoding; data: Uint8Array } {
    const index = Math.floor(ref / 2 ** 32);
    const offset = ref % 2 ** 32;
    if (offset < HEADER_SIZE) throw new ChunkFileDamagedError(this.#dir, ref, "inside the header");
    let bytes = this.#at(index, offset, 16);
    let length = 0;
    let header = 0;
    try {
      const reader = new ByteReader(bytes);
      length = reader.uvarint();
      header = reader.offset;
    } catch {
      throw new ChunkFileDamagedError(this.#dir, ref, "no length");
    }
    if (length > MAX_CHUNK) throw new ChunkFileDamagedError(this.#dir, ref, `length ${length}`);
    const total = header + 1 + length + 4;
    bytes = this.#at(index, offset, total);
    if (bytes.length < total) throw new ChunkFileDamagedError(this.#dir, ref, "cut off");
    const stored = new ByteReader(bytes, total - 4).u32();
    if (crc32c(bytes.subarray(header, total - 4)) !== stored) {
      throw new ChunkFileDamagedError(this.#dir, ref, "checksum mismatch");
    }
    return {
      encoding: bytes[header] as ChunkEncoding,
      data: bytes.subarray(header + 1, total - 4),
    };
  }

  /** At least `size` bytes from `offset` on, fewer only at the end of the file. */
  #at(index: number, offset: number, size: number): Uint8Array {
    const within = offset - this.#windowStart;
    if (index === this.#windowFile && within >= 0 && within + size <= this.#window.length) {
      return this.#window.subarray(within);
    }
    const follows =
      index === this.#windowFile && within >= 0 && within <= this.#window.length + FIRST_WINDOW;
    this.#ahead = follows ? Math.min(this.#ahead * 2, LAST_WINDOW) : FIRST_WINDOW;
    const window = new Uint8Array(Math.max(this.#ahead, size));
    const fd = this.#open(index, offset);
    let read = 0;
    while (read < window.length) {
      const n = files.read(fd, window, read, window.length - read, offset + read);
      if (n === 0) break;
      read += n;
    }
    this.#windowFile = index;
    this.#windowStart = offset;
    this.#window = window.subarray(0, read);
    return this.#window;
  }

  #open(index: number, offset: number): number {
    const open = this.#files.get(index);
    if (open !== undefined) return open;
    const name = segmentName(this.#dir, index);
    const fd = files.open(name, "r");
    this.#files.set(index, fd);
    const header = new Uint8Array(HEADER_SIZE);
    const ref = index * 2 ** 32 + offset;
    if (files.read(fd, header, 0, HEADER_SIZE, 0) < HEADER_SIZE) {
      throw new ChunkFileDamagedError(this.#dir, ref, "the file has no header");
    }
    const view = new DataView(header.buffer);
    if (view.getUint32(0) !== MAGIC || header[4] !== 1) {
      throw new ChunkFileDamagedError(this.#dir, ref, "the file is no chunk segment of version 1");
    }
    return fd;
  }

  close(): void {
    for (const fd of this.#files.values()) files.close(fd);
    this.#files.clear();
  }
}

/** Names of a block's chunk files, in order. */
export function listChunkSegments(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => /^\d{6}$/.test(name))
    .sort();
}
