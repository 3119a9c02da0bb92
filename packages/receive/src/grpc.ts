/**
 * thanos.WriteableStore/RemoteWrite (Thanos' messages: pkg/store/storepb). Both forms of the message are taken: series,
 * tenant and replica in fields 1 to 3, and series by tenant in field 4. A request with a replica number was routed
 * already and is stored here; one without is routed like a sender's.
 */

import { outlineBytes, type WriteRequestBuffer, type WriteRequestOutline } from "@torus/kernels";
import { errorText, GrpcError, type GrpcMethods, GrpcStatus } from "@torus/server";
import { Cause, causeOfError, codesOf } from "./cause.ts";
import { withRawRequest } from "./decode.ts";
import { describeRefused, writeLocal } from "./local.ts";
import type { ReceiveMetrics } from "./metrics.ts";
import { REMOTE_WRITE } from "./peers.ts";
import { hasUnsortedSeries, sortedBody } from "./sorted-labels.ts";
import { checkTenantName } from "./tenant-name.ts";
import type { Tenant, Tenants } from "./tenants.ts";
import { encodeVerdicts, type SeriesCauses, VERDICTS_METADATA } from "./verdicts.ts";
import type { WriteResult, Writer } from "./write.ts";

export type RemoteWriteOptions = {
  /** Null on a router. */
  tenants: Tenants | null;
  writer: Writer;
  /** For series that come without a tenant. */
  defaultTenant: string;
  metrics: ReceiveMetrics;
  /** Why nothing is taken now; undefined when ready. */
  notReady: () => string | undefined;
};

/** A negative number is a large one on the wire. */
const MOST_REPLICA = 2 ** 31;

type Part = { tenant: string; from: number; to: number };

export function remoteWriteMethods(options: RemoteWriteOptions): GrpcMethods {
  return {
    [REMOTE_WRITE]: {
      kind: "unary",
      handler: async (message, call) => {
        const reason = options.notReady();
        if (reason !== undefined) throw new GrpcError(GrpcStatus.UNAVAILABLE, reason);
        options.metrics.pendingWrites.inc();
        try {
          const wantsVerdicts = call.metadata.has(VERDICTS_METADATA);
          return await remoteWrite(options, message, wantsVerdicts);
        } catch (error) {
          if (error instanceof GrpcError) throw error;
          const { grpc, text } = codesOf(causeOfError(error));
          throw new GrpcError(grpc, `${text}: ${errorText(error)}`, { cause: error });
        } finally {
          options.metrics.pendingWrites.dec();
        }
      },
    },
  };
}

async function remoteWrite(
  options: RemoteWriteOptions,
  message: Uint8Array,
  wantsVerdicts: boolean,
): Promise<Uint8Array> {
  const { tenants, defaultTenant } = options;
  const outlined = outlineBytes(message, 0);
  const { replica, parts, hasSeries } = outlined;
  if (replica > MOST_REPLICA) {
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, `replica ${replica}`);
  }
  const names = new Set(parts.map((part) => part.tenant || defaultTenant));
  if (hasSeries) names.add(outlined.tenant || defaultTenant);
  const open = new Map<string, Tenant>();
  for (const name of names) {
    checkTenantName(name);
    if (tenants !== null) open.set(name, await tenants.get(name));
  }
  const pending = withRawRequest(message, (request) => {
    const walked = walkParts(request, outlined, defaultTenant, open);
    if (replica > 0 && tenants !== null) return store(request, walked, open, wantsVerdicts);
    return routeParts(options, request, walked, open, replica);
  });
  return pending instanceof Uint8Array ? pending : answerRouted(await Promise.all(pending));
}

/** Fills the table with the series of both forms, tenant by tenant. */
function walkParts(
  request: WriteRequestBuffer,
  { tenant, hasSeries, parts }: WriteRequestOutline,
  defaultTenant: string,
  open: ReadonlyMap<string, Tenant>,
): Part[] {
  const walked: Part[] = [];
  const headOf = (name: string) => open.get(name)?.db.head.address;
  if (hasSeries) {
    const name = tenant || defaultTenant;
    request.walk(null, headOf(name));
    walked.push({ tenant: name, from: 0, to: request.count });
  }
  for (const part of parts) {
    const from = request.count;
    const name = part.tenant || defaultTenant;
    request.walkRange(request.bodyStart + part.start, part.length, null, headOf(name));
    walked.push({ tenant: name, from, to: request.count });
  }
  return walked;
}

function store(
  request: WriteRequestBuffer,
  parts: readonly Part[],
  open: ReadonlyMap<string, Tenant>,
  wantsVerdicts: boolean,
): Uint8Array {
  const failed: SeriesCauses[number][] = [];
  const texts: string[] = [];
  for (const { tenant, from, to } of parts) {
    const { db } = open.get(tenant) as Tenant;
    const whole = from === 0 && to === request.count;
    const chosen = whole ? null : Uint32Array.from({ length: to - from }, (_, i) => from + i);
    try {
      const result = writeLocal(db, request, chosen);
      failed.push(...result.failed);
      if (result.failed.length > 0) texts.push(describeRefused(result));
    } catch (error) {
      const codes = codesOf(causeOfError(error));
      throw new GrpcError(codes.grpc, `store locally: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  if (failed.length === 0 || wantsVerdicts) return encodeVerdicts(failed);
  const gravest = failed.some(([, cause]) => cause === Cause.CONFLICT)
    ? Cause.CONFLICT
    : (failed[0] as SeriesCauses[number])[1];
  throw new GrpcError(codesOf(gravest).grpc, `${codesOf(gravest).text}: ${texts.join("; ")}`);
}

function routeParts(
  options: RemoteWriteOptions,
  request: WriteRequestBuffer,
  parts: readonly Part[],
  open: ReadonlyMap<string, Tenant>,
  replica: number,
): Promise<WriteResult>[] {
  const { writer } = options;
  return parts.map(({ tenant, from, to }) => {
    const bytes = Buffer.from(tenant);
    const target = { name: tenant, bytes, local: open.get(tenant) };
    const whole = from === 0 && to === request.count;
    if (whole && !hasUnsortedSeries(request)) return writer.write(request, target, replica);
    return withRawRequest(sortedBody(request, from, to), (own) => {
      own.walk(null);
      return writer.write(own, target, replica);
    });
  });
}

function answerRouted(results: readonly WriteResult[]): Uint8Array {
  const failed = results.find(({ cause }) => cause !== Cause.STORED);
  if (failed === undefined) return new Uint8Array(0);
  throw new GrpcError(codesOf(failed.cause).grpc, failed.message);
}
