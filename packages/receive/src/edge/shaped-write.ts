/** A write whose series the edge sorts out first: its parts are written tenant by tenant, and answered as one. */

import { Cause, codesOf, gravest } from "../cause.ts";
import { withDecodedRequest } from "../decode.ts";
import type { ReceiveMetrics } from "../metrics.ts";
import { checkTenantName } from "../tenant-name.ts";
import type { Tenants } from "../tenants.ts";
import type { WriteResult, Writer } from "../write.ts";
import type { Counted, Edge, Shaped } from "./edge.ts";

export type ShapedWriteOptions = {
  edge: Edge;
  /** Null on a router. */
  tenants: Tenants | null;
  writer: Writer;
  metrics: ReceiveMetrics;
};

/** @throws {NotAllowedError} from `mayWrite`, for a tenant that a series names. */
export type TenantCheck = (tenant: string) => void;

/**
 * @param body Decoded, of remote write 1.0.
 * @param check Called with what came, before anything is decided.
 * @throws what `Edge.shape` and the writer throw, TenantNameError for a tenant that a label names.
 */
export async function writeShaped(
  { edge, tenants, writer, metrics }: ShapedWriteOptions,
  request: { body: Uint8Array; tenant: string; replica: number },
  check: (received: Counted) => void,
  mayWrite: TenantCheck,
): Promise<WriteResult> {
  const shaped = await edge.shape(request.body, request.tenant, check);
  for (const { tenant } of shaped.parts) {
    checkTenantName(tenant);
    if (tenant !== request.tenant) mayWrite(tenant);
  }
  countDropped(metrics, request.tenant, shaped);
  const results: WriteResult[] = [];
  const pending: Promise<WriteResult>[] = [];
  for (const { tenant: name, body } of shaped.parts) {
    const local = await tenants?.get(name);
    const target = { name, bytes: Buffer.from(name), local };
    pending.push(
      withDecodedRequest(body, null, (walked) => writer.write(walked, target, request.replica)),
    );
  }
  for (const each of await Promise.allSettled(pending)) {
    if (each.status === "rejected") throw each.reason;
    results.push(each.value);
  }
  return joined(results, shaped);
}

function countDropped(metrics: ReceiveMetrics, tenant: string, shaped: Shaped): void {
  const { relabelled, deduplicated, refusals } = shaped;
  if (relabelled.series > 0) metrics.relabelDropped.inc({ tenant }, relabelled.series);
  for (const [cluster, { samples, histograms }] of deduplicated) {
    metrics.haDeduplicated.inc({ tenant, cluster }, samples + histograms);
  }
  for (const [limit, series] of refusals) metrics.labelLimited.inc({ tenant, limit }, series);
}

function joined(results: readonly WriteResult[], shaped: Shaped): WriteResult {
  const { received, refused, refusals, deduplicated } = shaped;
  const causes = results.map(({ cause }) => cause);
  const messages = results.map(({ message }) => message).filter((message) => message !== "");
  if (refused.series > 0) {
    causes.push(Cause.BAD_REQUEST);
    const limits = [...refusals].map(([limit, series]) => `${limit} (${series} series)`);
    const { text } = codesOf(Cause.BAD_REQUEST);
    messages.push(`${text}: ${refused.series} series over the limit of ${limits.join(", ")}`);
  }
  const written = { samples: 0, histograms: 0, exemplars: 0 };
  for (const each of results) {
    written.samples += each.written.samples;
    written.histograms += each.written.histograms;
    written.exemplars += each.written.exemplars;
  }
  return {
    cause: gravest(causes),
    message: messages.join("; "),
    series: received.series,
    samples: received.samples + received.histograms,
    written,
    isDuplicate: results.length === 0 && refused.series === 0 && deduplicated.size > 0,
  };
}
