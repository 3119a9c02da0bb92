/**
 * A block's tombstones file: u32 0130ba30, u8 1, stones, CRC-32C over the stones. A stone is a uvarint series id and
 * two varints, the ends of a closed interval of deleted time.
 */

import { existsSync } from "node:fs";
import path from "node:path";
import { ByteReader, ByteWriter, crc32c } from "@torus/encoding";
import { files, writeWhole } from "../files.ts";

const MAGIC = 0x0130ba30;

export type Interval = { mint: number; maxt: number };

export class TombstonesDamagedError extends Error {
  constructor(dir: string, what: string, options?: ErrorOptions) {
    super(`read ${path.join(dir, "tombstones")}: ${what}`, options);
    this.name = "TombstonesDamagedError";
  }
}

/** Deleted intervals by series id, merged and ascending; no file is none. @throws {TombstonesDamagedError} */
export function readTombstones(dir: string): Map<number, Interval[]> {
  const file = path.join(dir, "tombstones");
  const out = new Map<number, Interval[]>();
  if (!existsSync(file)) return out;
  const bytes = files.readWhole(file);
  try {
    const reader = new ByteReader(bytes, 0, bytes.length - 4);
    if (reader.u32() !== MAGIC || reader.u8() !== 1) {
      throw new TombstonesDamagedError(dir, "no tombstones file of version 1");
    }
    const stored = new ByteReader(bytes, bytes.length - 4).u32();
    if (crc32c(bytes.subarray(5, bytes.length - 4)) !== stored) {
      throw new TombstonesDamagedError(dir, "checksum mismatch");
    }
    while (reader.remaining > 0) {
      const id = reader.uvarint();
      const stones = out.get(id) ?? [];
      stones.push({ mint: reader.varint(), maxt: reader.varint() });
      out.set(id, stones);
    }
  } catch (error) {
    if (error instanceof TombstonesDamagedError) throw error;
    throw new TombstonesDamagedError(dir, (error as Error).message, { cause: error });
  }
  for (const [id, stones] of out) out.set(id, mergeIntervals(stones));
  return out;
}

/** Ascending; intervals that touch become one. */
export function mergeIntervals(intervals: readonly Interval[]): Interval[] {
  const out: Interval[] = [];
  for (const next of [...intervals].sort((a, b) => a.mint - b.mint)) {
    const last = out.at(-1);
    if (last !== undefined && next.mint <= last.maxt + 1)
      last.maxt = Math.max(last.maxt, next.maxt);
    else out.push({ ...next });
  }
  return out;
}

export function writeTombstones(
  dir: string,
  stones: ReadonlyMap<number, readonly Interval[]>,
): void {
  const out = new ByteWriter();
  out.u32(MAGIC);
  out.u8(1);
  for (const [id, intervals] of stones) {
    for (const { mint, maxt } of intervals) {
      out.uvarint(id);
      out.varint(mint);
      out.varint(maxt);
    }
  }
  out.u32(crc32c(out.written.subarray(5)));
  writeWhole(path.join(dir, "tombstones"), out.written);
}
