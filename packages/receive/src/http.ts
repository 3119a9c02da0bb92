/**
 * `POST /api/v1/receive` and `/api/v1/write`: remote write 1.0 and 2.0. Everything that can be judged by the headers is
 * judged before the body is read: readiness, content type and encoding, tenant, replica, declared size. The body is
 * read by hand and bounded while it comes; what all requests under way hold together is bounded too.
 */

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import { ZstdFrameError, ZstdTooLargeError } from "@torus/encoding";
import { HashringBuildError, NoMatchingHashringError, TenantPatternError } from "@torus/hashring";
import {
  BodyTooLargeError,
  SnappyCorruptError,
  TooManySeriesError,
  WriteBuffersExhaustedError,
  type WriteRequestBuffer,
  WriteRequestMalformedError,
} from "@torus/kernels";
import { MessageMalformedError } from "@torus/protocol";
import { errorText, type Logger, mayUseTenant, type RawHandler } from "@torus/server";
import { Cause, causeOfError, codesOf } from "./cause.ts";
import { type BodyEncoding, decodeBody, withDecodedRequest, withSnappyRequest } from "./decode.ts";
import type { Edge } from "./edge/edge.ts";
import { TooManyClustersError } from "./edge/ha-tracker.ts";
import { writeShaped } from "./edge/shaped-write.ts";
import { type FairGate, GateFullError } from "./fair-gate.ts";
import { LimitError, type Limiter } from "./limiter.ts";
import { type MetadataStore, readMetadata } from "./metadata.ts";
import type { ReceiveMetrics } from "./metrics.ts";
import { convertRemoteWrite2, RemoteWrite2Error } from "./remote-write-2.ts";
import { samplesBySeries, totalSamples } from "./sample-counts.ts";
import { checkTenantName, TenantNameError } from "./tenant-name.ts";
import { type Tenant, type Tenants, TooManyTenantsError } from "./tenants.ts";
import { BadReplicaError, NoHashringError, type WriteResult, type Writer } from "./write.ts";

export type RemoteWriteHttpOptions = {
  /** Null on a router. */
  tenants: Tenants | null;
  writer: Writer;
  tenantHeader: string;
  /** The field of the client's certificate that names the tenant; "" for the header. */
  certificateField: CertificateField | "";
  replicaHeader: string;
  /** Whether the replica header counts: only on a node that routes and stores, as in Thanos. */
  takesReplica: boolean;
  defaultTenant: string;
  /** Bytes of one request, compressed and decoded. */
  maxRequestBytes: number;
  /** Bytes of all bodies that are being read. */
  maxPendingBytes: number;
  limiter: Limiter;
  /** What senders tell about their metrics. */
  metadata: MetadataStore;
  /** What series go through before they are placed. */
  edge: Edge;
  gate: FairGate;
  metrics: ReceiveMetrics;
  log: Logger;
  /** Why nothing is taken now; undefined when ready. */
  /** Exemplars are stored, here as on the other receivers of the ring. */
  keepsExemplars: boolean;
  notReady: () => string | undefined;
};

/** In Thanos' words. */
export type CertificateField = "organization" | "organizationalUnit" | "commonName";

export const RETRY_AFTER_SECONDS = 5;
/** Bytes of a refused request that are read all the same, and thrown away. */
const MOST_PASSED_OVER = 1 << 20;

/** The request ends with this status. */
export class RefusedError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = "RefusedError";
    this.status = status;
  }
}

export function remoteWriteHandler(options: RemoteWriteHttpOptions): RawHandler {
  const { metrics, log } = options;
  const pending = { bytes: 0 };
  return async (request, response) => {
    metrics.pendingWrites.inc();
    let tenant = "";
    let result: WriteResult | undefined;
    let status: number;
    let message: string;
    let retryAfter = RETRY_AFTER_SECONDS;
    try {
      const checked = headerChecks(options, request);
      tenant = checked.tenant;
      await options.gate.enter(tenant);
      try {
        result = await receive(options, request, checked, pending);
      } finally {
        options.gate.leave();
      }
      if (result.cause === Cause.LIMIT) metrics.headSeriesLimited.inc({ tenant });
      if (checked.version === 2) writtenHeaders(response, result, options.keepsExemplars);
      // As other HA trackers answer: taken, and not stored.
      status = result.isDuplicate === true ? 202 : codesOf(result.cause).http;
      message = result.message;
    } catch (error) {
      status = statusOf(error);
      message = errorText(error);
      if (error instanceof LimitError) retryAfter = error.retryAfterSeconds;
      if (status === 500) log.error("remote write", { tenant, err: message });
    } finally {
      metrics.pendingWrites.dec();
    }
    if (result !== undefined) {
      const labels = { code: String(status), tenant };
      metrics.writeSeries.observe(labels, result.series);
      metrics.writeSamples.observe(labels, result.samples);
    }
    answer(request, response, { status, message, retryAfter });
  };
}

type Checked = { tenant: string; version: 1 | 2; encoding: BodyEncoding };

/** @throws {RefusedError | TenantNameError} */
function headerChecks(options: RemoteWriteHttpOptions, request: IncomingMessage): Checked {
  checkReady(options);
  const version = versionOf(request.headers);
  const encoding = bodyEncoding(request.headers["content-encoding"]);
  return { tenant: checkedTenant(options, request), version, encoding };
}

/** @throws {RefusedError} */
export function checkReady({ notReady }: RemoteWriteHttpOptions): void {
  const reason = notReady();
  if (reason !== undefined) throw new RefusedError(503, `component is not ready: ${reason}`);
}

/**
 * The tenant that the request is for, when the client may write for it and the declared size is within its limit.
 *
 * @throws {RefusedError | TenantNameError | LimitError}
 */
export function checkedTenant(options: RemoteWriteHttpOptions, request: IncomingMessage): string {
  const tenant = tenantOf(options, request);
  checkTenantName(tenant);
  checkMayWrite(request, tenant);
  const declared = request.headers["content-length"];
  if (declared !== undefined) options.limiter.checkSize(tenant, Number(declared));
  // What came before may be paid for already, or not yet.
  options.limiter.checkRate(tenant, "bytes", Number(declared ?? 0));
  options.limiter.checkRate(tenant, "samples", 0);
  if (declared !== undefined && Number(declared) > options.maxRequestBytes) {
    throw new RefusedError(413, tooLarge(options.maxRequestBytes));
  }
  return tenant;
}

/** @throws {RefusedError} */
function tenantOf(
  { certificateField, tenantHeader, defaultTenant }: RemoteWriteHttpOptions,
  request: IncomingMessage,
): string {
  if (certificateField === "") return header(request, tenantHeader) || defaultTenant;
  const { socket } = request;
  const certificate = socket instanceof TLSSocket ? socket.getPeerCertificate() : undefined;
  const value = certificate?.subject?.[SUBJECT_FIELDS[certificateField]];
  const tenant = Array.isArray(value) ? value[0] : value;
  if (tenant === undefined || tenant === "") {
    throw new RefusedError(400, `the client's certificate has no ${certificateField}`);
  }
  return tenant;
}

const SUBJECT_FIELDS = { organization: "O", organizationalUnit: "OU", commonName: "CN" } as const;

/** @throws {RefusedError} */
function checkMayWrite(request: IncomingMessage, tenant: string): void {
  if (mayUseTenant(request, tenant)) return;
  throw new RefusedError(403, `not allowed to write for tenant ${tenant}`);
}

function tooLarge(limit: number): string {
  return `write request too large: the limit is ${limit} bytes`;
}

const VERSION_2 = "io.prometheus.write.v2.Request";

/**
 * Which message the body is. The content type alone decides: a sender that says 2.0 in its version header but sends
 * 1.0's content type means 1.0. Absent is 1.0, as every receiver takes it.
 */
function versionOf(headers: IncomingHttpHeaders): 1 | 2 {
  const contentType = headers["content-type"] ?? "";
  if (contentType === "") {
    // Taken for 1.0, a body of 2.0 is an empty request, and its samples would be gone without a word.
    if (headers["x-prometheus-remote-write-version"] === "2.0.0") {
      throw new RefusedError(415, "remote write 2.0 without a content type");
    }
    return 1;
  }
  const [type = "", ...parameters] = contentType.split(";").map((part) => part.trim());
  if (type.toLowerCase() !== "application/x-protobuf") {
    throw new RefusedError(
      415,
      `content type ${type} is not supported, want application/x-protobuf`,
    );
  }
  for (const parameter of parameters) {
    const [name = "", value = ""] = parameter.split("=");
    if (name.trim().toLowerCase() !== "proto") continue;
    const message = value.trim().replace(/^"(.*)"$/, "$1");
    if (message === VERSION_2) return 2;
    if (message === "prometheus.WriteRequest") return 1;
    throw new RefusedError(415, `protobuf message ${message} is not supported`);
  }
  return 1;
}

/** What a quorum stored: by these a sender of 2.0 knows what became of a request, whatever its status. */
function writtenHeaders(
  response: ServerResponse,
  { written }: WriteResult,
  keepsExemplars: boolean,
): void {
  const { samples, histograms, exemplars } = written;
  response.setHeader("x-prometheus-remote-write-samples-written", samples);
  response.setHeader("x-prometheus-remote-write-histograms-written", histograms);
  response.setHeader("x-prometheus-remote-write-exemplars-written", keepsExemplars ? exemplars : 0);
}

function bodyEncoding(encoding: string | undefined): BodyEncoding {
  const name = encoding?.toLowerCase() ?? "";
  if (name === "" || name === "snappy") return "snappy";
  if (name === "zstd") return "zstd";
  throw new RefusedError(415, `content encoding ${encoding} is not supported, want snappy or zstd`);
}

function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name.toLowerCase()];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

async function receive(
  options: RemoteWriteHttpOptions,
  request: IncomingMessage,
  checked: Checked,
  pending: { bytes: number },
): Promise<WriteResult> {
  const { tenants, maxRequestBytes, replicaHeader, takesReplica, limiter, edge } = options;
  const { tenant, version, encoding } = checked;
  const replica = takesReplica ? replicaNumber(header(request, replicaHeader)) : 0;
  const { chunks, release } = await readBody(request, tenant, options, pending);
  try {
    limiter.takeRate(tenant, "bytes", lengthOf(chunks));
    let outcome: Promise<WriteResult>;
    if (version === 1 && encoding === "snappy" && !edge.isActive(tenant)) {
      const local = await tenants?.get(tenant);
      outcome = withSnappyRequest(chunks, maxRequestBytes, null, (walked) =>
        writeWalked(options, walked, { tenant, local, replica }),
      );
      // The body is let go before the answer: only what is forwarded is held until then.
      release();
    } else {
      const body = decodeBody(chunks, encoding, maxRequestBytes);
      if (version === 2) {
        const converted = convertRemoteWrite2(body, maxRequestBytes);
        const result = await writeDecoded(options, request, { ...converted, tenant, replica });
        // Behind the series that it is told of, by which it is logged.
        options.metadata.note(tenant, converted.metadata);
        return result;
      }
      outcome = writeDecoded(options, request, { body, tenant, replica });
    }
    return await outcome;
  } finally {
    release();
  }
}

/** Holds the request to the tenant's limits and writes it. @throws {LimitError} and what the writer throws */
function writeWalked(
  { limiter, writer, metadata }: RemoteWriteHttpOptions,
  walked: WriteRequestBuffer,
  { tenant, local, replica }: { tenant: string; local: Tenant | undefined; replica: number },
): Promise<WriteResult> {
  // Metadata comes in requests of its own.
  if (walked.count === 0 && walked.bodyLength > 0) {
    metadata.note(tenant, readMetadata(walked.bytes(walked.bodyStart, walked.bodyLength)));
  }
  const samples = totalSamples(samplesBySeries(walked));
  checkContent(limiter, tenant, walked.bodyLength, walked.count, samples);
  return writer.write(walked, { name: tenant, bytes: Buffer.from(tenant), local }, replica);
}

/** The same for a body of remote write 1.0 that is decoded, through the edge where that is asked for. */
export async function writeDecoded(
  options: RemoteWriteHttpOptions,
  request: IncomingMessage,
  write: { body: Uint8Array; tenant: string; replica: number },
): Promise<WriteResult> {
  const { edge, limiter, tenants } = options;
  const { body, tenant, replica } = write;
  if (!edge.isActive(tenant)) {
    const local = await tenants?.get(tenant);
    return withDecodedRequest(body, null, (walked) =>
      writeWalked(options, walked, { tenant, local, replica }),
    );
  }
  return writeShaped(
    options,
    write,
    ({ series, samples, histograms }) =>
      checkContent(limiter, tenant, body.length, series, samples + histograms),
    (named) => checkMayWrite(request, named),
  );
}

function checkContent(
  limiter: Limiter,
  tenant: string,
  bytes: number,
  series: number,
  samples: number,
): void {
  limiter.checkSize(tenant, bytes);
  limiter.checkContent(tenant, series, samples);
  limiter.takeRate(tenant, "samples", samples);
}

function replicaNumber(text: string): number {
  if (text === "") return 0;
  if (!/^\d{1,9}$/.test(text)) throw new RefusedError(400, `replica header is no number: ${text}`);
  return Number(text);
}

export async function readBody(
  request: IncomingMessage,
  tenant: string,
  options: RemoteWriteHttpOptions,
  pending: { bytes: number },
): Promise<{ chunks: Uint8Array[]; release: () => void }> {
  const { maxRequestBytes, maxPendingBytes, limiter } = options;
  const chunks: Uint8Array[] = [];
  let length = 0;
  const release = () => {
    pending.bytes -= length;
    length = 0;
    chunks.length = 0;
  };
  try {
    // Not destroyed when the loop is left: the answer still has to go out on the same socket.
    const stream: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
    for await (const chunk of stream) {
      length += chunk.length;
      pending.bytes += chunk.length;
      limiter.checkSize(tenant, length);
      if (length > maxRequestBytes) throw new RefusedError(413, tooLarge(maxRequestBytes));
      if (pending.bytes > maxPendingBytes) {
        throw new RefusedError(
          503,
          `the requests under way hold ${maxPendingBytes} bytes, which is the limit`,
        );
      }
      chunks.push(chunk);
    }
  } catch (error) {
    release();
    throw error;
  }
  return { chunks, release };
}

export function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

export function statusOf(error: unknown): number {
  if (error instanceof RefusedError || error instanceof LimitError) return error.status;
  if (error instanceof GateFullError) return 503;
  if (
    error instanceof BodyTooLargeError ||
    error instanceof ZstdTooLargeError ||
    error instanceof TooManySeriesError
  ) {
    return 413;
  }
  if (
    error instanceof SnappyCorruptError ||
    error instanceof ZstdFrameError ||
    error instanceof WriteRequestMalformedError ||
    error instanceof MessageMalformedError ||
    error instanceof RemoteWrite2Error ||
    error instanceof TenantNameError ||
    error instanceof BadReplicaError
  ) {
    return 400;
  }
  if (error instanceof TooManyTenantsError || error instanceof TooManyClustersError) return 429;
  if (error instanceof WriteBuffersExhaustedError || error instanceof NoHashringError) return 503;
  if (
    error instanceof NoMatchingHashringError ||
    error instanceof TenantPatternError ||
    error instanceof HashringBuildError
  ) {
    return 500;
  }
  return codesOf(causeOfError(error)).http;
}

/**
 * Of a body that nobody will read: where a socket is closed upon bytes that were not read, the answer is lost with
 * them, so one that is not large is passed over, and only a large one ends the connection.
 */
export function leaveBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete || Number(request.headers["content-length"]) <= MOST_PASSED_OVER) return;
  response.setHeader("connection", "close");
  response.once("finish", () => request.destroy());
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  result: { status: number; message: string; retryAfter: number },
): void {
  const { status, message, retryAfter } = result;
  if (response.destroyed) return;
  if (status === 429 || status === 503) response.setHeader("retry-after", retryAfter);
  leaveBody(request, response);
  response.statusCode = status;
  if (status < 300) {
    response.end();
    return;
  }
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("x-content-type-options", "nosniff");
  response.end(`${message}\n`);
}
