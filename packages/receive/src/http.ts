/**
 * `POST /api/v1/receive` and `/api/v1/write`: remote write 1.0 and 2.0. Everything that can be judged by the headers is
 * judged before the body is read: readiness, content type and encoding, tenant, replica, declared size. The body is
 * read by hand and bounded while it comes; what all requests under way hold together is bounded too.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { WriteRequestBuffer } from "@torus/kernels";
import { errorText, type Logger, type RawHandler } from "@torus/server";
import { Cause, codesOf } from "./cause.ts";
import { type BodyEncoding, decodeBody, withDecodedRequest, withSnappyRequest } from "./decode.ts";
import type { Edge } from "./edge/edge.ts";
import { writeShaped } from "./edge/shaped-write.ts";
import type { FairGate } from "./fair-gate.ts";
import {
  bodyEncoding,
  checkedTenant,
  checkMayWrite,
  checkReady,
  type HeaderCheckOptions,
  header,
  RefusedError,
  replicaNumber,
  tooLarge,
  versionOf,
} from "./header-checks.ts";
import { LimitError, type Limiter } from "./limiter.ts";
import { type MetadataStore, readMetadata } from "./metadata.ts";
import type { ReceiveMetrics } from "./metrics.ts";
import { convertRemoteWrite2 } from "./remote-write-2.ts";
import { samplesBySeries, totalSamples } from "./sample-counts.ts";
import type { Tenant, Tenants } from "./tenants.ts";
import type { WriteResult, Writer } from "./write.ts";
import { statusOf } from "./write-status.ts";

export type RemoteWriteHttpOptions = HeaderCheckOptions & {
  /** Null on a router. */
  tenants: Tenants | null;
  writer: Writer;
  replicaHeader: string;
  /** Whether the replica header counts: only on a node that routes and stores, as in Thanos. */
  takesReplica: boolean;
  /** Bytes of all bodies that are being read. */
  maxPendingBytes: number;
  /** What senders tell about their metrics. */
  metadata: MetadataStore;
  /** What series go through before they are placed. */
  edge: Edge;
  gate: FairGate;
  metrics: ReceiveMetrics;
  log: Logger;
  /** Exemplars are stored, here as on the other receivers of the ring. */
  keepsExemplars: boolean;
};

export const RETRY_AFTER_SECONDS = 5;
/** Bytes of a refused request that are read all the same, and thrown away. */
const MOST_PASSED_OVER = 1 << 20;

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
      outcome = withSnappyRequest(
        chunks,
        maxRequestBytes,
        null,
        (walked) => writeWalked(options, walked, { tenant, local, replica }),
        local?.db.head.address,
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
    return withDecodedRequest(
      body,
      null,
      (walked) => writeWalked(options, walked, { tenant, local, replica }),
      local?.db.head.address,
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
