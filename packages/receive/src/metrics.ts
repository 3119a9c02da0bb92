/** A receiver's metrics under Thanos' names (Thanos, docs/components/receive.md), on which dashboards and alerts rest. */

import type { Hashring } from "@torus/hashring";
import { Counter, Gauge, Histogram, type Registry, Summary } from "prom-client";
import type { HandOff } from "./handoff/handoff.ts";

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
