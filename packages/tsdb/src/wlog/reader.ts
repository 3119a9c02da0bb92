/** Reads a log's records, says where and why it stops being readable, and repairs it as Prometheus does. */

import { fstatSync, statSync } from "node:fs";
import { crc32c, snappyDecode, zstdDecode } from "@torus/encoding";
import { files } from "../files.ts";
import {
  listSegments,
  PAGE_SIZE,
  PART_HEADER_SIZE,
  PART_TYPE_MASK,
  PartType,
  SNAPPY_FLAG,
  segmentPath,
  ZSTD_FLAG,
} from "./segment.ts";

/** No record is larger when decoded; a header that claims more is damage, not a reason to allocate. */
const MAX_RECORD = 256 << 20;

/** Where a log stops being readable. */
export type LogDamage = {
  segment: number;
  /** Where the first record that cannot be read begins: everything before is whole. */
  offset: number;
  reason: string;
  /** The last segment merely ends inside a record, as a killed process leaves it: nothing acknowledged is lost. */
  torn: boolean;
};

export type RecordPosition = { segment: number; offset: number };

/**
 * Hands over every record of the segments `first` to `last`, in order. The record's bytes are lent for the call.
 *
 * @returns null when all was read, or where it stopped.
 */
export function readLog(
  dir: string,
  first: number,
  last: number,
  onRecord: (record: Uint8Array, position: RecordPosition) => void,
): LogDamage | null {
  const segments = listSegments(dir).filter((n) => n >= first && n <= last);
  for (const [i, segment] of segments.entries()) {
    const next = segments[i + 1];
    const file = new SegmentFile(segmentPath(dir, segment));
    let damage: LogDamage | null;
    try {
      damage = readPages(file, segment, onRecord);
    } finally {
      file.close();
    }
    if (damage !== null) return { ...damage, torn: damage.torn && next === undefined };
    if (next !== undefined && next !== segment + 1) {
      return { segment: next, offset: 0, reason: `segment ${segment + 1} is missing`, torn: false };
    }
  }
  return null;
}

/** Reads the records of one segment's bytes; see `readLog`. */
export function readSegment(
  bytes: Uint8Array,
  segment: number,
  onRecord: (record: Uint8Array, position: RecordPosition) => void,
): LogDamage | null {
  return readPages({ size: bytes.length, read: (at) => bytes.subarray(at) }, segment, onRecord);
}

/** A segment's bytes in pieces. */
type Pages = {
  size: number;
  /** From `at`, a multiple of the page size, some whole pages, or all that is left; good until the next call. */
  read(at: number): Uint8Array;
};

const WINDOW_BYTES = 32 * PAGE_SIZE;

/** Segments are large, so a file is read in windows, into one buffer. */
class SegmentFile implements Pages {
  readonly #fd: number;
  readonly size: number;
  readonly #window: Buffer;

  constructor(file: string) {
    this.#fd = files.open(file, "r");
    this.size = fstatSync(this.#fd).size;
    this.#window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, this.size));
  }

  read(at: number): Uint8Array {
    const wanted = Math.min(this.#window.length, this.size - at);
    let done = 0;
    while (done < wanted) {
      const n = files.read(this.#fd, this.#window, done, wanted - done, at + done);
      if (n === 0) break;
      done += n;
    }
    return this.#window.subarray(0, done);
  }

  close(): void {
    files.close(this.#fd);
  }
}

function readPages(
  pages: Pages,
  segment: number,
  onRecord: (record: Uint8Array, position: RecordPosition) => void,
): LogDamage | null {
  // Places in the segment are `base` + those in `bytes`; a part never crosses a page, nor so a piece.
  let bytes: Uint8Array = new Uint8Array(0);
  let view = new DataView(bytes.buffer);
  let base = 0;
  let parts: Uint8Array[] = [];
  let start = 0;
  let at = 0;
  const damage = (reason: string, torn: boolean): LogDamage => ({
    segment,
    offset: parts.length > 0 ? start : base + at,
    reason,
    torn,
  });
  for (;;) {
    if (at >= bytes.length) {
      base += at;
      at = 0;
      // The next piece is read over this one. A Buffer's own slice() would not copy.
      parts = parts.map((part) => new Uint8Array(part));
      if (base >= pages.size) break;
      bytes = pages.read(base);
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (bytes.length === 0) break;
    }
    const room = PAGE_SIZE - (at % PAGE_SIZE);
    const type = (bytes[at] as number) & PART_TYPE_MASK;
    if (room < PART_HEADER_SIZE || type === PartType.EMPTY) {
      const end = Math.min(at + room, bytes.length);
      for (let i = at; i < end; i++) {
        if (bytes[i] !== 0) {
          return damage(`byte ${base + i} after the last part of a page is not zero`, false);
        }
      }
      at = end;
      continue;
    }
    if (bytes.length - at < PART_HEADER_SIZE) return damage("a part's header is cut off", true);
    const size = view.getUint16(at + 1);
    if (size > room - PART_HEADER_SIZE)
      return damage(`part of ${size} bytes crosses a page`, false);
    const from = at + PART_HEADER_SIZE;
    if (size > bytes.length - from) return damage(`part of ${size} bytes is cut off`, true);
    const data = bytes.subarray(from, from + size);
    const stored = view.getUint32(at + 3);
    const computed = crc32c(data);
    if (stored !== computed) {
      const found = damage(`checksum ${hex(computed)}, stored ${hex(stored)}`, false);
      // A page that never reached the disk whole reads so too; it is damage unless nothing stands behind it.
      return { ...found, torn: isZero(pages, base + from + size, bytes.subarray(from + size)) };
    }
    const flags = bytes[at] as number;
    if (type === PartType.FULL || type === PartType.FIRST) {
      if (parts.length > 0) return damage(`part type ${type} inside a record`, false);
      start = base + at;
    } else if (type > PartType.LAST || parts.length === 0) {
      return damage(`part type ${type} outside of a record`, false);
    }
    parts.push(data);
    at = from + size;
    if (type === PartType.FULL || type === PartType.LAST) {
      const whole = parts.length === 1 ? data : new Uint8Array(Buffer.concat(parts));
      let record: Uint8Array;
      try {
        record = unpack(whole, flags);
      } catch (error) {
        return damage(`record does not decompress: ${(error as Error).message}`, false);
      }
      parts = [];
      onRecord(record, { segment, offset: start });
    }
  }
  return parts.length > 0 ? damage("the last record is cut off", true) : null;
}

/** Whether all is zero from `at` on, of which `have` is the beginning. */
function isZero(pages: Pages, at: number, have: Uint8Array): boolean {
  let piece = have;
  for (let end = at; ; ) {
    if (piece.some((byte) => byte !== 0)) return false;
    end += piece.length;
    if (end >= pages.size) return true;
    piece = pages.read(end);
    if (piece.length === 0) return true;
  }
}

function unpack(data: Uint8Array, flags: number): Uint8Array {
  if ((flags & SNAPPY_FLAG) !== 0) return snappyDecode(data, MAX_RECORD);
  if ((flags & ZSTD_FLAG) !== 0) return zstdDecode(data, MAX_RECORD);
  return data;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/**
 * Cuts the log off where it stops being readable: the rest of that segment and all later ones go, these first, newest
 * first, so that what is left of an interrupted repair reads as before.
 *
 * @returns What was dropped.
 */
export function repairLog(dir: string, damage: LogDamage): { segments: number; bytes: number } {
  const later = listSegments(dir).filter((segment) => segment > damage.segment);
  let bytes = 0;
  for (const segment of later.reverse()) {
    const file = segmentPath(dir, segment);
    bytes += statSync(file).size;
    files.unlink(file);
  }
  const fd = files.open(segmentPath(dir, damage.segment), "r+");
  try {
    bytes += fstatSync(fd).size - damage.offset;
    files.truncate(fd, damage.offset);
  } finally {
    files.close(fd);
  }
  return { segments: later.length, bytes };
}
