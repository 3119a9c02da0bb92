/** Appends records to the segments of a log. One writer a directory. */

import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { crc32c, snappyEncode } from "@torus/encoding";
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

export type LogWriterOptions = { compression: Compression; segmentSize?: number };

export class LogWriter {
  readonly dir: string;
  readonly #compression: Compression;
  readonly #segmentSize: number;
  #segment: number;
  #fd: number;
  /** Bytes in the current segment. */
  #offset = 0;
  #buffer = Buffer.allocUnsafe(4 * PAGE_SIZE);

  /** Opens a segment after the newest in `dir`, as Prometheus does at every start. Makes `dir` when it is missing. */
  constructor(dir: string, options: LogWriterOptions) {
    mkdirSync(dir, { recursive: true });
    this.dir = dir;
    this.#compression = options.compression;
    this.#segmentSize = options.segmentSize ?? SEGMENT_SIZE;
    this.#segment = (listSegments(dir).at(-1) ?? -1) + 1;
    this.#fd = openSync(segmentPath(dir, this.#segment), "ax");
  }

  /** The segment that is written to now. */
  get segment(): number {
    return this.#segment;
  }

  /** Bytes of the current segment, up to which all records are whole. */
  get offset(): number {
    return this.#offset;
  }

  /**
   * Writes the records in one system call and returns when the operating system has them; the bytes are only lent.
   * When it throws, the log reads as it did before.
   */
  log(records: readonly Uint8Array[]): void {
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
    try {
      let done = 0;
      while (done < end - begin) {
        done += writeSync(this.#fd, this.#buffer, done, end - begin - done, begin + done);
      }
    } catch (error) {
      // What was written of it must not be read as a record, nor stand before the next one.
      ftruncateSync(this.#fd, begin);
      throw error;
    }
    this.#offset = end;
  }

  /** Ends the segment (its last page is filled with zeros and it is synced) and begins the next one. */
  nextSegment(): void {
    const next = this.#segment + 1;
    const fd = openSync(segmentPath(this.dir, next), "ax");
    try {
      this.#finish();
    } catch (error) {
      closeSync(fd);
      unlinkSync(segmentPath(this.dir, next));
      throw error;
    }
    this.#fd = fd;
    this.#segment = next;
    this.#offset = 0;
  }

  #finish(): void {
    const rest = (PAGE_SIZE - (this.#offset % PAGE_SIZE)) % PAGE_SIZE;
    if (rest > 0) writeSync(this.#fd, Buffer.alloc(rest), 0, rest, this.#offset);
    fsyncSync(this.#fd);
    closeSync(this.#fd);
  }

  sync(): void {
    fsyncSync(this.#fd);
  }

  /** Deletes the segments below `segment`. */
  truncate(segment: number): void {
    for (const old of listSegments(this.dir)) {
      if (old < segment && old < this.#segment) unlinkSync(segmentPath(this.dir, old));
    }
  }

  close(): void {
    this.#finish();
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
