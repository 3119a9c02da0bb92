import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import { FairGate, GateFullError } from "./fair-gate.ts";
import { type LimitError, Limiter } from "./limiter.ts";
import { parseLimits } from "./limits.ts";
import { createReceiveMetrics } from "./metrics.ts";
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
    samplesPerSecond: 5,
    bytesPerSecond: 0,
    labels: { count: 0, nameLength: 0, valueLength: 0 },
  });
  expect(limits.of("b")).toMatchObject({ series: 10, samplesPerSecond: 0 });
});

test.each([
  ["write: {defaults: {}}", "field defaults not found in write"],
  ["write: {default: {request: {series: 1}}}", "field series not found in write.default.request"],
  ["write: {default: {head_series_limit: x}}", "head_series_limit is not a whole number"],
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
  time = 200;
  expect(take("a", 60)).toBe(0);
  // More than a second's worth goes when the bucket is full, and is paid for afterwards.
  time = 5000;
  expect(take("a", 1000)).toBe(0);
  expect(take("a", 1)).toBeGreaterThan(8);
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
  await expect(gate.enter("c")).rejects.toThrow(GateFullError);
  gate.leave();
  await Promise.all(all);
  expect(order).toEqual(["a", "b", "a", "b", "a", "a", "a"]);
});
