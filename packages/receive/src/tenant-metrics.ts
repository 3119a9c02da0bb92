/** The metrics of the tenants' TSDBs under Prometheus' names, with the tenant as a label, and what Thanos adds. */

import { Verdict } from "@torus/kernels";
import type { Tsdb } from "@torus/tsdb";
import { Counter, Gauge, type Registry } from "prom-client";
import type { Tenant, Tenants } from "./tenants.ts";

type ExemplarMetric = readonly [
  name: string,
  help: string,
  value: (exemplars: Tenant["db"]["head"]["exemplars"]) => number,
];

const EXEMPLAR_COUNTERS: readonly ExemplarMetric[] = [
  [
    "prometheus_tsdb_exemplar_exemplars_appended_total",
    "Exemplars that were stored.",
    ({ appended }) => appended,
  ],
  [
    "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
    "Exemplars that were refused because their series has a newer one.",
    ({ outOfOrder }) => outOfOrder,
  ],
];

const EXEMPLAR_GAUGES: readonly ExemplarMetric[] = [
  ["prometheus_tsdb_exemplar_exemplars_in_storage", "Exemplars in memory.", ({ count }) => count],
  [
    "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
    "Series that have exemplars in memory.",
    ({ seriesCount }) => seriesCount,
  ],
  [
    "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
    "Time of the newest exemplar in memory.",
    ({ lastTime }) => lastTime / 1000,
  ],
  [
    "prometheus_tsdb_exemplar_max_exemplars",
    "The most exemplars that are kept in memory.",
    ({ max }) => max,
  ],
];

/** Each tenant's TSDB, read when metrics are scraped. */
export function registerTenantMetrics(registry: Registry, tenants: Tenants): void {
  const gauge = (
    name: string,
    help: string,
    value: (tenant: ReturnType<Tenants["list"]>[0]) => number,
  ) =>
    new Gauge({
      name,
      help,
      labelNames: ["tenant"],
      registers: [registry],
      collect() {
        this.reset();
        for (const tenant of tenants.list()) {
          const current = value(tenant);
          if (Number.isFinite(current)) this.set({ tenant: tenant.name }, current);
        }
      },
    });
  const counter = (
    name: string,
    help: string,
    values: (tenant: ReturnType<Tenants["list"]>[0]) => { float: number; histogram?: number },
  ) =>
    new Counter({
      name,
      help,
      labelNames: ["tenant", "type"],
      registers: [registry],
      collect() {
        this.reset();
        for (const tenant of tenants.list()) {
          for (const [type, value] of Object.entries(values(tenant))) {
            this.inc({ tenant: tenant.name, type }, value);
          }
        }
      },
    });
  const judged = (name: string, help: string, verdict: Verdict) =>
    counter(name, help, ({ db }) => ({
      float: db.head.judgedFloats[verdict] as number,
      histogram: db.head.judgedHistograms[verdict] as number,
    }));
  judged(
    "prometheus_tsdb_head_samples_appended_total",
    "Total number of appended samples.",
    Verdict.ACCEPTED,
  );
  judged(
    "prometheus_tsdb_out_of_order_samples_total",
    "Total number of refused samples that came out of order, where none are taken.",
    Verdict.OUT_OF_ORDER,
  );
  judged(
    "prometheus_tsdb_too_old_samples_total",
    "Total number of refused samples older than the head, or than the out-of-order window.",
    Verdict.TOO_OLD,
  );
  counter(
    "prometheus_tsdb_head_out_of_order_samples_appended_total",
    "Total number of appended out of order samples.",
    ({ db }) => ({
      float: db.head.lateAppended,
      histogram: db.head.lateHistogramsAppended,
    }),
  );
  const seriesCounter = (name: string, help: string, value: (db: Tsdb) => number) =>
    new Counter({
      name,
      help,
      labelNames: ["tenant"],
      registers: [registry],
      collect() {
        this.reset();
        for (const { name: tenant, db } of tenants.list()) this.inc({ tenant }, value(db));
      },
    });
  seriesCounter(
    "prometheus_tsdb_head_series_created_total",
    "Total number of series created in the head.",
    ({ head }) => head.seriesCreated,
  );
  seriesCounter(
    "prometheus_tsdb_head_series_removed_total",
    "Total number of series removed from the head.",
    ({ head }) => head.seriesRemoved,
  );
  gauge(
    "prometheus_tsdb_head_series",
    "Total number of series in the head block.",
    ({ db }) => db.head.seriesCount,
  );
  gauge(
    "prometheus_tsdb_head_min_time",
    "Minimum time bound of the head block, in milliseconds.",
    ({ db }) => db.head.minTime,
  );
  gauge(
    "prometheus_tsdb_head_max_time",
    "Maximum timestamp of the head block, in milliseconds.",
    ({ db }) => db.head.maxTime,
  );
  for (const [name, help, value] of EXEMPLAR_COUNTERS) {
    new Counter({
      name,
      help,
      labelNames: ["tenant"],
      registers: [registry],
      collect() {
        this.reset();
        for (const { name: tenant, db } of tenants.list()) {
          this.inc({ tenant }, value(db.head.exemplars));
        }
      },
    });
  }
  for (const [name, help, value] of EXEMPLAR_GAUGES) {
    gauge(name, help, ({ db }) => value(db.head.exemplars));
  }
  gauge(
    "torus_tsdb_head_start_timestamp_runs",
    "Changes of start timestamps in memory, where they are kept.",
    ({ db }) => db.head.starts?.count ?? Number.NaN,
  );
  seriesCounter(
    "torus_tsdb_head_start_timestamps_forgotten_total",
    "Changes of start timestamps that were given up because a tenant had too many: their samples have none.",
    ({ head }) => head.starts?.forgotten ?? 0,
  );
  gauge(
    "prometheus_tsdb_blocks_loaded",
    "Number of currently loaded data blocks.",
    ({ db }) => db.blocks().length,
  );
  gauge(
    "prometheus_tsdb_storage_blocks_bytes",
    "The number of bytes that are currently used for local storage by all blocks.",
    ({ db }) => db.blockBytes(),
  );
}
