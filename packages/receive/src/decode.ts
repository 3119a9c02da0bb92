/**
 * From a body to a walked request. All of it is synchronous: one request at a time is in the kernels' memory, and
 * only until its series are stored and its forwarded messages are made.
 */

import { zstdDecode } from "@torus/encoding";
import { copyShared, snappyDecode, WriteRequestBuffer } from "@torus/kernels";
import { hasUnsortedSeries, sortedBody } from "./sorted-labels.ts";

/** How a body is compressed: one snappy block, or Zstandard frames as vmagent sends them. */
export type BodyEncoding = "snappy" | "zstd";

/**
 * Runs `use` with the walked request, its series' labels sorted; the request is gone afterwards.
 *
 * @param chunks The body as it came, one snappy block.
 * @param tenant In UTF-8, for the series' hashes; null where nobody asks for them, which is twice as fast.
 * @param head See `WriteRequestBuffer.walk`.
 * @throws what the kernels throw for malformed bodies, and what `use` throws.
 */
export function withSnappyRequest<T>(
  chunks: readonly Uint8Array[],
  maxDecodedBytes: number,
  tenant: Uint8Array | null,
  use: (request: WriteRequestBuffer) => T,
  head = 0,
): T {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  const request = WriteRequestBuffer.acquire();
  try {
    const body = request.reserve(length);
    let at = 0;
    for (const chunk of chunks) {
      copyShared(body, chunk, at);
      at += chunk.length;
    }
    // An empty body is an empty request, as Prometheus' encoder writes it.
    if (length === 0) request.useRaw(0);
    else request.decompress(length, maxDecodedBytes);
    request.walk(tenant, head);
    if (!hasUnsortedSeries(request)) return use(request);
    return withRawRequest(sortedBody(request), (sorted) => {
      sorted.walk(tenant);
      return use(sorted);
    });
  } finally {
    request.release();
  }
}

/** The body as it was before the sender compressed it; what the header of either form claims is checked first. */
export function decodeBody(
  chunks: readonly Uint8Array[],
  encoding: BodyEncoding,
  maxDecodedBytes: number,
): Uint8Array {
  const body = Buffer.concat(chunks);
  // An empty body is an empty request, as Prometheus' encoder writes it.
  if (body.length === 0) return body;
  return encoding === "zstd"
    ? zstdDecode(body, maxDecodedBytes)
    : snappyDecode(body, maxDecodedBytes);
}

/** Runs `use` with a walked request of a decoded 1.0 body, its series' labels sorted. */
export function withDecodedRequest<T>(
  body: Uint8Array,
  tenant: Uint8Array | null,
  use: (request: WriteRequestBuffer) => T,
  head = 0,
): T {
  return withRawRequest(body, (request) => {
    request.walk(tenant, head);
    if (!hasUnsortedSeries(request)) return use(request);
    return withRawRequest(sortedBody(request), (sorted) => {
      sorted.walk(tenant);
      return use(sorted);
    });
  });
}

/** Runs `use` with an undecoded body in the kernels' memory; the walk is the caller's. */
export function withRawRequest<T>(body: Uint8Array, use: (request: WriteRequestBuffer) => T): T {
  const request = WriteRequestBuffer.acquire();
  try {
    copyShared(request.reserve(body.length), body);
    request.useRaw(body.length);
    return use(request);
  } finally {
    request.release();
  }
}
