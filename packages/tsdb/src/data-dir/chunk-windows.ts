/**
 * Reads a block's chunks (the layout is drawn in block/chunk-segments.ts) straight into the kernel's memory, ahead
 * while places follow each other.
 */

import { closeSync, openSync, readSync } from "node:fs";
import path from "node:path";
import { KernelBytes } from "@torus/kernels";
import { ChunkFileDamagedError } from "../block/chunk-segments.ts";

const MAGIC = 0x85bd40dd;
const FILE_HEADER = 8;
/** Length field, encoding and checksum at most. */
const AROUND = 10 + 1 + 4;
const FIRST_WINDOW = 16 << 10;
const LAST_WINDOW = 256 << 10;
const MAX_CHUNK = 64 << 20;

export class ChunkWindows {
  readonly #dir: string;
  #file = -1;
  #fd = -1;
  #start = 0;
  #size = 0;
  #ahead = FIRST_WINDOW;
  #window: KernelBytes | null = null;
  /** Of the chunk that was found last: where its data are in `bytes`. */
  encoding = 0;
  offset = 0;
  length = 0;

  /** @param dir A block's `chunks`. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  get bytes(): KernelBytes {
    return this.#window as KernelBytes;
  }

  /**
   * Finds a chunk; `encoding`, `offset` and `length` tell of it until the next call.
   * @param verified Its checksum is known to be right.
   * @throws {ChunkFileDamagedError}
   */
  find(ref: number, verified: boolean): void {
    const file = Math.floor(ref / 2 ** 32);
    const place = ref % 2 ** 32;
    if (place < FILE_HEADER) throw new ChunkFileDamagedError(this.#dir, ref, "inside the header");
    let at = this.#load(file, place, AROUND);
    let bytes = this.bytes.bytes;
    let end = this.#size;
    let length = 0;
    let scale = 1;
    let header = at;
    for (;;) {
      if (header >= end || header - at > 5) {
        throw new ChunkFileDamagedError(this.#dir, ref, "no length");
      }
      const byte = bytes[header++] as number;
      length += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
    }
    if (length > MAX_CHUNK) throw new ChunkFileDamagedError(this.#dir, ref, `length ${length}`);
    const before = header - at;
    const total = before + 1 + length + 4;
    at = this.#load(file, place, total);
    ({ bytes } = this.bytes);
    end = this.#size;
    if (at + total > end) throw new ChunkFileDamagedError(this.#dir, ref, "cut off");
    if (!verified) {
      const stored = at + total - 4;
      const want =
        (((bytes[stored] as number) << 24) |
          ((bytes[stored + 1] as number) << 16) |
          ((bytes[stored + 2] as number) << 8) |
          (bytes[stored + 3] as number)) >>>
        0;
      if (this.bytes.crc32c(at + before, 1 + length) !== want) {
        throw new ChunkFileDamagedError(this.#dir, ref, "checksum mismatch");
      }
    }
    this.encoding = bytes[at + before] as number;
    this.offset = at + before + 1;
    this.length = length;
  }

  /** A copy of the chunk that was found. */
  data(): Uint8Array {
    return this.bytes.bytes.slice(this.offset, this.offset + this.length);
  }

  /** Has `size` bytes from `place` on in the window, fewer only at the end of the file; where they begin. */
  #load(file: number, place: number, size: number): number {
    const within = place - this.#start;
    const inWindow = file === this.#file && within >= 0;
    if (inWindow && within + size <= this.#size) return within;
    const follows = inWindow && within <= this.#size + FIRST_WINDOW;
    this.#ahead = follows ? Math.min(this.#ahead * 2, LAST_WINDOW) : FIRST_WINDOW;
    if (file !== this.#file) {
      if (this.#fd >= 0) closeSync(this.#fd);
      this.#fd = -1;
      this.#fd = openSync(path.join(this.#dir, String(file + 1).padStart(6, "0")), "r");
      this.#file = file;
      const header = Buffer.alloc(FILE_HEADER);
      readSync(this.#fd, header, 0, FILE_HEADER, 0);
      if (header.readUInt32BE(0) !== MAGIC || header[4] !== 1) {
        const ref = file * 2 ** 32 + place;
        throw new ChunkFileDamagedError(
          this.#dir,
          ref,
          "the file is no chunk segment of version 1",
        );
      }
    }
    const wanted = Math.max(this.#ahead, size);
    if (this.#window === null || this.#window.bytes.length < wanted) {
      this.#window?.release();
      this.#window = null;
      this.#window = new KernelBytes(wanted);
    }
    const { bytes } = this.#window;
    let read = 0;
    while (read < wanted) {
      const n = readSync(this.#fd, bytes, read, wanted - read, place + read);
      if (n === 0) break;
      read += n;
    }
    this.#start = place;
    this.#size = read;
    return 0;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
    this.#file = -1;
    this.#window?.release();
    this.#window = null;
  }
}
