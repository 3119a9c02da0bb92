/**
 * Segment files of a write-ahead log, as Prometheus has them in wal/, wbl/ and checkpoints.
 *
 * A segment is a run of 32 KiB pages; a record is cut into parts so that none crosses a page border:
 *
 *   u8   bits 2-0: 1 whole, 2 first, 3 middle, 4 last, 0 rest of the page is empty; bit 3 snappy, bit 4 zstd
 *   u16  length of the part
 *   u32  CRC-32C of the part
 *   data
 *
 * Fewer than 7 bytes left in a page are zeros. Compression covers the whole record, the flag stands on every part.
 * A record never crosses a segment border.
 */

import { readdirSync, statSync } from "node:fs";
import path from "node:path";

export const PAGE_SIZE = 32 * 1024;
export const PART_HEADER_SIZE = 7;
export const SEGMENT_SIZE = 128 * 1024 * 1024;

export const PartType = { EMPTY: 0, FULL: 1, FIRST: 2, MIDDLE: 3, LAST: 4 } as const;
export const PART_TYPE_MASK = 7;
export const SNAPPY_FLAG = 8;
export const ZSTD_FLAG = 16;

export type Compression = "none" | "snappy";

export function segmentPath(dir: string, segment: number): string {
  return path.join(dir, String(segment).padStart(8, "0"));
}

/** Numbers of the segments in `dir`, ascending. Older versions wrote six digits; both are taken. */
export function listSegments(dir: string): number[] {
  const out: number[] = [];
  for (const name of readdirSync(dir)) if (/^\d{6,8}$/.test(name)) out.push(Number(name));
  return out.sort((a, b) => a - b);
}

/** Bytes of these segments of a log. */
export function sizeOfSegments(dir: string, segments: readonly number[]): number {
  return segments.reduce((sum, segment) => sum + statSync(segmentPath(dir, segment)).size, 0);
}
