/** The one place that says which HTTP status a write request ends with when it ends with an error. */

import { ZstdFrameError, ZstdTooLargeError } from "@torus/encoding";
import { HashringBuildError, NoMatchingHashringError, TenantPatternError } from "@torus/hashring";
import {
  BodyTooLargeError,
  SnappyCorruptError,
  TooManySeriesError,
  WriteBuffersExhaustedError,
  WriteRequestMalformedError,
} from "@torus/kernels";
import { MessageMalformedError } from "@torus/protocol";
import { causeOfError, codesOf } from "./cause.ts";
import { TooManyClustersError } from "./edge/ha-tracker.ts";
import { GateFullError } from "./fair-gate.ts";
import { RefusedError } from "./header-checks.ts";
import { LimitError } from "./limiter.ts";
import { RemoteWrite2Error } from "./remote-write-2.ts";
import { TenantNameError } from "./tenant-name.ts";
import { TooManyTenantsError } from "./tenants.ts";
import { BadReplicaError, NoHashringError } from "./write.ts";

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
