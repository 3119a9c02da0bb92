/**
 * Decoding XOR chunks into columns (facts: tsdb format, 6). Plain code: copying a chunk into the kernels' memory
 * and its columns out again costs what the kernel's faster loop saves, see xor.bench.ts.
 */

import { kernel, SLACK_BYTES } from "./load.ts";
import { decodeXor } from "./twins/xor.ts";

/** The chunk ends before its own sample count says. */
export class XorChunkTruncatedError extends Error {
  readonly chunkBytes: number;
  constructor(chunkBytes: number) {
    super(`XOR chunk of ${chunkBytes} bytes ends before its last sample`);
    this.name = "XorChunkTruncatedError";
    this.chunkBytes = chunkBytes;
  }
}

/**
 * Decodes a chunk into caller-owned columns and returns the number of samples.
 *
 * @param times Milliseconds. At least as long as the chunk's sample count; likewise `values`.
 * @throws {XorChunkTruncatedError}
 * @throws {RangeError} when the columns are too short.
 */
export function xorDecodeChunk(
  chunk: Uint8Array,
  times: Float64Array,
  values: Float64Array,
): number {
  const n = decodeXor(chunk, times, values);
  if (n < 0) throw new XorChunkTruncatedError(chunk.length);
  return n;
}

/** The same through the kernel, for the tests and benchmarks that compare the two. */
export function xorDecodeChunkInKernel(
  chunk: Uint8Array,
  times: Float64Array,
  values: Float64Array,
): number {
  if (chunk.length < 2) throw new XorChunkTruncatedError(chunk.length);
  const k = kernel();
  const count = ((chunk[0] as number) << 8) | (chunk[1] as number);
  if (count > times.length || count > values.length) {
    throw new RangeError(`${count} samples into columns of ${times.length} and ${values.length}`);
  }
  const inSize = chunk.length + SLACK_BYTES;
  const outSize = count * 16 + 16;
  const at = k.alloc(inSize);
  const out = k.alloc(outSize);
  try {
    k.bytes.set(chunk, at);
    const n = k.exports.xorDecode(at, chunk.length, out, out + count * 8, -1);
    if (n < 0) throw new XorChunkTruncatedError(chunk.length);
    const bytes = new Uint8Array(times.buffer, times.byteOffset, n * 8);
    bytes.set(k.bytes.subarray(out, out + n * 8));
    // Values pass as bytes, so that the bits of a NaN stay.
    new Uint8Array(values.buffer, values.byteOffset, n * 8).set(
      k.bytes.subarray(out + count * 8, out + count * 8 + n * 8),
    );
    return n;
  } finally {
    k.free(at, inSize);
    k.free(out, outSize);
  }
}
