/** Message compression that the server takes: gzip, and snappy's framed format, which Thanos' routers send. */

import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { GrpcError, GrpcStatus } from "./service.ts";

/** @throws when the frames are malformed, or hold more than `maxBytes`. */
export type SnappyFrameDecoder = (frames: Uint8Array, maxBytes: number) => Uint8Array;

const gunzipAsync = promisify(gunzip);

/** Value of grpc-accept-encoding. */
export function acceptedEncodings(snappy: SnappyFrameDecoder | undefined): string {
  return snappy === undefined ? "identity,gzip" : "identity,gzip,snappy";
}

/**
 * A message, decompressed.
 *
 * @throws {GrpcError} INTERNAL for malformed data, RESOURCE_EXHAUSTED above `maxBytes`.
 */
export async function decompress(
  encoding: string,
  message: Uint8Array,
  maxBytes: number,
  snappy: SnappyFrameDecoder | undefined,
): Promise<Uint8Array> {
  try {
    if (encoding === "gzip") return await gunzipAsync(message, { maxOutputLength: maxBytes });
    if (encoding === "snappy" && snappy !== undefined) return snappy(message, maxBytes);
  } catch (error) {
    if (error instanceof RangeError || (error instanceof Error && /TooLarge/.test(error.name))) {
      throw new GrpcError(
        GrpcStatus.RESOURCE_EXHAUSTED,
        `received message after decompression larger than max (${maxBytes})`,
        { cause: error },
      );
    }
    throw new GrpcError(GrpcStatus.INTERNAL, `decompress ${encoding} message`, { cause: error });
  }
  throw new GrpcError(
    GrpcStatus.INTERNAL,
    `message is compressed, but grpc-encoding is "${encoding}"`,
  );
}
