/**
 * The one place where an error becomes an HTTP and a gRPC status. Packages below throw their own classes; a
 * component hands in what those mean (`ErrorClassifier`), everything general is known here.
 */

import { GrpcError, GrpcStatus } from "./grpc/service.ts";

export type ErrorCodes = {
  http: number;
  grpc: GrpcStatus;
  /** What the caller may see. */
  message: string;
};

/** Says what an error class of the component means; undefined for those that it does not know. */
export type ErrorClassifier = (error: unknown) => ErrorCodes | undefined;

/** An error that a handler throws knowing both of its codes. */
export class CodedError extends Error {
  readonly http: number;
  readonly grpc: GrpcStatus;
  /** Seconds for Retry-After, where trying again makes sense. */
  readonly retryAfterSeconds: number | undefined;
  constructor(
    http: number,
    grpc: GrpcStatus,
    message: string,
    options: ErrorOptions & { retryAfterSeconds?: number } = {},
  ) {
    super(message, options);
    this.name = "CodedError";
    this.http = http;
    this.grpc = grpc;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** gRPC's own table (http-grpc-status-mapping read backwards, as grpc-gateway does it). */
const HTTP_OF_GRPC: Readonly<Record<GrpcStatus, number>> = {
  [GrpcStatus.OK]: 200,
  [GrpcStatus.CANCELLED]: 499,
  [GrpcStatus.UNKNOWN]: 500,
  [GrpcStatus.INVALID_ARGUMENT]: 400,
  [GrpcStatus.DEADLINE_EXCEEDED]: 504,
  [GrpcStatus.NOT_FOUND]: 404,
  [GrpcStatus.ALREADY_EXISTS]: 409,
  [GrpcStatus.PERMISSION_DENIED]: 403,
  [GrpcStatus.RESOURCE_EXHAUSTED]: 429,
  [GrpcStatus.FAILED_PRECONDITION]: 400,
  [GrpcStatus.ABORTED]: 409,
  [GrpcStatus.OUT_OF_RANGE]: 400,
  [GrpcStatus.UNIMPLEMENTED]: 501,
  [GrpcStatus.INTERNAL]: 500,
  [GrpcStatus.UNAVAILABLE]: 503,
  [GrpcStatus.DATA_LOSS]: 500,
  [GrpcStatus.UNAUTHENTICATED]: 401,
};

export function httpStatusOf(grpc: GrpcStatus): number {
  return HTTP_OF_GRPC[grpc];
}

/** Errors that nobody knows are INTERNAL and 500 with their message. */
export function errorCodes(error: unknown, classify?: ErrorClassifier): ErrorCodes {
  const known = classify?.(error);
  if (known !== undefined) return known;
  if (error instanceof CodedError) {
    return { http: error.http, grpc: error.grpc, message: error.message };
  }
  if (error instanceof GrpcError) {
    return { http: HTTP_OF_GRPC[error.code], grpc: error.code, message: error.message };
  }
  if (error instanceof Error) {
    if (error.name === "AbortError") {
      return { http: 499, grpc: GrpcStatus.CANCELLED, message: error.message };
    }
    if (error.name === "TimeoutError") {
      return { http: 504, grpc: GrpcStatus.DEADLINE_EXCEEDED, message: error.message };
    }
    return { http: 500, grpc: GrpcStatus.INTERNAL, message: error.message };
  }
  return { http: 500, grpc: GrpcStatus.INTERNAL, message: String(error) };
}
