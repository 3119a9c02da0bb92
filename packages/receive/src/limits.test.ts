import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyDecode } from "@torus/kernels";
import { createGrpcClient, GrpcStatus } from "@torus/server";
import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import { FairGate, GateFullError } from "./fair-gate.ts";
import { type LimitError, Limiter } from "./limiter.ts";
import { parseLimits } from "./limits.ts";
import { createReceiveMetrics } from "./metrics.ts";
import { REMOTE_WRITE } from "./peers.ts";
import { Node, post, type Sample, writeBody } from "./test-cluster.ts";

const root = mkdtempSync(path.join(tmpdir(), "torus-limits-"));
const nodes: Node[] = [];
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  rmSync(root, { recursive: true, force: true });
});

const now = Date.now();
const series = (count: number, from = 0): Sample[] =>
  Array.from({ length: count }, (_, i) => [["__name__", "m", "i", String(from + i)], now, 1]);

test("a tenant has the default's limits where it sets none", () => {
  const limits = parseLimits(`
write:
  global: {max_concurrency: 3, meta_monitoring_url: http://x}
  default:
    request: {size_bytes_limit: 100, series_limit: 10}
    head_series_limit: 1000
  tenants:
    a: {request: {series_limit: 0}, rate: {samples_per_second: 5}}
`);
  expect(limits.maxConcurrency).toBe(3);
  expect(limits.of("a")).toEqual({
    sizeBytes: 100,
    series: 0,
    samples: 0,
    headSeries: 1000,
    headSeriesPerMetric: 0,
    samplesPerSecond: 5,
    bytesPerSecond: 0,
    labels: { count: 0, nameLength: 0, valueLength: 0 },
    outOfOrderWindowMs: null,
    retentionMs: null,
  });
  expect(limits.of("b")).toMatchObject({ series: 10, samplesPerSecond: 0 });
});

test.each([
  ["write: {defaults: {}}", "field defaults not found in write"],
  ["write: {default: {request: {series: 1}}}", "field series not found in write.default.request"],
  ["write: {default: {head_series_limit: x}}", "head_series_limit is not a whole number"],
  ["write: {default: {storage: {retention: soon}}}", "retention is not a duration"],
  ["write: [", "limits configuration"],
  ["- write", "the document is not a mapping"],
])("%s is refused", (text, message) => expect(() => parseLimits(text)).toThrow(message));

test("limits answer 413 and 429, and new ones hold without a restart", async () => {
  const node = new Node(path.join(root, "data"));
  nodes.push(node);
  await node.listen();
  const file = `${root}.yaml`;
  writeFileSync(
    file,
    "write: {default: {request: {series_limit: 5, samples_limit: 4}, head_series_limit: 6}}",
  );
  const receiver = await node.open({
    localEndpoint: "",
    limits: { source: { file, inline: "" }, refreshMs: 60_000 },
  });
  expect((await post(node.http, writeBody(series(6)))).status).toBe(413);
  expect((await post(node.http, writeBody(series(5)))).status).toBe(413);
  expect((await post(node.http, writeBody(series(4)))).status).toBe(204);
  const over = await post(node.http, writeBody(series(4, 4)));
  expect(over).toMatchObject({ status: 429, retryAfter: "5" });
  expect(over.text).toContain("limit of head series reached");
  // Series that are there already go on.
  expect((await post(node.http, writeBody(series(4)))).status).toBe(204);
  writeFileSync(file, "write: {default: {request: {size_bytes_limit: 20}}}");
  await receiver.checkLimits();
  expect((await post(node.http, writeBody(series(4, 4)))).status).toBe(413);
  writeFileSync(file, "write: {nonsense: 1}");
  await receiver.checkLimits();
  expect(await node.metrics.metrics()).toContain("thanos_receive_limits_config_reload_err_total 1");
  expect((await post(node.http, writeBody(series(4, 4)))).status).toBe(413);
  rmSync(file);
});

test("a rate lets a second's worth through and says when there is room again", () => {
  let time = 0;
  const limiter = new Limiter(createReceiveMetrics(new Registry()), () => time);
  limiter.apply(parseLimits("write: {default: {rate: {samples_per_second: 100}}}"), null);
  limiter.takeRate("a", "samples", 60);
  const take = (tenant: string, amount: number) => {
    try {
      limiter.takeRate(tenant, "samples", amount);
      return 0;
    } catch (error) {
      return (error as LimitError).retryAfterSeconds;
    }
  };
  expect(take("a", 60)).toBe(1);
  expect(take("b", 60)).toBe(0);
  // It does not lose its turn to smaller ones.
  expect(take("a", 1)).toBe(1);
  time = 200;
  expect(take("a", 60)).toBe(0);
  // More than a second's worth goes when the bucket is full, and is paid for afterwards.
  time = 5000;
  expect(take("a", 1000)).toBe(0);
  expect(take("a", 1)).toBeGreaterThan(8);
});

const HOUR = 3_600_000;

async function ingestor(name: string, limits: string): Promise<Node> {
  const node = new Node(path.join(root, name));
  nodes.push(node);
  await node.listen();
  const source = { file: "", inline: limits };
  await node.open({ localEndpoint: "", limits: { source, refreshMs: 60_000 } });
  return node;
}

test("a tenant has its own out-of-order window and retention", async () => {
  const node = await ingestor(
    "storage",
    "write: {tenants: {a: {storage: {out_of_order_time_window: 6h, retention: 4h}}}}",
  );
  const write = (tenant: string, at: number) =>
    post(node.http, writeBody([[["__name__", "m"], at, 1]]), { "THANOS-TENANT": tenant });
  for (const tenant of ["a", "b"]) {
    expect((await write(tenant, now - 10 * HOUR)).status).toBe(204);
    expect((await write(tenant, now)).status).toBe(204);
  }
  expect((await write("a", now - HOUR / 2)).status).toBe(204);
  expect((await write("b", now - HOUR / 2)).status).toBe(409);
  const tenants = node.receiver?.tenants;
  await tenants?.maintain(new AbortController().signal);
  const oldest = (tenant: string) => tenants?.peek(tenant)?.db.minTime;
  expect(oldest("a")).toBeGreaterThan(now - 4 * HOUR);
  expect(oldest("b")).toBeLessThan(now - 9 * HOUR);
});

test("a metric has as many series as its tenant allows", async () => {
  const node = await ingestor("metric", "write: {default: {head_series_per_metric_limit: 3}}");
  const other: Sample = [["__name__", "n", "i", "0"], now, 1];
  const first = await post(node.http, writeBody([...series(5), other]));
  expect(first).toMatchObject({ status: 429, retryAfter: "5" });
  expect(first.text).toContain("2 × limit of head series reached");
  const held = ["m,i,0", "m,i,1", "m,i,2", "n,i,0"].map((labels) => `__name__,${labels}`);
  expect(await node.series()).toEqual(held);
  // Those that are there go on, whoever brings them.
  expect((await post(node.http, writeBody(series(3)))).status).toBe(204);
  expect((await post(node.http, writeBody(series(1, 9)))).status).toBe(429);
  const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
  const tenant = Buffer.from("default-tenant");
  const forwarded = (from: number) =>
    Buffer.concat([
      snappyDecode(writeBody(series(1, from)), 1 << 20),
      Buffer.of(0x12, tenant.length),
      tenant,
      Buffer.of(0x18, 1),
    ]);
  const send = (from: number) => client.unary(REMOTE_WRITE, forwarded(from), { timeoutMs: 5000 });
  await expect(send(9)).rejects.toMatchObject({ code: GrpcStatus.RESOURCE_EXHAUSTED });
  await send(2);
  client.close();
  expect(await node.series()).toEqual(held);
});

test("a tenant's storage follows new limits", async () => {
  const file = path.join(root, "storage.yaml");
  mkdirSync(root, { recursive: true });
  writeFileSync(file, "write: {}");
  const node = new Node(path.join(root, "followed"));
  nodes.push(node);
  await node.listen();
  const source = { file, inline: "" };
  const receiver = await node.open({ localEndpoint: "", limits: { source, refreshMs: 60_000 } });
  const write = (at: number) => post(node.http, writeBody([[["__name__", "m"], at, 1]]));
  expect((await write(now)).status).toBe(204);
  expect((await write(now - 1000)).status).toBe(409);
  writeFileSync(file, "write: {default: {storage: {out_of_order_time_window: 1m}}}");
  await receiver.checkLimits();
  expect((await write(now - 1000)).status).toBe(204);
});

test.each([
  ["..", "tenant name not valid"],
  ["a/b", "tenant name not valid"],
  ["lost+found", "tenant name not valid"],
])("tenant %s is refused over gRPC", async (tenant, message) => {
  const node = await ingestor("names", "");
  const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
  const name = Buffer.from(tenant);
  const body = snappyDecode(writeBody(series(1)), 1 << 20);
  const request = Buffer.concat([body, Buffer.of(0x12, name.length), name, Buffer.of(0x18, 1)]);
  await expect(client.unary(REMOTE_WRITE, request, { timeoutMs: 5000 })).rejects.toMatchObject({
    code: GrpcStatus.INVALID_ARGUMENT,
    message: expect.stringContaining(message),
  });
  client.close();
});

test("what is refused by its headers is answered, and the connection goes on", async () => {
  const node = await ingestor(
    "refused",
    "write: {tenants: {a: {rate: {bytes_per_second: 10}}, b: {request: {size_bytes_limit: 10}}}}",
  );
  const large = new Uint8Array(600_000);
  expect((await post(node.http, writeBody(series(1)), { "THANOS-TENANT": "a" })).status).toBe(204);
  for (let i = 0; i < 5; i++) {
    const over = await post(node.http, large, { "THANOS-TENANT": "a" });
    expect(over).toMatchObject({ status: 429 });
    expect(Number(over.retryAfter)).toBeGreaterThan(0);
    expect((await post(node.http, large, { "THANOS-TENANT": "b" })).status).toBe(413);
    expect((await post(node.http, writeBody(series(1)))).status).toBe(204);
  }
});

test("a tenant at ten times its limit costs another one no request", async () => {
  const node = await ingestor(
    "fair",
    "write: {global: {max_concurrency: 2}, tenants: {a: {rate: {samples_per_second: 200}}}}",
  );
  const counts = new Map<number, number>();
  const started = Date.now();
  let isOver = false;
  let sent = 0;
  const flood = async (lane: number) => {
    while (!isOver && sent < 4000) {
      const n = sent++;
      const answer = await post(node.http, writeBody(series(20, lane * 20)), {
        "THANOS-TENANT": "a",
      });
      counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
      if (answer.status === 429) expect(Number(answer.retryAfter)).toBeGreaterThan(0);
      if (n % 10 === 0) await new Promise(setImmediate);
    }
  };
  const lanes = Array.from({ length: 8 }, (_, lane) => flood(lane));
  const others: number[] = [];
  for (let i = 0; i < 100; i++) {
    const body = writeBody([[["__name__", "b"], now + i, i]]);
    others.push((await post(node.http, body, { "THANOS-TENANT": "b" })).status);
  }
  isOver = true;
  await Promise.all(lanes);
  const seconds = (Date.now() - started) / 1000;
  expect(new Set(others)).toEqual(new Set([204]));
  expect(node.receiver?.tenants?.peek("b")?.db.maxTime).toBe(now + 99);
  expect(new Set(counts.keys())).toEqual(new Set([204, 429]));
  // A second's worth at once, and then what the rate gives; the last request may overdraw.
  expect((counts.get(204) ?? 0) * 20).toBeLessThanOrEqual(200 * (seconds + 1) + 20);
  expect(counts.get(429)).toBeGreaterThan(0);
});

test("waiting tenants take turns, whatever the length of their queues", async () => {
  const gate = new FairGate(() => 1, 7);
  const order: string[] = [];
  const request = async (tenant: string) => {
    await gate.enter(tenant);
    order.push(tenant);
    await new Promise(setImmediate);
    gate.leave();
  };
  await gate.enter("x");
  const all = ["a", "a", "a", "a", "a", "b", "b"].map(request);
  const results = Promise.allSettled(all);
  await expect(gate.enter("a")).rejects.toThrow(GateFullError);
  // Whoever waits with less than the longest queue takes the last place of it.
  const late = request("c");
  gate.leave();
  await late;
  expect((await results).map(({ status }) => status === "fulfilled")).toEqual([
    true,
    true,
    true,
    true,
    false,
    true,
    true,
  ]);
  expect(order).toEqual(["a", "b", "c", "a", "b", "a", "a"]);
});

test("the queue of one tenant does not refuse another", async () => {
  const gate = new FairGate(() => 1, 4);
  await gate.enter("x");
  const floods = ["a", "a", "a", "a"].map((tenant) => gate.enter(tenant));
  const settled = Promise.allSettled(floods);
  const others = ["b", "c", "d"].map((tenant) => gate.enter(tenant));
  await expect(gate.enter("e")).rejects.toThrow(GateFullError);
  for (let i = 0; i < 5; i++) gate.leave();
  await Promise.all(others);
  expect((await settled).map(({ status }) => status)).toEqual([
    "fulfilled",
    "rejected",
    "rejected",
    "rejected",
  ]);
});
