/** Appends records to the segments of a log. One writer a directory. */

import { crc32c, snappyEncode } from "@torus/encoding";
import { files, writeFully } from "../files.ts";
import {
  type Compression,
  listSegments,
  PAGE_SIZE,
  PART_HEADER_SIZE,
  PartType,
  SEGMENT_SIZE,
  SNAPPY_FLAG,
  segmentPath,
} from "./segment.ts";

/** A record that no segment can hold. */
export class RecordTooLargeError extends Error {
  readonly sizeBytes: number;
  constructor(sizeBytes: number, segmentSize: number) {
    super(`log a record of ${sizeBytes} bytes in segments of ${segmentSize}`);
    this.name = "RecordTooLargeError";
    this.sizeBytes = sizeBytes;
  }
}

export type LogWriterOptions = {
  compression: Compression;
  segmentSize?: number;
  /**
   * Ended segments are synced by another thread, as a disk may need a second for one. What goes wrong then is thrown by
   * the next `log`, and whoever closes the log waits for `settled` before.
   */
  syncsLater?: boolean;
};

export class LogWriter {
  readonly dir: string;
  readonly #compression: Compression;
  readonly #segmentSize: number;
  #segment: number;
  #fd: number;
  /** Bytes in the current segment. */
  #offset = 0;
  #written = 0;
  /** What a failed write left may stand behind `#offset`: nothing is written before that is cut off. */
  #unsettled = false;
  readonly #syncsLater: boolean;
  /** Ended segments that are being synced, what went wrong with one, and who waits for all. */
  #syncing = 0;
  #syncError: Error | null = null;
  #onSettled: (() => void)[] = [];
  #closed = false;
  #buffer = Buffer.allocUnsafe(4 * PAGE_SIZE);

  /** Opens a segment after the newest in `dir`, as Prometheus does at every start. Makes `dir` when it is missing. */
  constructor(dir: string, options: LogWriterOptions) {
    files.makeDirectory(dir);
    this.dir = dir;
    this.#compression = options.compression;
    this.#segmentSize = options.segmentSize ?? SEGMENT_SIZE;
    this.#syncsLater = options.syncsLater ?? false;
    this.#segment = (listSegments(dir).at(-1) ?? -1) + 1;
    this.#fd = files.open(segmentPath(dir, this.#segment), "ax");
  }

  /** The segment that is written to now. */
  get segment(): number {
    return this.#segment;
  }

  /** Bytes of the current segment, up to which all records are whole. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes since it was opened. */
  get written(): number {
    return this.#written;
  }

  /**
   * Writes the records in one system call and returns when the operating system has them; the bytes are only lent.
   * When it throws, the log reads as it did before; but of records that together need several segments, some may be
   * in those before the last.
   */
  log(records: readonly Uint8Array[]): void {
    const failed = this.#syncError;
    this.#syncError = null;
    if (failed !== null) throw failed;
    let total = 0;
    for (const record of records) total += partsSize(record.length, this.#offset + total);
    if (this.#offset > 0 && this.#offset + total > this.#segmentSize) this.nextSegment();
    let start = 0;
    let size = 0;
    let at = this.#offset;
    // A record is at most as long as it is uncompressed, so this is enough room and never too little.
    for (let i = 0; i < records.length; i++) {
      const record = records[i] as Uint8Array;
      const most = partsSize(record.length, at);
      if (most > this.#segmentSize) throw new RecordTooLargeError(record.length, this.#segmentSize);
      if (at + most > this.#segmentSize && at > 0) {
        this.#write(records.slice(start, i), size);
        this.nextSegment();
        start = i;
        size = 0;
        at = 0;
      }
      const needed = partsSize(record.length, at);
      size += needed;
      at += needed;
    }
    this.#write(records.slice(start), size);
  }

  /** @param room Enough bytes for the records when none of them shrinks. */
  #write(records: readonly Uint8Array[], room: number): void {
    if (records.length === 0) return;
    if (this.#buffer.length < room) this.#buffer = Buffer.allocUnsafe(room * 2);
    const begin = this.#offset;
    let end = begin;
    for (const record of records) {
      let data = record;
      let flag = 0;
      if (this.#compression === "snappy") {
        const packed = snappyEncode(record);
        if (packed.length < record.length) {
          data = packed;
          flag = SNAPPY_FLAG;
        }
      }
      end = frame(this.#buffer, begin, end, data, flag);
    }
    this.#append(this.#buffer.subarray(0, end - begin));
  }

  /** All of the bytes, or none. */
  #append(bytes: Uint8Array): void {
    this.#settle();
    try {
      writeFully(this.#fd, bytes, this.#offset);
    } catch (error) {
      this.#unsettled = true;
      try {
        this.#settle();
      } catch {
        // The next write tries again, and is not done before.
      }
      throw error;
    }
    this.#offset += bytes.length;
    this.#written += bytes.length;
  }

  /** What was written in part must not be read as a record, nor stand before the next one. */
  #settle(): void {
    if (!this.#unsettled) return;
    files.truncate(this.#fd, this.#offset);
    this.#unsettled = false;
  }

  /**
   * Ends the segment (its last page is filled with zeros and it is synced, see `syncsLater`) and begins the next one. When it throws,
   * the segment is still the one that is written to.
   */
  nextSegment(): void {
    this.#fillPage();
    if (!this.#syncsLater) files.fsync(this.#fd);
    const fd = files.open(segmentPath(this.dir, this.#segment + 1), "ax");
    const ended = this.#fd;
    this.#fd = fd;
    this.#segment++;
    this.#offset = 0;
    if (this.#syncsLater) this.#syncLater(ended);
    else files.close(ended);
  }

  #syncLater(fd: number): void {
    this.#syncing++;
    files.fsyncLater(fd, (error) => {
      this.#syncError ??= error;
      try {
        files.close(fd);
      } catch (failed) {
        this.#syncError ??= failed as Error;
      }
      if (--this.#syncing > 0) return;
      for (const settled of this.#onSettled.splice(0)) settled();
    });
  }

  /** Resolves when no ended segment is being synced. */
  settled(): Promise<void> {
    return this.#syncing === 0
      ? Promise.resolve()
      : new Promise((resolve) => this.#onSettled.push(resolve));
  }

  #fillPage(): void {
    const rest = (PAGE_SIZE - (this.#offset % PAGE_SIZE)) % PAGE_SIZE;
    if (rest > 0) this.#append(Buffer.alloc(rest));
  }

  sync(): void {
    files.fsync(this.#fd);
  }

  /** Deletes the segments below `segment`. */
  truncate(segment: number): void {
    for (const old of listSegments(this.dir)) {
      if (old < segment && old < this.#segment) files.unlink(segmentPath(this.dir, old));
    }
  }

  /** Ends the log. It is closed also when this throws; a page that cannot be filled is none of an error. */
  close(): void {
    if (this.#closed) return;
    try {
      this.#fillPage();
    } catch {
      // Readers take a segment that ends with its last record.
    }
    try {
      files.fsync(this.#fd);
    } finally {
      this.abandon();
    }
    if (this.#syncError !== null) throw this.#syncError;
  }

  /** Closes the file as it is. */
  abandon(): void {
    if (this.#closed) return;
    this.#closed = true;
    files.close(this.#fd);
  }
}

/** Bytes that a record of `length` takes from byte `at` of a segment on, headers and skipped page ends included. */
function partsSize(length: number, at: number): number {
  let left = length;
  let end = at;
  for (;;) {
    const room = PAGE_SIZE - (end % PAGE_SIZE);
    if (room < PART_HEADER_SIZE) {
      end += room;
      continue;
    }
    const part = Math.min(left, room - PART_HEADER_SIZE);
    end += PART_HEADER_SIZE + part;
    left -= part;
    if (left === 0) return end - at;
  }
}

/** Puts the parts of a record into `buffer`, whose first byte is byte `begin` of the segment. Returns the new end. */
function frame(
  buffer: Buffer,
  begin: number,
  from: number,
  data: Uint8Array,
  flag: number,
): number {
  let left = data.length;
  let end = from;
  let begun = false;
  for (;;) {
    const room = PAGE_SIZE - (end % PAGE_SIZE);
    if (room < PART_HEADER_SIZE) {
      buffer.fill(0, end - begin, end - begin + room);
      end += room;
      continue;
    }
    const size = Math.min(left, room - PART_HEADER_SIZE);
    // Not by what is left: where seven bytes of a page are free, the first part holds nothing.
    const first = !begun;
    begun = true;
    const last = size === left;
    const type = first
      ? last
        ? PartType.FULL
        : PartType.FIRST
      : last
        ? PartType.LAST
        : PartType.MIDDLE;
    const part = data.subarray(data.length - left, data.length - left + size);
    const at = end - begin;
    buffer[at] = type | flag;
    buffer.writeUInt16BE(size, at + 1);
    buffer.writeUInt32BE(crc32c(part), at + 3);
    buffer.set(part, at + PART_HEADER_SIZE);
    end += PART_HEADER_SIZE + size;
    left -= size;
    if (last) return end;
  }
}
