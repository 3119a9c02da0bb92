/** From a local directory over a real S3 server to the gateway: the uploader's objects are what the gateway reads. */

import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { uploadBlock } from "@torus/block";
import { Matcher } from "@torus/model";
import { openBucket, parseBucketConfig } from "@torus/objstore";
import {
  findS3Server,
  S3_SERVER_MISSING,
  type S3Server,
  startS3Server,
} from "@torus/testkit/s3-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BucketGateway } from "./gateway.ts";

const ULID = "01M82YC7QKENRYZN3NA7W8CVT8";
const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden/thanos");
const weed = findS3Server();
const whyNot = weed === undefined ? ` (skipped: ${S3_SERVER_MISSING})` : "";
const scratch = mkdtempSync(path.join(tmpdir(), "torus-gateway-s3-"));
let s3: S3Server | undefined;
beforeAll(async () => {
  if (weed !== undefined) s3 = await startS3Server(weed);
});
afterAll(async () => {
  await s3?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

test.skipIf(weed === undefined)(`a block goes up and is answered from S3${whyNot}`, async () => {
  const config = `${s3?.bucketConfig("blocks")}prefix: some/where\n`;
  const bucket = await openBucket(parseBucketConfig(config));
  const block = path.join(GOLDEN, "bucket", ULID);
  for (const name of ["chunks", "index"]) {
    cpSync(path.join(block, name), path.join(scratch, "tsdb", ULID, name), { recursive: true });
  }
  cpSync(path.join(GOLDEN, "local-meta.json"), path.join(scratch, "tsdb", ULID, "meta.json"));
  await uploadBlock(bucket, path.join(scratch, "tsdb"), ULID, {
    labels: { replica: "r0" },
    source: "receive",
    hashFunc: "",
    now: Date.now,
  });
  expect(Buffer.from(await bucket.get(`${ULID}/index`))).toEqual(
    readFileSync(path.join(block, "index")),
  );
  const gateway = new BucketGateway(bucket, {
    ignoreDeletionMarksDelayMs: 0,
    consistencyDelayMs: 0,
    timeRange: () => ({ mint: Number.MIN_SAFE_INTEGER, maxt: Number.MAX_SAFE_INTEGER }),
    concurrency: 4,
    dataDir: path.join(scratch, "data"),
    pageCacheBytes: 1 << 20,
    headerCacheBytes: 1 << 20,
    fetchConcurrency: 4,
    fetchLimitBytes: 0,
    blockSyncConcurrency: 4,
    now: Date.now,
    onEvent: () => undefined,
  });
  const { signal } = new AbortController();
  await gateway.sync(signal);
  const [served] = gateway.blocks();
  expect(served).toMatchObject({ ulid: ULID, labels: ["replica", "r0"] });
  let series = 0;
  let chunks = 0;
  const all = { mint: 0, maxt: Number.MAX_SAFE_INTEGER, skipChunks: false, limit: 0, signal };
  const matchers = [new Matcher("!=", "__name__", "")];
  for await (const batch of served?.queryable.selectChunks({ ...all, matchers }) ?? []) {
    series += batch.length;
    for (const one of batch) chunks += one.chunks.length;
  }
  expect([series, chunks]).toEqual([6, 11]);
  await bucket.close();
});
