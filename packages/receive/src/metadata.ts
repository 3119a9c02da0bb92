/**
 * Type, help and unit of metrics as senders tell them, by tenant and in memory: senders of remote write 1.0 tell them
 * again every minute, those of 2.0 with every sample. Served as thanos.Metadata.
 */

import { type MetricMetadata, readFields, WireType } from "@torus/protocol";

export type NamedMetadata = MetricMetadata & { metric: string };

/** Of a tenant; a metric beyond it is not remembered. */
const MOST_METRICS = 50_000;
/** Of a metric: different jobs may tell different things. */
const MOST_OF_METRIC = 10;
const MOST_TEXT_BYTES = 4096;
const MOST_TENANTS = 10_000;

const TYPES = [
  "unknown",
  "counter",
  "gauge",
  "histogram",
  "gaugehistogram",
  "summary",
  "info",
  "stateset",
];

/** The word that Prometheus' API has for the number on the wire. */
export function metricType(number: number): string {
  return TYPES[number] ?? "unknown";
}

export class MetadataStore {
  readonly #tenants = new Map<string, Map<string, MetricMetadata[]>>();

  note(tenant: string, entries: readonly NamedMetadata[]): void {
    if (entries.length === 0) return;
    let metrics = this.#tenants.get(tenant);
    if (metrics === undefined) {
      if (this.#tenants.size >= MOST_TENANTS) return;
      metrics = new Map();
      this.#tenants.set(tenant, metrics);
    }
    for (const { metric, type, help, unit } of entries) {
      if (metric === "" || metric.length + help.length + unit.length > MOST_TEXT_BYTES) continue;
      const known = metrics.get(metric);
      if (known === undefined) {
        if (metrics.size < MOST_METRICS) metrics.set(metric, [{ type, help, unit }]);
        continue;
      }
      const isKnown = (each: MetricMetadata) =>
        each.type === type && each.help === help && each.unit === unit;
      if (known.some(isKnown)) continue;
      // The newest are kept: a metric's help may change with its program.
      if (known.length >= MOST_OF_METRIC) known.shift();
      known.push({ type, help, unit });
    }
  }

  /** Of all tenants, each once. @param metric "" for all. @param limit Metrics; 0 or less for no limit. */
  find(metric: string, limit: number): Map<string, MetricMetadata[]> {
    const out = new Map<string, MetricMetadata[]>();
    const seen = new Set<string>();
    for (const metrics of this.#tenants.values()) {
      const known = metrics.get(metric) ?? [];
      const some = metric === "" ? metrics : new Map(known.length > 0 ? [[metric, known]] : []);
      for (const [name, entries] of some) {
        if (limit > 0 && out.size >= limit && !out.has(name)) continue;
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
