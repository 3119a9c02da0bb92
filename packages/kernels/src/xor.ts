/** Decoding XOR chunks into columns (Prometheus, tsdb/docs/format/chunks.md), through the kernel. */

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

/** Parts of the kernel's memory that every call uses in turn; the memory grows in place, so their views last. */
type Area = {
  at: number;
  bytes: number;
  chunk: Uint8Array;
  times: Float64Array;
  values: Float64Array;
};

let area: Area | undefined;

function areaFor(k: Kernel, chunkBytes: number, samples: number): Area {
  if (area !== undefined && chunkBytes <= area.chunk.length && samples <= area.times.length) {
    return area;
  }
  const forChunk = Math.max(chunkBytes * 2, area?.chunk.length ?? 2048) & ~7;
  const forSamples = Math.max(samples * 2, area?.times.length ?? 512);
  const bytes = forChunk + SLACK_BYTES + forSamples * 16;
  const at = k.alloc(bytes);
  if (area !== undefined) k.free(area.at, area.bytes);
  const { buffer } = k.memory;
  const times = at + forChunk + SLACK_BYTES;
  area = {
    at,
    bytes,
    chunk: new Uint8Array(buffer, at, forChunk),
    times: new Float64Array(buffer, times, forSamples),
    values: new Float64Array(buffer, times + forSamples * 8, forSamples),
  };
  return area;
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
  const use = areaFor(k, chunk.length, count);
  use.chunk.set(chunk);
  const n = k.exports.xorDecode(
    use.at,
    chunk.length,
    use.times.byteOffset,
    use.values.byteOffset,
    -1,
  );
  if (n < 0) throw new XorChunkTruncatedError(chunk.length);
  // Columns are copied whole, so that the bits of a NaN stay.
  times.set(use.times.subarray(0, n));
  values.set(use.values.subarray(0, n));
  return n;
}
