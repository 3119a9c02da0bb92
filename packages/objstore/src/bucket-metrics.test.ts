import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { withBucketMetrics } from "./bucket-metrics.ts";
import { InMemoryBucket } from "./memory.ts";

test("operations, failures and bytes are counted under the bucket's name", async () => {
  const registry = new Registry();
  const bucket = withBucketMetrics(new InMemoryBucket("b"), registry, () => 5000);
  await bucket.put("x", new Uint8Array(7));
  await bucket.get("x");
  await expect(bucket.get("none")).rejects.toThrow(/does not exist/);
  await expect(bucket.get("..")).rejects.toThrow(/has the part/);
  const text = await registry.metrics();
  for (const line of [
    'thanos_objstore_bucket_operations_total{bucket="b",operation="get"} 3',
    'thanos_objstore_bucket_operations_total{bucket="b",operation="iter"} 0',
    'thanos_objstore_bucket_operation_failures_total{bucket="b",operation="get"} 1',
    'thanos_objstore_bucket_operation_fetched_bytes_total{bucket="b",operation="get"} 7',
    'thanos_objstore_bucket_last_successful_upload_time{bucket="b"} 5',
  ]) {
    expect(text).toContain(`${line}\n`);
  }
});
