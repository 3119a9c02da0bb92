/**
 * Writes a block's chunk files (drawn in block/chunk-segments.ts) from chunks that lie in the kernels' memory of
 * another thread: each is copied once into this thread's, where it is framed and its checksum taken.
 */

import path from "node:path";
import { ByteWriter } from "@torus/encoding";
import { kernel } from "@torus/kernels";
import { FileWriter } from "../block/file-writer.ts";

const MAGIC = 0x85bd40dd;
const SEGMENT_SIZE = 512 << 20;
const STAGE_BYTES = 1 << 18;
const FRAME_BYTES = 10;

export class ChunkStream {
  readonly #dir: string;
  readonly #kernel = kernel();
  #index = -1;
  #file: FileWriter | null = null;
  #stageBytes = STAGE_BYTES;
  #stage = this.#kernel.alloc(STAGE_BYTES);
  /** Bytes in the stage, not in the file yet. */
  #staged = 0;

  /** @param dir It is there. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Writes `length` bytes at `at` of `from` as a chunk, and returns its reference. */
  write(encoding: number, from: Uint8Array, at: number, length: number): number {
    const most = length + FRAME_BYTES;
    let file = this.#file;
    if (file === null || file.position + this.#staged + most > SEGMENT_SIZE) file = this.#next();
    if (this.#staged + most > this.#stageBytes) this.#drain(most);
    const ref = this.#index * 2 ** 32 + file.position + this.#staged;
    const { bytes, view, exports } = this.#kernel;
    let to = this.#stage + this.#staged;
    let rest = length;
    for (; rest >= 0x80; rest >>>= 7) bytes[to++] = (rest & 0x7f) | 0x80;
    bytes[to++] = rest;
    const body = to;
    bytes[to++] = encoding;
    bytes.set(from.subarray(at, at + length), to);
    to += length;
    view.setUint32(to, exports.crc32c(body, length + 1, 0) >>> 0);
    this.#staged = to + 4 - this.#stage;
    return ref;
  }

  /** Everything is on disk when it returns. */
  finish(): void {
    this.#drain(0);
    this.#file?.finish();
    this.#file = null;
    this.#free();
  }

  abandon(): void {
    this.#file?.abandon();
    this.#file = null;
    this.#free();
  }

  #free(): void {
    if (this.#stageBytes > 0) this.#kernel.free(this.#stage, this.#stageBytes);
    this.#stageBytes = 0;
  }

  #next(): FileWriter {
    this.#drain(0);
    this.#file?.finish();
    this.#index++;
    const file = new FileWriter(path.join(this.#dir, String(this.#index + 1).padStart(6, "0")));
    this.#file = file;
    const header = new ByteWriter(8);
    header.u32(MAGIC);
    header.u8(1);
    header.zeros(3);
    file.drain(header);
    return file;
  }

  /** Empties the stage into the file and makes it at least `size` bytes. */
  #drain(size: number): void {
    const k = this.#kernel;
    if (this.#staged > 0) {
      this.#file?.write(new Uint8Array(k.bytes.subarray(this.#stage, this.#stage + this.#staged)));
      this.#staged = 0;
    }
    if (size > this.#stageBytes) {
      k.free(this.#stage, this.#stageBytes);
      this.#stage = k.alloc(size);
      this.#stageBytes = size;
    }
  }
}
