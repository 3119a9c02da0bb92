/**
 * Type, help and unit of metrics as senders tell them, by tenant. What is told here is kept by the tenant's storage,
 * which logs it, and by that of its other receivers (metadata-spread.ts); a router has no storage and keeps it in
 * memory. Served as thanos.Metadata.
 */

import { readFields, WireType } from "@torus/protocol";
import { errorText, GrpcError, type GrpcMethods, GrpcStatus } from "@torus/server";
import {
  type MetricMetadata,
  MetricMetadataSet,
  metricType,
  type NamedMetadata,
} from "@torus/tsdb";
import { type MetadataSpread, NOTE_METADATA, noteTenant } from "./metadata-spread.ts";
import { checkTenantName } from "./tenant-name.ts";
import type { Tenants } from "./tenants.ts";

const MOST_TENANTS = 10_000;

export class MetadataStore {
  readonly #tenants: Tenants | null;
  readonly #spread: MetadataSpread | null;
  /** Of tenants without storage here: of a router, or whose series all go to other tenants by a label. */
  readonly #inMemory = new Map<string, MetricMetadataSet>();

  /** @param tenants Null on a router. @param spread Null without a ring. */
  constructor(tenants: Tenants | null, spread: MetadataSpread | null) {
    this.#tenants = tenants;
    this.#spread = spread;
  }

  /** What other receivers are told. */
  grpcMethods(notReady: () => string | undefined): GrpcMethods {
    return {
      [NOTE_METADATA]: {
        kind: "unary",
        handler: async (message) => {
          const reason = notReady();
          if (reason !== undefined) throw new GrpcError(GrpcStatus.UNAVAILABLE, reason);
          let tenant: string;
          let entries: NamedMetadata[];
          try {
            tenant = noteTenant(message);
            checkTenantName(tenant);
            entries = readMetadata(message);
          } catch (error) {
            throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, errorText(error), { cause: error });
          }
          await this.#tenants?.get(tenant);
          this.keep(tenant, entries);
          return new Uint8Array(0);
        },
      },
    };
  }

  /** Keeps what a sender tells, and tells the tenant's other receivers. */
  note(tenant: string, entries: readonly NamedMetadata[]): void {
    if (entries.length === 0) return;
    this.keep(tenant, entries);
    this.#spread?.note(tenant, entries);
  }

  keep(tenant: string, entries: readonly NamedMetadata[]): void {
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
