/** The `thanos_shipper_*` metrics, by tenant where a directory has one, as Thanos' receive labels them. */

import { Counter, Gauge, type Registry } from "prom-client";
import type { ShipperEvent } from "./shipper.ts";

export type ShipperMetrics = {
  /** @param tenant Undefined for a TSDB directory that is no tenant's. */
  observe(tenant: string | undefined, event: ShipperEvent): void;
};

/** Once per registry. */
export function createShipperMetrics(registry: Registry): ShipperMetrics {
  const counter = (name: string, help: string) =>
    new Counter({ name, help, labelNames: ["tenant"], registers: [registry] });
  const syncs = counter("thanos_shipper_dir_syncs_total", "Looks at a directory for new blocks.");
  const syncFailures = counter("thanos_shipper_dir_sync_failures_total", "Looks that failed.");
  const uploads = counter("thanos_shipper_uploads_total", "Blocks put into the bucket.");
  const uploadFailures = counter(
    "thanos_shipper_upload_failures_total",
    "Blocks that could not be put into the bucket; each try counts.",
  );
  const corrupted = counter(
    "thanos_shipper_corrupted_blocks_total",
    "Blocks that could not be read, at each look.",
  );
  const compacted = new Gauge({
    name: "thanos_shipper_upload_compacted_done",
    help: "1 when all blocks of the directory are in the bucket, compacted ones too.",
    labelNames: ["tenant"],
    registers: [registry],
  });
  return {
    observe(tenant, event) {
      const labels = tenant === undefined ? {} : { tenant };
      switch (event.kind) {
        case "synced":
          syncs.inc(labels);
          // With 0, so that the series are there before the first failure.
          syncFailures.inc(labels, event.failed ? 1 : 0);
          uploads.inc(labels, 0);
          uploadFailures.inc(labels, 0);
          corrupted.inc(labels, 0);
          compacted.set(labels, event.compacted ? 1 : 0);
          break;
        case "uploaded":
          uploads.inc(labels);
          break;
        case "upload-failed":
          uploadFailures.inc(labels);
          break;
        case "block-unreadable":
          corrupted.inc(labels);
          break;
        case "block-gone":
          break;
      }
    },
  };
}
