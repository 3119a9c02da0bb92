/**
 * Type, help and unit of metrics as senders tell them, by tenant. What is told here is kept by the tenant's storage,
 * which logs it; a router has no storage and keeps it in memory. Served as thanos.Metadata.
 */

import { readFields, WireType } from "@torus/protocol";
import {
  type MetricMetadata,
  MetricMetadataSet,
  metricType,
  type NamedMetadata,
} from "@torus/tsdb";
import type { Tenants } from "./tenants.ts";

const MOST_TENANTS = 10_000;

export class MetadataStore {
  readonly #tenants: Pick<Tenants, "peek" | "list"> | null;
  /** Of tenants without storage here: of a router, or whose series all go to other tenants by a label. */
  readonly #inMemory = new Map<string, MetricMetadataSet>();

  /** @param tenants Null on a router. */
  constructor(tenants: Pick<Tenants, "peek" | "list"> | null) {
    this.#tenants = tenants;
  }

  note(tenant: string, entries: readonly NamedMetadata[]): void {
    if (entries.length === 0) return;
    const local = this.#tenants?.peek(tenant);
    if (local !== undefined) {
      local.db.noteMetadata(entries);
      return;
    }
    let metrics = this.#inMemory.get(tenant);
    if (metrics === undefined) {
      if (this.#inMemory.size >= MOST_TENANTS) return;
      metrics = new MetricMetadataSet();
      this.#inMemory.set(tenant, metrics);
    }
    metrics.note(entries);
  }

  /** Of all tenants, each once. @param metric "" for all. @param limit Metrics; 0 or less for no limit. */
  find(metric: string, limit: number): Map<string, MetricMetadata[]> {
    const out = new Map<string, MetricMetadata[]>();
    const seen = new Set<string>();
    const stored = this.#tenants?.list().map(({ db }) => db.metadata) ?? [];
    for (const metrics of [...stored, ...this.#inMemory.values()]) {
      const some = metric === "" ? metrics.entries() : [[metric, metrics.of(metric)] as const];
      for (const [name, entries] of some) {
        if (limit > 0 && out.size >= limit && !out.has(name)) continue;
        for (const { type, help, unit } of entries) {
          const key = JSON.stringify([name, type, help, unit]);
          if (seen.has(key)) continue;
          seen.add(key);
          const list = out.get(name);
          if (list === undefined) out.set(name, [{ type, help, unit }]);
          else list.push({ type, help, unit });
        }
      }
    }
    return out;
  }
}

/**
 * The metadata of a prometheus.WriteRequest 1.0: field 3 { type 1, metric family 2, help 4, unit 5 }. Prometheus sends
 * it in requests of its own.
 *
 * @throws {MessageMalformedError}
 */
export function readMetadata(body: Uint8Array): NamedMetadata[] {
  const out: NamedMetadata[] = [];
  readFields("WriteRequest", body, (number, wire, reader) => {
    if (number !== 3 || wire !== WireType.BYTES) return false;
    const entry = { metric: "", type: "unknown", help: "", unit: "" };
    readFields("MetricMetadata", reader.lengthPrefixed(), (field, kind, inner) => {
      if (field === 1 && kind === WireType.VARINT) entry.type = metricType(inner.uvarint());
      else if (kind !== WireType.BYTES) return false;
      else if (field === 2) entry.metric = inner.string();
      else if (field === 4) entry.help = inner.string();
      else if (field === 5) entry.unit = inner.string();
      else return false;
      return true;
    });
    out.push(entry);
    return true;
  });
  return out;
}
