/**
 * The head's chunk files of Prometheus, chunks_head/NNNNNN (Prometheus, tsdb/docs/format/head_chunks.md):
 *
 *   u32 0130bc91   u8 version 1   3 zero bytes
 *   u64 series ref | i64 mint | i64 maxt | u8 encoding | uvarint length | data | u32 CRC-32C from the ref on
 *
 * The encoding's top bit says that the chunk is of out-of-order samples. Zeros end a file: it is given room ahead.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import {
  ByteReader,
  ByteWriter,
  crc32c,
  TruncatedError,
  VarintOverflowError,
} from "@torus/encoding";
import type { Chunk, ChunkEncoding } from "@torus/model";
import { files, writeWhole } from "./files.ts";

const MAGIC = 0x0130bc91;
const HEADER_SIZE = 8;
const OUT_OF_ORDER = 0x80;

export type HeadChunk = Chunk & {
  seriesRef: number;
  outOfOrder: boolean;
  /** Where the chunk stands: what markers in a wbl refer to. */
  file: number;
  offset: number;
};

/** A file that stops being readable; what stands before is whole. */
export type HeadChunkDamage = { file: string; offset: number; reason: string };

function fileNames(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => /^\d{6}$/.test(name))
    .sort();
}

/**
 * All chunks of the directory, in order of their files. A file's damage ends what is read of it, not of the others.
 * The data are views of the files' bytes.
 */
export function readHeadChunks(dir: string): { chunks: HeadChunk[]; damage: HeadChunkDamage[] } {
  const chunks: HeadChunk[] = [];
  const damage: HeadChunkDamage[] = [];
  for (const name of fileNames(dir)) {
    const file = path.join(dir, name);
    const stop = readFile(files.readWhole(file), Number(name), chunks);
    if (stop !== null) damage.push({ file, ...stop });
  }
  return { chunks, damage };
}

function readFile(
  bytes: Uint8Array,
  file: number,
  out: HeadChunk[],
): { offset: number; reason: string } | null {
  // An empty file is what a start leaves that was killed before its first chunk.
  if (bytes.length === 0) return null;
  const reader = new ByteReader(bytes);
  let offset = 0;
  try {
    if (reader.u32() !== MAGIC || reader.u8() !== 1) {
      return { offset, reason: "the file is no head chunk file of version 1" };
    }
    reader.skip(3);
    while (reader.remaining > 0) {
      offset = reader.offset;
      if (endsHere(bytes, offset)) return null;
      const seriesRef = reader.u64();
      const minTime = reader.i64();
      const maxTime = reader.i64();
      const encoding = reader.u8();
      const data = reader.lengthPrefixed();
      const computed = crc32c(bytes.subarray(offset, reader.offset));
      if (reader.u32() !== computed) return { offset, reason: "checksum mismatch" };
      out.push({
        seriesRef,
        minTime,
        maxTime,
        encoding: (encoding & ~OUT_OF_ORDER) as ChunkEncoding,
        outOfOrder: (encoding & OUT_OF_ORDER) !== 0,
        data,
        file,
        offset,
      });
    }
    return null;
  } catch (error) {
    if (error instanceof TruncatedError || error instanceof VarintOverflowError) {
      return { offset, reason: error.message };
    }
    throw error;
  }
}

/** Ref, mint and maxt are all zero, or the rest of the file is. */
function endsHere(bytes: Uint8Array, offset: number): boolean {
  return bytes.subarray(offset, offset + 24).every((byte) => byte === 0);
}

/** Writes one file with these chunks, and returns where each of them stands in it. */
export function writeHeadChunks(
  dir: string,
  file: number,
  chunks: readonly Omit<HeadChunk, "file" | "offset">[],
): number[] {
  const out = new ByteWriter();
  out.u32(MAGIC);
  out.u8(1);
  out.zeros(HEADER_SIZE - 5);
  const offsets: number[] = [];
  for (const { seriesRef, minTime, maxTime, encoding, outOfOrder, data } of chunks) {
    const start = out.length;
    offsets.push(start);
    out.u64(seriesRef);
    out.i64(minTime);
    out.i64(maxTime);
    out.u8(outOfOrder ? encoding | OUT_OF_ORDER : encoding);
    out.uvarint(data.length);
    out.bytes(data);
    out.u32(crc32c(out.written.subarray(start)));
  }
  writeWhole(path.join(dir, String(file).padStart(6, "0")), out.written);
  return offsets;
}
