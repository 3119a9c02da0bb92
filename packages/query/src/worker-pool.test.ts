/** Query threads over a real endpoint in this process. */

import { createHttpMetrics, HttpServer, mountProbe, Probe } from "@torus/server";
import { EndpointSet, type EndpointState, openStoreClient } from "@torus/store";
import { Registry } from "prom-client";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { QueryJob, QueryTask } from "./query-job.ts";
import { quietLog, serveSynthetic } from "./synthetic-store.ts";
import { WorkerPool, type WorkerPoolOptions } from "./worker-pool.ts";

const START = 1_700_000_000_000;
let endpoints: readonly EndpointState[];
const running: (() => Promise<void> | void)[] = [];
const pools: WorkerPool[] = [];

beforeAll(async () => {
  const { address, stop } = await serveSynthetic([
    { name: "few", count: 50, samples: 120, startMs: START, stepMs: 15_000 },
    { name: "many", count: 5000, samples: 120, startMs: START, stepMs: 15_000 },
    {
      name: "fat",
      count: 40_000,
      samples: 120,
      startMs: START,
      stepMs: 15_000,
      pads: { labels: 20, size: 100 },
    },
  ]);
  running.push(stop);
  const set = new EndpointSet({
    connect: (spec) => openStoreClient(spec, 1 << 24),
    infoIntervalMs: 3_600_000,
    infoTimeoutMs: 5000,
    unhealthyTimeoutMs: 300_000,
    now: Date.now,
    log: quietLog,
  });
  set.set([{ address, strict: true, tls: null }]);
  running.push(() => set.stop());
  await set.start();
  endpoints = (await set.stores()).map(({ state }) => state);
});
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.stop();
});
afterAll(async () => {
  for (const stop of running.reverse()) await stop();
});

function open(options: Partial<WorkerPoolOptions> = {}, maxBytes = 0): WorkerPool {
  const pool = new WorkerPool({
    settings: {
      ringReplicaLabels: [],
      replicaLabels: [],
      algorithm: "penalty",
      spareReplicas: 0,
      responseTimeoutMs: 0,
      maxSamples: 50_000_000,
      maxBytes,
      maxTotalBytes: 0,
      lookbackDeltaMs: 300_000,
      noStepSubqueryIntervalMs: 60_000,
      features: [],
      maxMessageBytes: 1 << 24,
    },
    maxConcurrent: 2,
    log: quietLog,
    metrics: new Registry(),
    ...options,
  });
  pools.push(pool);
  return pool;
}

const DATA = {
  dedup: true,
  replicaLabels: null,
  partialResponse: false,
  maxResolutionMs: 0,
  tenant: "default-tenant",
};

function job(task: QueryTask): QueryJob {
  return { task, data: DATA, timeoutMs: 120_000, askedAtMs: 0 };
}

const evaluated = { lookbackDeltaMs: 300_000, limit: 0, stats: false, analyze: false };

const instant = (query: string) =>
  job({ kind: "instant", query, timeMs: START + 600_000, ...evaluated });

/** Steps through so many windows that it takes minutes. */
const endless = job({
  kind: "range",
  query: "sum(quantile_over_time(0.5, vector(1)[12h:1s]))",
  startMs: START,
  endMs: START + 10_000_000,
  stepMs: 1000,
  ...evaluated,
});

const never = () => new AbortController().signal;

async function body(pool: WorkerPool, asked: QueryJob, signal = never()): Promise<string> {
  const { parts } = await pool.run(asked, endpoints, signal);
  const bytes: Uint8Array[] = [];
  for await (const part of parts) bytes.push(part);
  return Buffer.concat(bytes).toString();
}

test("a query that computes for minutes delays neither others nor the probes, and ends when it is left", async () => {
  const pool = open({ abortGraceMs: 50 });
  const registry = new Registry();
  const http = new HttpServer({ log: quietLog, metrics: createHttpMetrics(registry) });
  const probe = new Probe(registry);
  mountProbe(http.app, probe, registry);
  probe.ready();
  const address = await http.listen("127.0.0.1:0");
  const left = new AbortController();
  let ended = false;
  const heavy = body(pool, endless, left.signal).finally(() => (ended = true));
  for (let i = 0; i < 3; i++) {
    expect(await body(pool, instant("count(few)"))).toContain('"50"');
    expect((await fetch(`http://${address}/-/ready`)).status).toBe(200);
  }
  expect(ended).toBe(false);
  expect(pool.running).toBe(1);
  left.abort();
  await expect(heavy).rejects.toMatchObject({ type: "canceled" });
  // The thread that did not stop by itself is replaced: as many queries as before can run.
  expect(await Promise.all([1, 2, 3].map((n) => body(pool, instant(`${n}`))))).toHaveLength(3);
  await http.stop(0);
});

test("a query above its bytes ends with the figure, and the next one is answered", async () => {
  const pool = open({}, 1_000_000);
  const over = /would hold \d+ bytes in memory, more than the 1000000 that a query may hold/;
  await expect(body(pool, instant("many"))).rejects.toMatchObject({
    type: "execution",
    message: expect.stringMatching(over) as string,
  });
  await expect(
    body(
      pool,
      job({
        kind: "series",
        selectors: ["fat"],
        mint: START,
        maxt: START + 60_000,
        limit: 0,
      }),
    ),
  ).rejects.toThrow(over);
  // What streams by is not held.
  expect(await body(pool, instant("count(many)"))).toContain('"5000"');
});

test("a thread that runs out of memory fails its own query only", async () => {
  const pool = open({ heapMb: 64 });
  const dying = body(pool, instant("fat"));
  const other = body(pool, instant("count(few)"));
  await expect(dying).rejects.toMatchObject({
    type: "execution",
    message: expect.stringContaining("ran out of memory") as string,
  });
  expect(await other).toContain('"50"');
  expect(await body(pool, instant("count(few)"))).toContain('"50"');
});

test("a thread waits for a client that does not read, and what it waited with is whole", async () => {
  const pool = open();
  const asked = job({
    kind: "range",
    query: "many",
    startMs: START,
    endMs: START + 1_780_000,
    stepMs: 10_000,
    ...evaluated,
  });
  const { parts } = await pool.run(asked, endpoints, never());
  expect(await body(pool, instant("count(few)"))).toContain('"50"');
  expect(pool.running).toBe(1);
  const bytes: Uint8Array[] = [];
  for await (const part of parts) bytes.push(part);
  const { data } = JSON.parse(Buffer.concat(bytes).toString()) as {
    data: { result: { values: unknown[] }[] };
  };
  expect(data.result).toHaveLength(5000);
  expect(data.result[4999]?.values).toHaveLength(179);
  expect(pool.running).toBe(0);
});

test("an answer that nobody reads to its end gives its thread back", async () => {
  const pool = open({ maxConcurrent: 1, abortGraceMs: 50 });
  const asked = job({
    kind: "range",
    query: "many",
    startMs: START,
    endMs: START + 1_780_000,
    stepMs: 10_000,
    ...evaluated,
  });
  const { parts } = await pool.run(asked, endpoints, never());
  for await (const part of parts) {
    expect(part.length).toBeGreaterThan(0);
    break;
  }
  expect(await body(pool, instant("count(few)"))).toContain('"50"');
});

test("what cannot be evaluated is told by its type", async () => {
  const pool = open();
  await expect(body(pool, instant("up{"))).rejects.toMatchObject({ type: "bad_data" });
  await expect(body(pool, instant("few + on() few"))).rejects.toMatchObject({ type: "execution" });
});

test("label values are cut at the limit, which is told", async () => {
  const pool = open();
  const selected = { selectors: [], mint: START, maxt: START + 60_000 };
  const values = (limit: number) =>
    body(pool, job({ kind: "labelValues", name: "__name__", limit, ...selected }));
  expect(JSON.parse(await values(2))).toEqual({
    status: "success",
    data: ["fat", "few"],
    warnings: ["results truncated due to limit"],
  });
  expect(JSON.parse(await values(3))).toEqual({ status: "success", data: ["fat", "few", "many"] });
});
