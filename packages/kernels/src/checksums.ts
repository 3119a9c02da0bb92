/** CRC-32C and XXH64 over byte arrays. */

import { kernel, SLACK_BYTES } from "./load.ts";
import { copyShared } from "./shared-copy.ts";
import { crc32c as plainCrc32c } from "./twins/crc32c.ts";

/** Below this, copying into the kernel's memory costs more than the loop. */
const CRC_KERNEL_BYTES = 128;
const PIECE_BYTES = 1 << 20;

/** A place for what is short, taken once. */
const SHORT_BYTES = 1 << 15;
let shortAt = 0;

function inKernel<T>(bytes: Uint8Array, run: (at: number) => T): T {
  const k = kernel();
  if (bytes.buffer === k.memory.buffer) return run(bytes.byteOffset);
  if (bytes.length <= SHORT_BYTES) {
    if (shortAt === 0) shortAt = k.alloc(SHORT_BYTES + SLACK_BYTES);
    copyShared(k.bytes, bytes, shortAt);
    return run(shortAt);
  }
  const size = bytes.length + SLACK_BYTES;
  const at = k.alloc(size);
  try {
    copyShared(k.bytes, bytes, at);
    return run(at);
  } finally {
    k.free(at, size);
  }
}

/**
 * CRC-32C (Castagnoli) as an unsigned number.
 *
 * @param seed The checksum of the bytes before these, to go on from it.
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  if (bytes.length < CRC_KERNEL_BYTES) return plainCrc32c(bytes, seed);
  let crc = seed;
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    const piece = bytes.subarray(start, start + PIECE_BYTES);
    const before = crc;
    crc = inKernel(piece, (at) => kernel().exports.crc32c(at, piece.length, before) >>> 0);
  }
  return crc;
}

/** XXH64 with seed 0. */
export function xxh64(bytes: Uint8Array): bigint {
  return inKernel(bytes, (at) => BigInt.asUintN(64, kernel().exports.xxh64(at, bytes.length)));
}
