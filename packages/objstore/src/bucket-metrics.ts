/** The `thanos_objstore_bucket_*` metrics, fed by an `ObservedBucket`. */

import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Bucket } from "./bucket.ts";
import { BUCKET_OPERATIONS, ObservedBucket } from "./observed.ts";

/** The bucket, with its operations counted in `registry`; once per registry. */
export function withBucketMetrics(bucket: Bucket, registry: Registry, now: () => number): Bucket {
  const labelNames = ["bucket", "operation"];
  const registers = [registry];
  const operations = new Counter({
    name: "thanos_objstore_bucket_operations_total",
    help: "Operations against the bucket.",
    labelNames,
    registers,
  });
  const failures = new Counter({
    name: "thanos_objstore_bucket_operation_failures_total",
    help: "Operations against the bucket that failed; a missing object is no failure.",
    labelNames,
    registers,
  });
  const seconds = new Histogram({
    name: "thanos_objstore_bucket_operation_duration_seconds",
    help: "Duration of operations that succeeded.",
    labelNames,
    buckets: [0.001, 0.01, 0.1, 0.3, 0.6, 1, 3, 6, 9, 20, 30, 60, 90, 120],
    registers,
  });
  const fetched = new Counter({
    name: "thanos_objstore_bucket_operation_fetched_bytes_total",
    help: "Bytes read from the bucket.",
    labelNames,
    registers,
  });
  const lastUpload = new Gauge({
    name: "thanos_objstore_bucket_last_successful_upload_time",
    help: "Unix seconds of the last upload that succeeded.",
    labelNames: ["bucket"],
    registers,
  });
  // Thanos' label is the bucket's own name, without its type.
  const name = bucket.name.replace(/^[A-Z0-9]+: /, "");
  for (const operation of BUCKET_OPERATIONS) {
    operations.inc({ bucket: name, operation }, 0);
    failures.inc({ bucket: name, operation }, 0);
  }
  lastUpload.set({ bucket: name }, 0);
  return new ObservedBucket(bucket, (outcome) => {
    const labels = { bucket: name, operation: outcome.operation };
    operations.inc(labels);
    if (outcome.failed) {
      failures.inc(labels);
      return;
    }
    seconds.observe(labels, outcome.seconds);
    if (outcome.operation === "get" || outcome.operation === "get_range") {
      fetched.inc(labels, outcome.bytes);
    }
    if (outcome.operation === "upload") lastUpload.set({ bucket: name }, now() / 1000);
  });
}
