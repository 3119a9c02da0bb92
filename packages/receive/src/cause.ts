/**
 * Why a copy of a series was not stored, and what that is called on either side: HTTP to senders, gRPC between
 * receivers (Thanos, pkg/receive/handler.go). The one place where a write's failure becomes a code.
 */

import {
  TooManySeriesError,
  Verdict,
  WriteBuffersExhaustedError,
  WriteRequestMalformedError,
} from "@torus/kernels";
import { GrpcError, GrpcStatus } from "@torus/server";
import { HeadMemoryError, TsdbClosedError } from "@torus/tsdb";
import { TenantNameError } from "./tenant-name.ts";
import { TooManyTenantsError } from "./tenants.ts";

export const Cause = {
  STORED: 0,
  /** The samples can never be stored: out of order, other value at the same time, invalid labels. */
  CONFLICT: 1,
  /** A limit of the tenant is reached: later it may be stored. */
  LIMIT: 2,
  BAD_REQUEST: 3,
  UNAVAILABLE: 4,
  INTERNAL: 5,
} as const;
export type Cause = (typeof Cause)[keyof typeof Cause];
export const CAUSES = 6;

/** Which failure of a request's series is told, gravest for the sender first. */
export const CAUSE_PRECEDENCE: readonly Cause[] = [
  // Final: sending again changes nothing, whatever became of the other series.
  Cause.CONFLICT,
  Cause.BAD_REQUEST,
  Cause.UNAVAILABLE,
  Cause.INTERNAL,
  Cause.LIMIT,
];

/** The one to tell of several. */
export function gravest(causes: readonly Cause[]): Cause {
  return CAUSE_PRECEDENCE.find((each) => causes.includes(each)) ?? Cause.STORED;
}

type Codes = { http: number; grpc: GrpcStatus; text: string };

const CODES: Readonly<Record<Cause, Codes>> = {
  [Cause.STORED]: { http: 204, grpc: GrpcStatus.OK, text: "" },
  [Cause.CONFLICT]: { http: 409, grpc: GrpcStatus.ALREADY_EXISTS, text: "conflict" },
  [Cause.LIMIT]: { http: 429, grpc: GrpcStatus.RESOURCE_EXHAUSTED, text: "too many requests" },
  [Cause.BAD_REQUEST]: { http: 400, grpc: GrpcStatus.INVALID_ARGUMENT, text: "bad request" },
  [Cause.UNAVAILABLE]: {
    http: 503,
    grpc: GrpcStatus.UNAVAILABLE,
    text: "target not available",
  },
  [Cause.INTERNAL]: { http: 500, grpc: GrpcStatus.INTERNAL, text: "internal" },
};

export function codesOf(cause: Cause): Codes {
  return CODES[cause];
}

/** The cause of a sample that the head refused. */
export function causeOfVerdict(verdict: number): Cause {
  if (verdict <= Verdict.DUPLICATE) return Cause.STORED;
  if (verdict === Verdict.INVALID_HISTOGRAM) return Cause.BAD_REQUEST;
  return verdict === Verdict.SERIES_LIMIT ? Cause.LIMIT : Cause.CONFLICT;
}

const CAUSE_OF_GRPC: ReadonlyMap<GrpcStatus, Cause> = new Map([
  [GrpcStatus.ALREADY_EXISTS, Cause.CONFLICT],
  [GrpcStatus.RESOURCE_EXHAUSTED, Cause.LIMIT],
  [GrpcStatus.INVALID_ARGUMENT, Cause.BAD_REQUEST],
  // A peer that is slow is as good as away: the sender should try again.
  [GrpcStatus.UNAVAILABLE, Cause.UNAVAILABLE],
  [GrpcStatus.DEADLINE_EXCEEDED, Cause.UNAVAILABLE],
  [GrpcStatus.CANCELLED, Cause.UNAVAILABLE],
]);

/** What stopped a whole copy: an error of the local storage, or of a peer's call. */
export function causeOfError(error: unknown): Cause {
  if (error instanceof GrpcError) return CAUSE_OF_GRPC.get(error.code) ?? Cause.INTERNAL;
  if (
    error instanceof HeadMemoryError ||
    error instanceof WriteBuffersExhaustedError ||
    error instanceof TsdbClosedError ||
    isTroubleOfMachine(error)
  ) {
    return Cause.UNAVAILABLE;
  }
  if (
    error instanceof TenantNameError ||
    error instanceof WriteRequestMalformedError ||
    error instanceof TooManySeriesError
  ) {
    return Cause.BAD_REQUEST;
  }
  if (error instanceof TooManyTenantsError) return Cause.LIMIT;
  return Cause.INTERNAL;
}

/** What an operator mends and the sender should wait for: no room, no files, a device that fails. */
const TROUBLES = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"]);

function isTroubleOfMachine(error: unknown): boolean {
  let each = error;
  for (let depth = 0; each instanceof Error && depth < 5; depth++, each = each.cause) {
    if ("code" in each && typeof each.code === "string" && TROUBLES.has(each.code)) return true;
  }
  return false;
}
