/**
 * Copies that a peer could not take, on disk, in the order in which they came: numbered segment files, of which the
 * newest grows and the oldest is read and then removed.
 *
 *   file    NNNNNNNN, from 00000001    record*
 *   record  u32 bytes of the message, u32 series, u64 time in ms, u32 CRC32C of these 16 bytes and the message,
 *           the message (thanos.WriteRequest); little-endian
 *
 * A record that is cut short or whose checksum is wrong ends its file: what follows in it is given up and counted. After
 * a restart the oldest file is read from its beginning, so some messages are sent twice, which changes nothing.
 */

import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { crc32c } from "@torus/kernels";

const HEADER_BYTES = 20;
const SEGMENT_BYTES = 8 << 20;
/** Bytes that wait for the disk at most. */
const MOST_WAITING = 32 << 20;

export type Hint = { message: Uint8Array; series: number; timeMs: number };

/** Why a hint is not kept. */
export type DropReason = "full" | "disk" | "old" | "torn";

export type HintQueueOptions = {
  dir: string;
  /** Bytes of files and of what waits for the disk. */
  maxBytes: number;
  /** Largest message; a record that claims more is torn. */
  maxMessageBytes: number;
  /** @param hints How many, where that is known: a torn file counts once. */
  onDrop: (reason: DropReason, hints: number) => void;
};

type Segment = { number: number; bytes: number };

export class HintQueue {
  readonly #options: HintQueueOptions;
  /** Oldest first; the last one grows. */
  readonly #segments: Segment[] = [];
  #bytes = 0;
  #waiting = 0;
  #writer: { handle: FileHandle; segment: Segment } | null = null;
  #writing: Promise<void> = Promise.resolve();
  #reader: { handle: FileHandle; segment: Segment; at: number } | null = null;
  /** The next hint, read and not yet done. */
  #next: { hint: Hint; end: number } | null = null;

  private constructor(options: HintQueueOptions) {
    this.#options = options;
  }

  static async open(options: HintQueueOptions): Promise<HintQueue> {
    await mkdir(options.dir, { recursive: true });
    const queue = new HintQueue(options);
    const numbers = (await readdir(options.dir))
      .filter((name) => /^\d{8,}$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
    for (const number of numbers) {
      const { size } = await stat(queue.#path(number));
      queue.#segments.push({ number, bytes: size });
      queue.#bytes += size;
    }
    return queue;
  }

  /** Bytes in files, and of what waits for the disk. */
  get bytes(): number {
    return this.#bytes + this.#waiting;
  }

  get isEmpty(): boolean {
    return this.#segments.length === 0 && this.#waiting === 0;
  }

  /** Time of the oldest hint that was read, ms; null when none was, or none is left. */
  get oldestMs(): number | null {
    return this.#next?.hint.timeMs ?? null;
  }

  /**
   * Puts a hint at the end. Never rejects: false when it was dropped.
   *
   * @param durable Whether to wait until it is on disk for good; otherwise until it is handed to the file system.
   */
  async push(hint: Hint, durable: boolean): Promise<boolean> {
    const size = HEADER_BYTES + hint.message.length;
    if (this.bytes + size > this.#options.maxBytes || this.#waiting + size > MOST_WAITING) {
      this.#options.onDrop("full", 1);
      return false;
    }
    this.#waiting += size;
    let stored = false;
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#append(hint, size, durable);
        stored = true;
      } catch {
        this.#options.onDrop("disk", 1);
        await this.#endWriter();
      } finally {
        this.#waiting -= size;
      }
    });
    await this.#writing;
    return stored;
  }

  /** The oldest hint, which stays until `done`; null when there is none. Those older than `oldest` are dropped. */
  async peek(oldest: number): Promise<Hint | null> {
    for (;;) {
      this.#next ??= await this.#read();
      if (this.#next === null) return null;
      if (this.#next.hint.timeMs >= oldest) return this.#next.hint;
      this.#options.onDrop("old", 1);
      this.done();
    }
  }

  /** The hint that `peek` gave is not needed any more. */
  done(): void {
    if (this.#reader !== null && this.#next !== null) this.#reader.at = this.#next.end;
    this.#next = null;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#endWriter();
    await this.#endReader();
  }

  /** Closes, and removes every file. */
  async remove(): Promise<void> {
    await this.close();
    this.#segments.length = 0;
    this.#bytes = 0;
    await rm(this.#options.dir, { recursive: true, force: true });
  }

  #path(number: number): string {
    return path.join(this.#options.dir, String(number).padStart(8, "0"));
  }

  async #append({ message, series, timeMs }: Hint, size: number, durable: boolean): Promise<void> {
    const writer = await this.#writerFor(size);
    const record = Buffer.allocUnsafe(size);
    record.writeUInt32LE(message.length, 0);
    record.writeUInt32LE(series, 4);
    record.writeBigUInt64LE(BigInt(timeMs), 8);
    record.set(message, HEADER_BYTES);
    record.writeUInt32LE(checksum(record), 16);
    const { handle, segment } = writer;
    let done = 0;
    while (done < size) {
      const { bytesWritten } = await handle.write(record, done, size - done, segment.bytes + done);
      if (bytesWritten === 0) throw new Error("nothing was written");
      done += bytesWritten;
    }
    if (durable) await handle.datasync();
    segment.bytes += size;
    this.#bytes += size;
  }

  async #writerFor(size: number): Promise<{ handle: FileHandle; segment: Segment }> {
    const written = this.#writer?.segment.bytes ?? 0;
    if (written > 0 && written + size > SEGMENT_BYTES) await this.#endWriter();
    if (this.#writer === null) {
      const number = (this.#segments.at(-1)?.number ?? 0) + 1;
      const handle = await open(this.#path(number), "wx");
      const segment = { number, bytes: 0 };
      this.#segments.push(segment);
      this.#writer = { handle, segment };
    }
    return this.#writer;
  }

  /** What a failed write left behind its last whole record is cut off, or found torn. */
  async #endWriter(): Promise<void> {
    const writer = this.#writer;
    this.#writer = null;
    if (writer === null) return;
    await writer.handle.truncate(writer.segment.bytes).catch(() => undefined);
    await writer.handle.close().catch(() => undefined);
  }

  async #endReader(): Promise<void> {
    const reader = this.#reader;
    this.#reader = null;
    this.#next = null;
    await reader?.handle.close().catch(() => undefined);
  }

  async #read(): Promise<{ hint: Hint; end: number } | null> {
    for (;;) {
      const [segment] = this.#segments;
      if (segment === undefined) return null;
      if (this.#writer?.segment === segment) {
        this.#writing = this.#writing.then(() => this.#endWriter());
        await this.#writing;
      }
      this.#reader ??= { handle: await open(this.#path(segment.number), "r"), segment, at: 0 };
      const found = await this.#record(this.#reader);
      if (found === "torn") this.#options.onDrop("torn", 1);
      else if (found !== "end") return found;
      await this.#endReader();
      await rm(this.#path(segment.number), { force: true });
      this.#segments.shift();
      this.#bytes -= segment.bytes;
    }
  }

  async #record({
    handle,
    segment,
    at,
  }: {
    handle: FileHandle;
    segment: Segment;
    at: number;
  }): Promise<{ hint: Hint; end: number } | "end" | "torn"> {
    if (at >= segment.bytes) return "end";
    const head = Buffer.alloc(HEADER_BYTES);
    if ((await readAt(handle, head, at)) < HEADER_BYTES) return "torn";
    const length = head.readUInt32LE(0);
    if (length > this.#options.maxMessageBytes) return "torn";
    if (at + HEADER_BYTES + length > segment.bytes) return "torn";
    const record = Buffer.allocUnsafe(HEADER_BYTES + length);
    if ((await readAt(handle, record, at)) < record.length) return "torn";
    if (checksum(record) !== head.readUInt32LE(16)) return "torn";
    const hint = {
      message: record.subarray(HEADER_BYTES),
      series: record.readUInt32LE(4),
      timeMs: Number(record.readBigUInt64LE(8)),
    };
    return { hint, end: at + record.length };
  }
}

function checksum(record: Uint8Array): number {
  return crc32c(record.subarray(HEADER_BYTES), crc32c(record.subarray(0, 16)));
}

async function readAt(handle: FileHandle, into: Uint8Array, at: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}
