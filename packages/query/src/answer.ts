/** Sends an answer's parts: streamed, compressed when the client takes it, ended when the client leaves. */

import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createDeflate, createGzip } from "node:zlib";
import type { Request } from "express";

/** Smaller answers are sent as they are. */
const MIN_COMPRESSED = 1024;

export async function send(
  request: Request,
  response: ServerResponse,
  status: number,
  parts: Iterable<Buffer>,
): Promise<void> {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.appendHeader("vary", "Accept-Encoding");
  const iterator = parts[Symbol.iterator]();
  let { value: part, done } = iterator.next() as IteratorResult<Buffer, undefined>;
  const encoding = accepted(request.headers["accept-encoding"]);
  const first = part ?? Buffer.alloc(0);
  const second = iterator.next() as IteratorResult<Buffer, undefined>;
  if (second.done === true && (encoding === null || first.length < MIN_COMPRESSED)) {
    response.setHeader("content-length", first.length);
    response.end(first);
    return;
  }
  const packer =
    encoding === "gzip"
      ? createGzip({ level: 1 })
      : encoding === "deflate"
        ? createDeflate({ level: 1 })
        : null;
  if (encoding !== null) response.setHeader("content-encoding", encoding);
  packer?.pipe(response);
  const sink = packer ?? response;
  const gone = new Promise<void>((resolve) => response.once("close", () => resolve()));
  const put = async (buffer: Buffer): Promise<boolean> => {
    if (response.destroyed) return false;
    if (!sink.write(buffer)) await Promise.race([once(sink, "drain"), gone]);
    return !response.destroyed;
  };
  if (!(await put(first))) return;
  for (
    { value: part, done } = second;
    done !== true;
    { value: part, done } = iterator.next() as IteratorResult<Buffer, undefined>
  ) {
    if (part !== undefined && !(await put(part))) return;
  }
  sink.end();
}

/** The first of gzip and deflate that the client names. */
function accepted(header: string | string[] | undefined): "gzip" | "deflate" | null {
  for (const name of String(header ?? "").split(",")) {
    const coding = name.split(";")[0]?.trim();
    if (coding === "gzip" || coding === "deflate") return coding;
  }
  return null;
}
