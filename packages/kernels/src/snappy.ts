/** Snappy's block format over byte arrays, through the kernel. */

import { kernel, SLACK_BYTES } from "./load.ts";
import { copyShared } from "./shared-copy.ts";

/** The bytes are no snappy block, or not one of the length that its header claims. */
export class SnappyCorruptError extends Error {
  readonly compressedLength: number;
  constructor(what: string, compressedLength: number) {
    super(`snappy: ${what} (${compressedLength} compressed bytes)`);
    this.name = "SnappyCorruptError";
    this.compressedLength = compressedLength;
  }
}

/** The header claims more than is allowed; nothing was decoded. */
export class BodyTooLargeError extends Error {
  readonly claimed: number;
  readonly limit: number;
  constructor(claimed: number, limit: number) {
    super(`snappy: decoded length ${claimed} is over the limit of ${limit} bytes`);
    this.name = "BodyTooLargeError";
    this.claimed = claimed;
    this.limit = limit;
  }
}

/** No element of the format makes more than 64 bytes of three. */
const MOST_EXPANSION = 64 / 3;

/**
 * Reads the header of the block at [at, at+length) of the kernel's memory and returns the decoded length.
 *
 * @throws {SnappyCorruptError} also when so few bytes cannot stand for so many.
 * @throws {BodyTooLargeError}
 */
export function checkedDecodedLength(at: number, length: number, maxLength: number): number {
  const claimed = kernel().exports.snappyDecodedLength(at, length);
  if (claimed < 0) throw new SnappyCorruptError("no valid header", length);
  if (claimed > maxLength) throw new BodyTooLargeError(claimed, maxLength);
  if (claimed > (length + 1) * MOST_EXPANSION + 64) {
    throw new SnappyCorruptError(`header claims ${claimed} bytes`, length);
  }
  return claimed;
}

/**
 * Decodes one block into a new array.
 *
 * @param maxLength The most bytes the caller takes; checked against the header before anything is allocated.
 * @throws {SnappyCorruptError}
 * @throws {BodyTooLargeError}
 */
export function snappyDecode(block: Uint8Array, maxLength: number): Uint8Array {
  const k = kernel();
  const fromSize = block.length + SLACK_BYTES;
  const from = k.alloc(fromSize);
  try {
    copyShared(k.bytes, block, from);
    const size = checkedDecodedLength(from, block.length, maxLength);
    const header = k.exports.snappyHeaderLength();
    const toSize = size + SLACK_BYTES;
    const to = k.alloc(toSize);
    try {
      if (!k.exports.snappyDecode(from + header, block.length - header, to, size)) {
        throw new SnappyCorruptError(`elements do not make ${size} bytes`, block.length);
      }
      return new Uint8Array(k.bytes.subarray(to, to + size));
    } finally {
      k.free(to, toSize);
    }
  } finally {
    k.free(from, fromSize);
  }
}

/** Encodes `bytes` (less than 4 GiB) as one block, into a new array. */
export function snappyEncode(bytes: Uint8Array): Uint8Array {
  const k = kernel();
  const fromSize = bytes.length + SLACK_BYTES;
  const toSize = k.exports.snappyMaxEncodedLength(bytes.length) + SLACK_BYTES;
  const from = k.alloc(fromSize);
  try {
    const to = k.alloc(toSize);
    try {
      k.bytes.set(bytes, from);
      const size = k.exports.snappyEncode(from, bytes.length, to);
      return new Uint8Array(k.bytes.subarray(to, to + size));
    } finally {
      k.free(to, toSize);
    }
  } finally {
    k.free(from, fromSize);
  }
}
