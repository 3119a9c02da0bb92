/** Decoding XOR chunks into columns (facts: tsdb format, 6), through the kernel. */

import { type Kernel, kernel, SLACK_BYTES } from "./load.ts";

/** The chunk ends before its own sample count says. */
export class XorChunkTruncatedError extends Error {
  readonly chunkBytes: number;
  constructor(chunkBytes: number) {
    super(`XOR chunk of ${chunkBytes} bytes ends before its last sample`);
    this.name = "XorChunkTruncatedError";
    this.chunkBytes = chunkBytes;
  }
}

/** An area of the kernel's memory that every call uses in turn. */
let area = 0;
let areaBytes = 0;

function ensureArea(k: Kernel, bytes: number): void {
  if (bytes <= areaBytes) return;
  k.free(area, areaBytes);
  areaBytes = 0;
  area = k.alloc(bytes);
  areaBytes = bytes;
}

/**
 * Decodes a chunk into caller-owned columns and returns the number of samples.
 *
 * @param times Milliseconds, rounded above 2^53. At least as long as the chunk's sample count; likewise `values`.
 * @throws {XorChunkTruncatedError}
 * @throws {RangeError} when the columns are too short.
 */
export function xorDecodeChunk(
  chunk: Uint8Array,
  times: Float64Array,
  values: Float64Array,
): number {
  if (chunk.length < 2) throw new XorChunkTruncatedError(chunk.length);
  const count = ((chunk[0] as number) << 8) | (chunk[1] as number);
  if (count > times.length || count > values.length) {
    throw new RangeError(`${count} samples into columns of ${times.length} and ${values.length}`);
  }
  const k = kernel();
  const out = (chunk.length + SLACK_BYTES + 7) & ~7;
  ensureArea(k, Math.max(out + count * 16, 16_384));
  k.bytes.set(chunk, area);
  const n = k.exports.xorDecode(area, chunk.length, area + out, area + out + count * 8, -1);
  if (n < 0) throw new XorChunkTruncatedError(chunk.length);
  // Columns are copied as numbers' bytes, so that the bits of a NaN stay.
  const from = (area + out) >>> 3;
  const doubles = k.doubles;
  times.set(doubles.subarray(from, from + n));
  values.set(doubles.subarray(from + count, from + count + n));
  return n;
}
