/** `torus uploader`: ships finished blocks of local TSDB directories into the bucket. */

import { errorText, type Logger, startLoop } from "@torus/server";
import type { ShipperEvent, TsdbDirectory } from "@torus/uploader";
import { createShipperMetrics, Uploader } from "@torus/uploader";
import { defineCommand } from "../command.ts";
import { commonFlags, runComponent } from "../component.ts";
import { flag, flagGroup } from "../flags.ts";
import { objstoreFlags, requireBucket } from "../objstore-flags.ts";

export const uploader = defineCommand({
  name: "uploader",
  summary: "ship finished blocks of local TSDB directories into the bucket",
  flags: {
    ...commonFlags,
    ...flagGroup("Blocks", {
      "tsdb.path": flag.requiredList(
        "Data directory of a receiver (a folder per tenant) or of a Prometheus server; may be repeated.",
        { placeholder: "DIR" },
      ),
      label: flag.labels(
        "External label of the blocks; may be repeated. Without any, those that the receiver left in external-labels.json beside its tenants.",
      ),
      "receive.tenant-label-name": flag.string(
        "Label that carries the tenant, where the directory does not say.",
        { default: "tenant_id" },
      ),
      "hash-func": flag.choice("Hash of each file to be written into meta.json.", ["", "SHA256"], {
        default: "",
      }),
      "shipper.upload-compacted": flag.boolean("Ship blocks of a higher compaction level too."),
      "shipper.allow-out-of-order-uploads": flag.boolean(
        "Go on with younger blocks when one cannot be shipped.",
      ),
      "shipper.sync-interval": flag.duration("Pause between two looks at the directories.", {
        default: "30s",
        hidden: true,
      }),
    }),
    ...objstoreFlags,
  },
  run: (config, env) =>
    runComponent("uploader", config, env, async ({ log, metrics, lifecycle }) => {
      const bucket = await requireBucket(config, metrics);
      lifecycle.add("bucket", { stop: () => bucket.close() });
      const shipperMetrics = createShipperMetrics(metrics);
      const shipping = new Uploader(bucket, {
        paths: config["tsdb.path"],
        labels: Object.fromEntries(config.label),
        tenantLabelName: config["receive.tenant-label-name"],
        hashFunc: config["hash-func"],
        uploadCompacted: config["shipper.upload-compacted"],
        allowOutOfOrderUploads: config["shipper.allow-out-of-order-uploads"],
        now: Date.now,
        onEvent: (directory, event) => {
          shipperMetrics.observe(directory.tenant, event);
          logEvent(log, directory, event);
        },
      });
      lifecycle.add("shippers", { stop: () => shipping.close() });
      const loop = startLoop(
        async (signal) => {
          const { errors } = await shipping.sync(signal);
          for (const [dir, err] of errors) log.error("ship blocks", { dir, err });
        },
        config["shipper.sync-interval"],
        (error) => log.error("look for blocks", { err: errorText(error) }),
      );
      lifecycle.add("loop", loop);
      log.info("shipping blocks", { bucket: bucket.name, paths: config["tsdb.path"].join(",") });
    }),
});

function logEvent(log: Logger, { dir, tenant }: TsdbDirectory, event: ShipperEvent): void {
  switch (event.kind) {
    case "uploaded": {
      const { minTime, maxTime, stats } = event.meta;
      const samples = stats.numSamples;
      log.info("uploaded block", { block: event.ulid, tenant, minTime, maxTime, samples });
      break;
    }
    case "upload-failed":
      log.error("upload block", { block: event.ulid, dir, err: event.error });
      break;
    case "block-gone":
      log.info("block was deleted before its upload", { block: event.ulid, dir });
      break;
    case "block-unreadable":
      log.warn("block is left out", { block: event.ulid, dir, err: event.error });
      break;
    case "synced":
      break;
  }
}
