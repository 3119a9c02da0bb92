/** Metadata of metrics, of all endpoints that serve it. */

import {
  decodeMetadataResponse,
  encodeMetadataRequest,
  METRIC_METADATA,
  type MetricMetadata,
} from "@torus/protocol";
import { errorText } from "@torus/server";
import type { Endpoint } from "./endpoints.ts";

export type MetadataCall = {
  /** "" for all. */
  metric: string;
  /** Metrics; 0 for no limit. */
  limit: number;
  timeoutMs: number;
  signal: AbortSignal;
  onWarning: (warning: string) => void;
};

/** Each metric's entries, those that are the same once; an endpoint that fails gives a warning. */
export async function fanOutMetadata(
  endpoints: readonly Endpoint[],
  call: MetadataCall,
): Promise<Map<string, MetricMetadata[]>> {
  const { metric, limit, timeoutMs, signal, onWarning } = call;
  const out = new Map<string, MetricMetadata[]>();
  const seen = new Set<string>();
  const request = encodeMetadataRequest(metric, limit);
  const ask = async ({ client, address }: Endpoint) => {
    try {
      for await (const message of client.serverStream(METRIC_METADATA, request, {
        timeoutMs,
        signal,
      })) {
        const { metadata, warnings } = decodeMetadataResponse(message);
        for (const warning of warnings) onWarning(`${address}: ${warning}`);
        for (const [name, entries] of metadata) {
          for (const entry of entries) {
            const key = JSON.stringify([name, entry.type, entry.help, entry.unit]);
            if (seen.has(key)) continue;
            seen.add(key);
            const list = out.get(name);
            if (list === undefined) out.set(name, [entry]);
            else list.push(entry);
          }
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      onWarning(`metadata of ${address}: ${errorText(error)}`);
    }
  };
  await Promise.all(
    endpoints.filter(({ healthy, info }) => healthy && info?.metricMetadata === true).map(ask),
  );
  return out;
}
