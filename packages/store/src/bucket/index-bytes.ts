/** What the readers of an index's and a segment's pieces share: the error, and the checksum. */

import { ByteReader, crc32c, TruncatedError, VarintOverflowError } from "@torus/encoding";

/** The block's index or chunk file is not what its format says. */
export class BlockFileDamagedError extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(what, options);
    this.name = "BlockFileDamagedError";
  }
}

/** Runs a decoder; bytes that end too soon are reported as damage of `what`. */
export function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof TruncatedError || error instanceof VarintOverflowError) {
      throw new BlockFileDamagedError(`${what}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Compares the checksum that stands at the end of `bytes` with that of `bytes[from, end - 4)`. */
export function checkCrc(bytes: Uint8Array, from: number, what: string): void {
  if (bytes.length < from + 4) throw new BlockFileDamagedError(`${what}: no room for a checksum`);
  const stored = new ByteReader(bytes, bytes.length - 4).u32();
  const found = crc32c(bytes.subarray(from, bytes.length - 4));
  if (stored !== found) {
    throw new BlockFileDamagedError(
      `${what}: checksum ${found.toString(16)}, ${stored.toString(16)} is written`,
    );
  }
}
