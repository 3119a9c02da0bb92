/** What of a gRPC call stands in HTTP/2 headers: timeout, status, message, metadata. */

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import { GrpcError, GrpcStatus } from "./service.ts";

const TIMEOUT_UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * Milliseconds of a `grpc-timeout` header; undefined when there is none.
 *
 * @throws {GrpcError} INVALID_ARGUMENT
 */
export function parseTimeout(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const match = /^(\d{1,8})([HMSmun])$/.exec(header);
  if (match === null) {
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, `malformed grpc-timeout: "${header}"`);
  }
  return Number(match[1]) * (TIMEOUT_UNIT_MS[match[2] ?? ""] ?? 1);
}

/** The header has eight digits at most. */
export function formatTimeout(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms));
  return whole < 1e8 ? `${whole}m` : `${Math.min(99_999_999, Math.ceil(whole / 1000))}S`;
}

/** Percent-encodes what is not printable ASCII, and "%" itself. */
export function encodeMessage(message: string): string {
  let out = "";
  // Bounded: a peer's header list is (16 KB in grpc-go's default), and an error text may hold user input.
  for (const byte of Buffer.from(message.slice(0, 2048), "utf8")) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    out += plain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** The reverse; a malformed escape stands for itself. */
export function decodeMessage(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  const raw = Buffer.from(text, "utf8");
  for (let i = 0; i < raw.length; i++) {
    const hex = raw.subarray(i + 1, i + 3).toString("latin1");
    if (raw[i] === 0x25 && /^[0-9a-fA-F]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else {
      bytes.push(raw[i] ?? 0);
    }
  }
  return Buffer.from(bytes).toString("utf8");
}

export function statusTrailers(code: GrpcStatus, message: string): OutgoingHttpHeaders {
  return message === ""
    ? { "grpc-status": String(code) }
    : { "grpc-status": String(code), "grpc-message": encodeMessage(message) };
}

const STATUSES = new Set<number>(Object.values(GrpcStatus));

function isStatus(code: number): code is GrpcStatus {
  return STATUSES.has(code);
}

/** The status of trailers; undefined when they have none. A number that is no status is UNKNOWN. */
export function readStatus(
  headers: IncomingHttpHeaders,
): { code: GrpcStatus; message: string } | undefined {
  const text = headers["grpc-status"];
  if (typeof text !== "string") return undefined;
  const message = headers["grpc-message"];
  const code = Number(text);
  return {
    code: isStatus(code) ? code : GrpcStatus.UNKNOWN,
    message: typeof message === "string" ? decodeMessage(message) : "",
  };
}

/** Request headers as metadata: without pseudo-headers, repeated ones joined. */
export function readMetadata(headers: IncomingHttpHeaders): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || value === undefined) continue;
    metadata.set(name, Array.isArray(value) ? value.join(",") : value);
  }
  return metadata;
}
