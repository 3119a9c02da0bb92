/** A receiver's metrics under Thanos' names (Thanos, docs/components/receive.md), on which dashboards and alerts rest. */

import type { Hashring } from "@torus/hashring";
import { Verdict } from "@torus/kernels";
import type { Tsdb } from "@torus/tsdb";
import { Counter, Gauge, Histogram, type Registry, Summary } from "prom-client";
import type { HandOff } from "./handoff/handoff.ts";
import type { Tenant, Tenants } from "./tenants.ts";

export type ReceiveMetrics = ReturnType<typeof createReceiveMetrics>;

export function createReceiveMetrics(registry: Registry) {
  const registers = [registry];
  return {
    forwardRequests: new Counter({
      name: "thanos_receive_forward_requests_total",
      help: "The number of forward requests.",
      labelNames: ["result"],
      registers,
    }),
    replications: new Counter({
      name: "thanos_receive_replications_total",
      help: "The number of replication operations done by the receiver.",
      labelNames: ["result"],
      registers,
    }),
    replicationFactor: new Gauge({
      name: "thanos_receive_replication_factor",
      help: "The number of times to replicate incoming write requests.",
      registers,
    }),
    forwardDelay: new Histogram({
      name: "thanos_receive_forward_delay_seconds",
      help: "The time between a forward request's start and its answer.",
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
      registers,
    }),
    writeSeries: new Histogram({
      name: "thanos_receive_write_timeseries",
      help: "The number of timeseries received in the incoming write requests.",
      labelNames: ["code", "tenant"],
      buckets: [10, 50, 100, 500, 1000, 5000, 10_000],
      registers,
    }),
    writeSamples: new Histogram({
      name: "thanos_receive_write_samples",
      help: "The number of samples received in the incoming write requests.",
      labelNames: ["code", "tenant"],
      buckets: [10, 50, 100, 500, 1000, 5000, 10_000],
      registers,
    }),
    pendingWrites: new Gauge({
      name: "thanos_receive_pending_write_requests",
      help: "The number of write requests under way.",
      registers,
    }),
    configHash: new Gauge({
      name: "thanos_receive_config_hash",
      help: "Hash of the currently loaded hashring configuration file.",
      registers,
    }),
    configReloadSuccessful: new Gauge({
      name: "thanos_receive_config_last_reload_successful",
      help: "Whether the last hashring configuration file reload attempt was successful.",
      registers,
    }),
    configReloadTime: new Gauge({
      name: "thanos_receive_config_last_reload_success_timestamp_seconds",
      help: "Timestamp of the last successful hashring configuration file reload.",
      registers,
    }),
    fileChanges: new Counter({
      name: "thanos_receive_hashrings_file_changes_total",
      help: "The number of times the hashrings configuration file has changed.",
      registers,
    }),
    fileErrors: new Counter({
      name: "thanos_receive_hashrings_file_errors_total",
      help: "The number of errors watching the hashrings configuration file.",
      registers,
    }),
    fileRefreshes: new Counter({
      name: "thanos_receive_hashrings_file_refreshes_total",
      help: "The number of refreshes of the hashrings configuration file.",
      registers,
    }),
    writeLimits: new Gauge({
      name: "thanos_receive_write_limits",
      help: "The configured write limits.",
      labelNames: ["tenant", "limit"],
      registers,
    }),
    limitsHit: new Summary({
      name: "thanos_receive_write_limits_hit",
      help: "How far beyond the limit of a request's size, series or samples a refused request was.",
      labelNames: ["tenant", "limit"],
      percentiles: [0.5, 0.95, 0.99],
      maxAgeSeconds: 600,
      ageBuckets: 5,
      registers,
    }),
    rateLimited: new Counter({
      name: "torus_receive_rate_limited_requests_total",
      help: "Requests that a limit of samples or bytes per second refused.",
      labelNames: ["tenant", "limit"],
      registers,
    }),
    labelLimited: new Counter({
      name: "torus_receive_label_limited_series_total",
      help: "Series of requests that a limit of labels refused.",
      labelNames: ["tenant", "limit"],
      registers,
    }),
    headSeriesLimit: new Gauge({
      name: "thanos_receive_head_series_limit",
      help: "The configured limit for head series of tenants.",
      labelNames: ["tenant"],
      registers,
    }),
    headSeriesLimited: new Counter({
      name: "thanos_receive_head_series_limited_requests_total",
      help: "The total number of remote write requests refused because of the head series limit.",
      labelNames: ["tenant"],
      registers,
    }),
    haElections: new Counter({
      name: "torus_receive_ha_elected_replica_changes_total",
      help: "How often another replica of an HA pair was elected, counted by the receiver that decided.",
      labelNames: ["tenant", "cluster"],
      registers,
    }),
    haOwnerAway: new Counter({
      name: "torus_receive_ha_owner_unavailable_total",
      help: "Answers on HA pairs that a receiver gave in place of the owner of their cluster, which it did not reach.",
      registers,
    }),
    haDeduplicated: new Counter({
      name: "torus_receive_ha_deduplicated_samples_total",
      help: "Samples that were dropped because another replica of their HA pair is listened to.",
      labelNames: ["tenant", "cluster"],
      registers,
    }),
    handOffQueued: new Counter({
      name: "torus_receive_handoff_queued_total",
      help: "Messages that were put on disk for a receiver that did not take them.",
      labelNames: ["peer"],
      registers,
    }),
    handOffReplayed: new Counter({
      name: "torus_receive_handoff_replayed_total",
      help: "Messages from disk that the receiver took.",
      labelNames: ["peer"],
      registers,
    }),
    handOffRefused: new Counter({
      name: "torus_receive_handoff_refused_series_total",
      help: "Series of messages from disk that the receiver refused, mostly as too old.",
      labelNames: ["peer"],
      registers,
    }),
    handOffDropped: new Counter({
      name: "torus_receive_handoff_dropped_total",
      help: "Messages for a receiver that were given up: no room, no disk, too old, a torn file.",
      labelNames: ["peer", "reason"],
      registers,
    }),
    relabelDropped: new Counter({
      name: "torus_receive_relabel_dropped_series_total",
      help: "Series of requests that relabelling rules dropped.",
      labelNames: ["tenant"],
      registers,
    }),
    limitsReloads: new Counter({
      name: "thanos_receive_limits_config_reload_total",
      help: "How many times the limit configuration was reloaded.",
      registers,
    }),
    limitsReloadErrors: new Counter({
      name: "thanos_receive_limits_config_reload_err_total",
      help: "How many times the limit configuration failed to reload.",
      registers,
    }),
    ringNodes: new Gauge({
      name: "thanos_receive_hashring_nodes",
      help: "The number of nodes per hashring.",
      labelNames: ["name"],
      registers,
    }),
    ringTenants: new Gauge({
      name: "thanos_receive_hashring_tenants",
      help: "The number of tenants per hashring.",
      labelNames: ["name"],
      registers,
    }),
  };
}

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

/** What is kept of tenants' shuffle shards, by hashring; counted anew for each configuration, as Thanos does. */
export function registerShardMetrics(registry: Registry, ring: () => Hashring | undefined): void {
  const settings = (name: string, help: string) => ({
    name: `thanos_shuffle_shard_cache_${name}`,
    help,
    labelNames: ["hashring"] as const,
    registers: [registry],
  });
  const counter = (name: string, help: string, field: "requests" | "hits" | "evicted") =>
    new Counter({
      ...settings(name, help),
      collect() {
        this.reset();
        for (const each of ring()?.shardCaches() ?? []) {
          this.inc({ hashring: each.hashring }, each[field]);
        }
      },
    });
  const gauge = (name: string, help: string, field: "items" | "maxItems") =>
    new Gauge({
      ...settings(name, help),
      collect() {
        this.reset();
        for (const each of ring()?.shardCaches() ?? []) {
          this.set({ hashring: each.hashring }, each[field]);
        }
      },
    });
  counter("requests_total", "Shuffle shards of tenants that were asked for.", "requests");
  counter("hits_total", "Shuffle shards that were there already.", "hits");
  counter("evicted_total", "Shuffle shards that were forgotten for others.", "evicted");
  gauge("items", "Shuffle shards that are kept.", "items");
  gauge("max_items", "Shuffle shards that are kept at most.", "maxItems");
}

/** Depth and age of the hand-off's queues. */
export function registerHandOffMetrics(registry: Registry, handOff: HandOff): void {
  const registers = [registry];
  const gauge = (name: string, help: string, value: "bytes" | "ageSeconds") =>
    new Gauge({
      name,
      help,
      labelNames: ["peer"],
      registers,
      collect() {
        this.reset();
        for (const each of handOff.depths()) this.set({ peer: each.peer }, each[value]);
      },
    });
  gauge("torus_receive_handoff_queue_bytes", "Bytes on disk that wait for a receiver.", "bytes");
  gauge(
    "torus_receive_handoff_oldest_seconds",
    "Age of the oldest message that waits for a receiver.",
    "ageSeconds",
  );
}
