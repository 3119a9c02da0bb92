/** Tenants to which nothing comes: closed, answering from their blocks, opened again by the next sample. */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { InMemoryBucket } from "@torus/objstore";
import { encodeWriteRequest } from "@torus/protocol";
import { chunkSampleCount, Tsdb } from "@torus/tsdb";
import { createShipperMetrics } from "@torus/uploader";
import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import { withDecodedRequest } from "./decode.ts";
import { writeLocal } from "./local.ts";
import { Tenants, type TenantsOptions } from "./tenants.ts";
import { quiet } from "./test-cluster.ts";

const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));
const signal = new AbortController().signal;

const dirs: string[] = [];
const running: Tenants[] = [];
afterEach(async () => {
  for (const tenants of running.splice(0)) await tenants.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

type Clock = { now: number };

async function open(
  clock: Clock,
  options: Partial<TenantsOptions> = {},
  retentionMs = 0,
): Promise<Tenants> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-idle-"));
  dirs.push(dir);
  const tenants = await Tenants.open({
    path: dir,
    tsdb: {
      blockDurationMs: 2 * HOUR,
      retentionMs,
      maxBytes: 0,
      outOfOrderWindowMs: 0,
      maxExemplars: 0,
      snapshotBytes: 0,
      walCompression: "none",
    },
    labels: { receive_replica: "a" },
    tenantLabelName: "tenant_id",
    defaultTenant: "default-tenant",
    maxTenants: 20,
    idleMs: 4 * HOUR,
    shipping: null,
    ringLabels: () => ({}),
    limits: () => ({
      headSeries: 0,
      headSeriesPerMetric: 0,
      outOfOrderWindowMs: null,
      retentionMs: null,
    }),
    now: () => clock.now,
    log: quiet,
    ...options,
  });
  running.push(tenants);
  return tenants;
}

async function write(tenants: Tenants, name: string, time: number, value = 1): Promise<void> {
  const body = encodeWriteRequest([
    {
      labels: ["__name__", "up", "job", "x"],
      timestamps: Float64Array.of(time),
      values: Float64Array.of(value),
    },
  ]);
  const { db } = await tenants.get(name);
  const { failed } = withDecodedRequest(body, null, (request) => writeLocal(db, request, null));
  expect(failed).toEqual([]);
}

/** Series and samples that the tenant answers with, wherever it stands. */
async function held(tenants: Tenants, name: string): Promise<[series: number, samples: number]> {
  const source =
    tenants.peek(name)?.db ?? tenants.resting().find((each) => each.name === name)?.blocks;
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal,
  };
  let series = 0;
  let samples = 0;
  for await (const batch of source?.queryable().selectChunks(select) ?? []) {
    for (const each of batch) {
      series++;
      for (const chunk of each.chunks) samples += chunkSampleCount(chunk);
    }
  }
  return [series, samples];
}

test("a tenant is closed when nothing comes for long, answers from its blocks, and comes back", async () => {
  const clock = { now: START };
  const tenants = await open(clock);
  await write(tenants, "quiet", START);
  await write(tenants, "busy", START);
  const dir = tenants.peek("quiet")?.db.dir ?? "";
  clock.now += 3 * HOUR;
  await write(tenants, "busy", clock.now);
  await tenants.maintain(signal);
  expect(tenants.resting()).toEqual([]);
  clock.now += 2 * HOUR;
  await tenants.maintain(signal);
  expect(tenants.list().map(({ name }) => name)).toEqual(["default-tenant", "busy"]);
  expect(tenants.resting().map(({ name }) => name)).toEqual(["quiet"]);
  expect(await held(tenants, "quiet")).toEqual([1, 1]);
  // Nobody holds its directory.
  const other = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: () => clock.now,
    log: () => undefined,
  });
  await other.close();
  await write(tenants, "quiet", clock.now);
  expect(tenants.resting()).toEqual([]);
  expect(await held(tenants, "quiet")).toEqual([1, 2]);
});

test("samples that come while a tenant is closed are in it, none is refused", async () => {
  for (let round = 0; round < 20; round++) {
    const clock = { now: START };
    const tenants = await open(clock);
    await write(tenants, "t", START);
    clock.now += 5 * HOUR;
    const maintained = tenants.maintain(signal);
    // At another moment of the closing each time.
    for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
    await write(tenants, "t", clock.now, round);
    await maintained;
    await write(tenants, "t", clock.now + 1, round);
    expect([round, ...(await held(tenants, "t"))]).toEqual([round, 1, 3]);
    expect(tenants.peek("t")?.db.maxTime).toBe(clock.now + 1);
    await tenants.close();
    running.length = 0;
  }
}, 60_000);

test("what is not in the bucket yet stays with a tenant, and what is too old goes with it", async () => {
  const clock = { now: START };
  let isDown = true;
  class FailingBucket extends InMemoryBucket {
    override putFile(...args: Parameters<InMemoryBucket["putFile"]>): Promise<void> {
      return isDown ? Promise.reject(new Error("the bucket is down")) : super.putFile(...args);
    }
  }
  const bucket = new FailingBucket();
  const shipping = {
    bucket,
    metrics: createShipperMetrics(new Registry()),
    hashFunc: "" as const,
    uploadCompacted: false,
    allowOutOfOrderUploads: false,
  };
  const tenants = await open(clock, { shipping }, 24 * HOUR);
  await write(tenants, "t", START);
  const dir = tenants.peek("t")?.db.dir ?? "";
  clock.now += 5 * HOUR;
  await tenants.maintain(signal);
  clock.now += 48 * HOUR;
  await tenants.maintain(signal);
  expect(await held(tenants, "t")).toEqual([1, 1]);
  expect(existsSync(dir)).toBe(true);
  isDown = false;
  await tenants.maintain(signal);
  expect(tenants.resting()).toEqual([]);
  expect(existsSync(dir)).toBe(false);
  // Its name is as any other's.
  await write(tenants, "t", clock.now);
  expect(await held(tenants, "t")).toEqual([1, 1]);
});
