/** The store gateway's metrics: Thanos' names for blocks and their meta.json, `torus_store_*` for the page cache. */

import { BLOCK_STATES } from "@torus/block";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { BucketGateway, GatewayEvent } from "./gateway.ts";

export type GatewayMetrics = {
  observe(event: GatewayEvent): void;
  /** From now on sizes and counts of this gateway are exposed too. */
  watch(gateway: BucketGateway): void;
};

/** Once per registry. */
export function createGatewayMetrics(registry: Registry, now: () => number): GatewayMetrics {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
  const syncs = counter("thanos_blocks_meta_syncs_total", "Looks at the bucket for blocks.");
  const syncFailures = counter("thanos_blocks_meta_sync_failures_total", "Looks that failed.");
  const syncSeconds = new Histogram({
    name: "thanos_blocks_meta_sync_duration_seconds",
    help: "Duration of a look at the bucket, index headers of new blocks included.",
    buckets: [0.01, 1, 10, 100, 300, 600, 1000],
    registers,
  });
  const states = new Gauge({
    name: "thanos_blocks_meta_synced",
    help: "Blocks in the bucket by what became of them at the last look.",
    labelNames: ["state"],
    registers,
  });
  const loads = counter("thanos_bucket_store_block_loads_total", "Blocks begun to be served.");
  const loadFailures = counter(
    "thanos_bucket_store_block_load_failures_total",
    "Blocks set aside because they could not be read; each try counts.",
  );
  const drops = counter("thanos_bucket_store_block_drops_total", "Blocks no longer served.");
  const lastLoaded = gauge(
    "thanos_bucket_store_blocks_last_loaded_timestamp_seconds",
    "Unix seconds of the last look at the bucket that succeeded.",
  );
  let watched: BucketGateway | undefined;
  // Read when they are printed, so that serving does not touch them.
  const gaugeOf = (name: string, help: string, read: (gateway: BucketGateway) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(watched === undefined ? 0 : read(watched));
      },
    });
  const counterOf = (name: string, help: string, read: (gateway: BucketGateway) => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(watched === undefined ? 0 : read(watched));
      },
    });
  gaugeOf("thanos_bucket_store_blocks_loaded", "Blocks served.", (it) => it.blocks().length);
  gaugeOf(
    "torus_store_blocks_broken",
    "Blocks set aside at the last look.",
    (it) => it.broken().size,
  );
  gaugeOf(
    "torus_store_page_cache_bytes",
    "Size of the pages in memory.",
    (it) => it.cacheStatistics().pageBytes,
  );
  gaugeOf(
    "torus_store_index_header_bytes",
    "Size of the index headers in memory.",
    (it) => it.cacheStatistics().headerBytes,
  );
  counterOf(
    "torus_store_page_cache_requests_total",
    "Pages asked for.",
    (it) => it.cacheStatistics().requests,
  );
  counterOf(
    "torus_store_page_cache_hits_total",
    "Pages that were in memory.",
    (it) => it.cacheStatistics().hits,
  );
  counterOf(
    "torus_store_bucket_fetches_total",
    "Range requests for pages.",
    (it) => it.cacheStatistics().fetches,
  );
  for (const state of BLOCK_STATES) states.set({ state }, 0);
  return {
    observe(event) {
      switch (event.kind) {
        case "synced":
          syncs.inc();
          syncSeconds.observe(event.seconds);
          for (const state of BLOCK_STATES) states.set({ state }, event.counts[state]);
          lastLoaded.set(now() / 1000);
          break;
        case "sync-failed":
          syncs.inc();
          syncFailures.inc();
          syncSeconds.observe(event.seconds);
          break;
        case "block-loaded":
          loads.inc();
          break;
        case "block-dropped":
          drops.inc();
          break;
        case "block-broken":
          loadFailures.inc();
          break;
        case "block-look-failed":
          break;
      }
    },
    watch(gateway) {
      watched = gateway;
    },
  };
}
