/** `torus store`: the store gateway. Serves the blocks of a bucket over StoreAPI. */

import type { Logger } from "@torus/server";
import { BucketGateway, createGatewayMetrics, type GatewayEvent, storeMethods } from "@torus/store";
import { defineCommand } from "../command.ts";
import { commonFlags, runComponent } from "../component.ts";
import { flag, flagGroup } from "../flags.ts";
import { objstoreFlags, requireBucket } from "../objstore-flags.ts";

export const store = defineCommand({
  name: "store",
  summary: "serve blocks from the bucket over StoreAPI",
  flags: {
    ...commonFlags,
    ...flagGroup("Blocks", {
      "data-dir": flag.string("Directory of index headers; what is in it can be made again.", {
        default: "./data",
        placeholder: "DIR",
      }),
      "sync-block-duration": flag.duration("Pause between two looks at the bucket.", {
        default: "15m",
      }),
      "block-sync-concurrency": flag.integer("New blocks opened at a time.", { default: "20" }),
      "block-meta-fetch-concurrency": flag.integer("Blocks looked at at a time.", {
        default: "32",
      }),
      "min-time": flag.time("Blocks that end before are not served.", {
        default: "0000-01-01T00:00:00Z",
      }),
      "max-time": flag.time("Blocks that begin after are not served.", {
        default: "9999-12-31T23:59:59Z",
      }),
      "consistency-delay": flag.duration(
        "Younger blocks are not served yet, except those of a compactor.",
        { default: "0s" },
      ),
      "ignore-deletion-marks-delay": flag.duration(
        "Blocks marked for deletion are served for this long.",
        { default: "24h" },
      ),
    }),
    ...flagGroup("Limits", {
      "store.page-cache-size": flag.bytes("Memory for pages of indexes and chunks.", {
        default: "512MB",
      }),
      "index-cache-size": flag.bytes(
        "Memory for index headers; those not used for longest are read from --data-dir again.",
        { default: "250MB" },
      ),
      "store.fetch-concurrency": flag.integer("Range requests to the bucket at a time.", {
        default: "32",
      }),
      "store.grpc.downloaded-bytes-limit": flag.bytes(
        "Bytes that one call may fetch of one block; 0 for no limit.",
        { default: "0" },
      ),
    }),
    ...objstoreFlags,
  },
  run: (config, env) =>
    runComponent("store", config, env, async ({ log, metrics, lifecycle, grpc }) => {
      const bucket = await requireBucket(config, metrics);
      lifecycle.add("bucket", { stop: () => bucket.close() });
      const gatewayMetrics = createGatewayMetrics(metrics, Date.now);
      const gateway = new BucketGateway(bucket, {
        ignoreDeletionMarksDelayMs: config["ignore-deletion-marks-delay"],
        consistencyDelayMs: config["consistency-delay"],
        timeRange: () => ({
          mint: config["min-time"](Date.now()),
          maxt: config["max-time"](Date.now()),
        }),
        concurrency: config["block-meta-fetch-concurrency"],
        dataDir: config["data-dir"],
        pageCacheBytes: config["store.page-cache-size"],
        headerCacheBytes: config["index-cache-size"],
        fetchConcurrency: config["store.fetch-concurrency"],
        fetchLimitBytes: config["store.grpc.downloaded-bytes-limit"],
        blockSyncConcurrency: config["block-sync-concurrency"],
        now: Date.now,
        onEvent: (event) => {
          gatewayMetrics.observe(event);
          logEvent(log, event);
        },
      });
      gatewayMetrics.watch(gateway);
      let isSynced = false;
      grpc.add(
        storeMethods({
          componentType: "store",
          sources: (wanted) => gateway.blocksFor(wanted),
          ready: () => isSynced,
          openEnded: false,
        }),
      );
      // Not ready before the first look, so that nobody takes a missing answer for no data.
      await new Promise<void>((resolve) => {
        const syncing = gateway.keepSynced(config["sync-block-duration"], lifecycle.signal, () => {
          isSynced = true;
          resolve();
        });
        const ended = syncing.finally(resolve);
        // It ends by the lifecycle's signal.
        lifecycle.add("sync", { stop: () => ended });
      });
    }),
});

function logEvent(log: Logger, event: GatewayEvent): void {
  switch (event.kind) {
    case "synced":
      log.debug("looked at the bucket", { seconds: event.seconds, ...event.counts });
      break;
    case "sync-failed":
      log.error("look at the bucket", { err: event.error });
      break;
    case "block-loaded":
      log.info("serving block", { block: event.ulid, resolutionMs: event.resolutionMs });
      break;
    case "block-dropped":
      log.info("no longer serving block", { block: event.ulid });
      break;
    case "block-broken":
      log.error("block is set aside", { block: event.ulid, err: event.error });
      break;
    case "block-look-failed":
      log.warn("look at block", { block: event.ulid, err: event.error });
      break;
  }
}
