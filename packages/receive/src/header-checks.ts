/**
 * What the headers of a write request tell: whether it may be taken, for whom it is, and what its body will be.
 */

import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";
import { mayUseTenant } from "@torus/server";
import type { BodyEncoding } from "./decode.ts";
import type { Limiter } from "./limiter.ts";
import { checkTenantName } from "./tenant-name.ts";

export type HeaderCheckOptions = {
  tenantHeader: string;
  /** The field of the client's certificate that names the tenant; "" for the header. */
  certificateField: CertificateField | "";
  defaultTenant: string;
  /** Bytes of one request, compressed and decoded. */
  maxRequestBytes: number;
  limiter: Limiter;
  /** Why nothing is taken now; undefined when ready. */
  notReady: () => string | undefined;
};

/** In Thanos' words. */
export type CertificateField = "organization" | "organizationalUnit" | "commonName";

/** The request ends with this status. */
export class RefusedError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = "RefusedError";
    this.status = status;
  }
}

/** @throws {RefusedError} */
export function checkReady({ notReady }: HeaderCheckOptions): void {
  const reason = notReady();
  if (reason !== undefined) throw new RefusedError(503, `component is not ready: ${reason}`);
}

/**
 * The tenant that the request is for, when the client may write for it and the declared size is within its limit.
 *
 * @throws {RefusedError | TenantNameError | LimitError}
 */
export function checkedTenant(options: HeaderCheckOptions, request: IncomingMessage): string {
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
  { certificateField, tenantHeader, defaultTenant }: HeaderCheckOptions,
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
export function checkMayWrite(request: IncomingMessage, tenant: string): void {
  if (mayUseTenant(request, tenant)) return;
  throw new RefusedError(403, `not allowed to write for tenant ${tenant}`);
}

export function tooLarge(limit: number): string {
  return `write request too large: the limit is ${limit} bytes`;
}

const VERSION_2 = "io.prometheus.write.v2.Request";

/**
 * Which message the body is. The content type alone decides: a sender that says 2.0 in its version header but sends
 * 1.0's content type means 1.0. Absent is 1.0, as every receiver takes it.
 */
export function versionOf(headers: IncomingHttpHeaders): 1 | 2 {
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

export function bodyEncoding(encoding: string | undefined): BodyEncoding {
  const name = encoding?.toLowerCase() ?? "";
  if (name === "" || name === "snappy") return "snappy";
  if (name === "zstd") return "zstd";
  throw new RefusedError(415, `content encoding ${encoding} is not supported, want snappy or zstd`);
}

export function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name.toLowerCase()];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

export function replicaNumber(text: string): number {
  if (text === "") return 0;
  if (!/^\d{1,9}$/.test(text)) throw new RefusedError(400, `replica header is no number: ${text}`);
  return Number(text);
}
