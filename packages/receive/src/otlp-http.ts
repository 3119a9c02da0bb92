/**
 * `POST /api/v1/otlp/v1/metrics` (and `/api/v1/otlp`): OpenTelemetry's metrics over HTTP (OTLP specification,
 * "OTLP/HTTP"), in protobuf or JSON, plain or with gzip or zstd. They become a remote write request and go its way:
 * the same checks, limits, relabelling and quorum. Answers are in the encoding of the request.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { zstdDecode } from "@torus/encoding";
import { BodyTooLargeError } from "@torus/kernels";
import {
  decodeOtlpJson,
  decodeOtlpProtobuf,
  encodeOtlpResponse,
  encodeOtlpStatus,
  type OtlpEncoding,
  OtlpMalformedError,
  OtlpTooLargeError,
  otlpToWriteRequest,
} from "@torus/protocol";
import { errorText, type RawHandler } from "@torus/server";
import { Cause, codesOf } from "./cause.ts";
import { checkedTenant, checkReady, RefusedError } from "./header-checks.ts";
import {
  leaveBody,
  lengthOf,
  RETRY_AFTER_SECONDS,
  type RemoteWriteHttpOptions,
  readBody,
  writeDecoded,
} from "./http.ts";
import { LimitError } from "./limiter.ts";
import { statusOf } from "./write-status.ts";

export type OtlpHttpOptions = RemoteWriteHttpOptions & {
  targetInfo: boolean;
  promoteResourceAttributes: ReadonlySet<string>;
  /** Whether start timestamps are kept. */
  startTimes: boolean;
};

/** A message becomes many small objects: larger ones are for several requests. */
const MOST_BYTES = 16 << 20;

type Compression = "" | "gzip" | "zstd";
type Answer = { status: number; body: Uint8Array; retryAfter: number };

/** What google.rpc.Code says of an HTTP status. */
const RPC_CODES: Readonly<Record<number, number>> = {
  400: 3,
  403: 7,
  409: 6,
  413: 3,
  415: 3,
  429: 8,
  503: 14,
};
const RPC_INTERNAL = 13;

export function otlpHandler(options: OtlpHttpOptions): RawHandler {
  const { metrics, log, gate } = options;
  const pending = { bytes: 0 };
  return async (request, response) => {
    metrics.pendingWrites.inc();
    let encoding: OtlpEncoding = "protobuf";
    let tenant = "";
    let result: Answer;
    try {
      checkReady(options);
      encoding = encodingOf(request.headers["content-type"]);
      const compression = compressionOf(request.headers["content-encoding"]);
      tenant = checkedTenant(options, request);
      await gate.enter(tenant);
      try {
        result = await receive(options, request, { tenant, encoding, compression }, pending);
      } finally {
        gate.leave();
      }
    } catch (error) {
      const status = otlpStatusOf(error);
      if (status === 500) log.error("OTLP", { tenant, err: errorText(error) });
      const retryAfter =
        error instanceof LimitError ? error.retryAfterSeconds : RETRY_AFTER_SECONDS;
      result = refusal(encoding, status, errorText(error), retryAfter);
    } finally {
      metrics.pendingWrites.dec();
    }
    answer(request, response, encoding, result);
  };
}

async function receive(
  options: OtlpHttpOptions,
  request: IncomingMessage,
  checked: { tenant: string; encoding: OtlpEncoding; compression: Compression },
  pending: { bytes: number },
): Promise<Answer> {
  const { limiter, metrics, targetInfo, promoteResourceAttributes, maxRequestBytes } = options;
  const { tenant, encoding, compression } = checked;
  const { chunks, release } = await readBody(request, tenant, options, pending);
  try {
    limiter.takeRate(tenant, "bytes", lengthOf(chunks));
    const decoded = await decompress(
      Buffer.concat(chunks),
      compression,
      Math.min(MOST_BYTES, maxRequestBytes),
    );
    limiter.checkSize(tenant, decoded.length);
    const resources = encoding === "json" ? decodeOtlpJson(decoded) : decodeOtlpProtobuf(decoded);
    const { body, rejected, reasons, metadata } = otlpToWriteRequest(resources, {
      targetInfo,
      promote: promoteResourceAttributes,
      maxBytes: maxRequestBytes,
      startTimes: options.startTimes,
    });
    const written = await writeDecoded(options, request, { body, tenant, replica: 0 });
    options.metadata.note(tenant, metadata);
    // Samples that can never be stored are the sender's fault, as Prometheus answers it.
    const http = codesOf(written.cause).http;
    const status = written.cause === Cause.STORED ? 200 : http === 409 ? 400 : http;
    const labels = { code: String(status), tenant };
    metrics.writeSeries.observe(labels, written.series);
    metrics.writeSamples.observe(labels, written.samples);
    if (written.cause === Cause.LIMIT) metrics.headSeriesLimited.inc({ tenant });
    if (status !== 200) return refusal(encoding, status, written.message, RETRY_AFTER_SECONDS);
    const message = encodeOtlpResponse(encoding, rejected, reasons.join("; "));
    return { status, body: message, retryAfter: 0 };
  } finally {
    release();
  }
}

/** @throws {RefusedError} */
function encodingOf(contentType: string | undefined): OtlpEncoding {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase();
  if (type === "application/x-protobuf") return "protobuf";
  if (type === "application/json") return "json";
  throw new RefusedError(
    415,
    `content type ${contentType ?? ""} is not supported, want application/x-protobuf or application/json`,
  );
}

/** @throws {RefusedError} */
function compressionOf(encoding: string | undefined): Compression {
  const name = encoding?.toLowerCase() ?? "";
  if (name === "" || name === "identity") return "";
  if (name === "gzip" || name === "zstd") return name;
  throw new RefusedError(415, `content encoding ${name} is not supported, want gzip or zstd`);
}

const unzip = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip);

/** @throws {OtlpMalformedError | BodyTooLargeError} and what zstdDecode throws */
async function decompress(
  body: Uint8Array,
  compression: Compression,
  maxBytes: number,
): Promise<Uint8Array> {
  if (compression === "zstd") return zstdDecode(body, maxBytes);
  if (compression === "") {
    if (body.length > maxBytes) throw new BodyTooLargeError(body.length, maxBytes);
    return body;
  }
  try {
    return await unzip(body, { maxOutputLength: maxBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
      throw new BodyTooLargeError(maxBytes + 1, maxBytes);
    }
    throw new OtlpMalformedError(`gzip: ${(error as Error).message}`, { cause: error });
  }
}

function otlpStatusOf(error: unknown): number {
  if (error instanceof OtlpMalformedError) return 400;
  if (error instanceof OtlpTooLargeError) return 413;
  return statusOf(error);
}

function refusal(
  encoding: OtlpEncoding,
  status: number,
  message: string,
  retryAfter: number,
): Answer {
  const code = RPC_CODES[status] ?? RPC_INTERNAL;
  return { status, body: encodeOtlpStatus(encoding, code, message), retryAfter };
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  encoding: OtlpEncoding,
  { status, body, retryAfter }: Answer,
): void {
  if (response.destroyed) return;
  if (status === 429 || status === 503) response.setHeader("retry-after", retryAfter);
  leaveBody(request, response);
  response.statusCode = status;
  response.setHeader(
    "content-type",
    encoding === "json" ? "application/json" : "application/x-protobuf",
  );
  response.setHeader("x-content-type-options", "nosniff");
  response.end(body);
}
