/** Sends an answer's parts: streamed, compressed when the client takes it, ended when the client leaves or stalls. */

import type { ServerResponse } from "node:http";
import { createDeflate, createGzip } from "node:zlib";
import type { Request } from "express";

/** Smaller answers are sent as they are. */
const MIN_COMPRESSED = 1024;
/** A client that takes nothing for so long is left: its answer holds a query's memory. */
const STALL_MS = 30_000;

export type Answer = {
  status: number;
  contentType: string;
  /** What the parts are packed with already; then they are sent as they are. */
  contentEncoding?: string | null;
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
};

export async function send(
  request: Request,
  response: ServerResponse,
  { status, contentType, contentEncoding = null, parts }: Answer,
): Promise<void> {
  response.statusCode = status;
  const isPackable = contentEncoding === null && !contentType.includes("protobuf");
  const encoding = isPackable ? accepted(request.headers["accept-encoding"]) : null;
  const iterator = allOf(parts);
  try {
    const first = await iterator.next();
    const second = first.done === true ? first : await iterator.next();
    response.setHeader("content-type", contentType);
    if (contentEncoding !== null) response.setHeader("content-encoding", contentEncoding);
    response.appendHeader("vary", "Accept-Encoding");
    const head = first.done === true ? new Uint8Array(0) : first.value;
    if (second.done === true && (encoding === null || head.length < MIN_COMPRESSED)) {
      response.setHeader("content-length", head.length);
      response.end(head);
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
    if (!(await put(sink, response, head))) return;
    for (let next = second; next.done !== true; next = await iterator.next()) {
      if (!(await put(sink, response, next.value))) return;
    }
    sink.end();
  } finally {
    await iterator.return(undefined);
  }
}

async function* allOf(
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, undefined> {
  yield* parts;
}

/** Resolves when the next part may come; false when the client is gone. */
async function put(
  sink: NodeJS.WritableStream,
  response: ServerResponse,
  part: Uint8Array,
): Promise<boolean> {
  if (response.destroyed) return false;
  if (sink.write(part)) return true;
  return new Promise((resolve) => {
    const settle = (goesOn: boolean) => {
      clearTimeout(timer);
      sink.off("drain", drained);
      response.off("close", closed);
      resolve(goesOn);
    };
    const drained = () => settle(!response.destroyed);
    const closed = () => settle(false);
    const timer = setTimeout(() => response.destroy(), STALL_MS);
    sink.once("drain", drained);
    response.once("close", closed);
  });
}

/** The first of gzip and deflate that the client names. */
function accepted(header: string | string[] | undefined): "gzip" | "deflate" | null {
  for (const name of String(header ?? "").split(",")) {
    const coding = name.split(";")[0]?.trim();
    if (coding === "gzip" || coding === "deflate") return coding;
  }
  return null;
}
