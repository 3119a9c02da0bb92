import net from "node:net";
import { Registry } from "prom-client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CodedError } from "./error-codes.ts";
import { GrpcError, GrpcStatus } from "./grpc/service.ts";
import { createHttpMetrics } from "./http-metrics.ts";
import { HttpServer } from "./http-server.ts";
import { createLogger } from "./log.ts";
import { Probe } from "./probe.ts";
import { mountProbe } from "./probe-routes.ts";

const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const metrics = new Registry();
const httpMetrics = createHttpMetrics(metrics);
const probe = new Probe(metrics);
const server = new HttpServer({ log, metrics: httpMetrics });
let base: string;

beforeAll(async () => {
  mountProbe(server.app, probe, metrics);
  base = `http://${await server.listen("127.0.0.1:0")}`;
  // Mounted after listening, as components do while they start.
  server.app.get("/coded", () => {
    throw new CodedError(422, GrpcStatus.INVALID_ARGUMENT, "too many series");
  });
  server.app.get("/async", async () => {
    await Promise.reject(new GrpcError(GrpcStatus.UNAVAILABLE, "away"));
  });
  server.raw("/raw", ["POST"], async (request, response) => {
    let size = 0;
    for await (const chunk of request) size += (chunk as Buffer).length;
    response.end(String(size));
  });
  server.raw("/raw-throws", ["GET"], () => {
    throw new CodedError(413, GrpcStatus.RESOURCE_EXHAUSTED, "too large");
  });
});
afterAll(() => server.stop(0));

async function get(path: string, init?: RequestInit): Promise<[status: number, text: string]> {
  const response = await fetch(`${base}${path}`, init);
  return [response.status, await response.text()];
}

test("probes say healthy at once and ready when ready, with the reason before", async () => {
  expect(await get("/-/healthy")).toStrictEqual([200, "OK\n"]);
  expect(await get("/-/ready")).toStrictEqual([503, "component is not ready: starting\n"]);
  probe.ready();
  expect(await get("/-/ready")).toStrictEqual([200, "OK\n"]);
  probe.notReady("no hashring");
  expect(await get("/-/ready")).toStrictEqual([503, "component is not ready: no hashring\n"]);
});

test.each<[path: string, status: number, text: string]>([
  ["/nowhere", 404, "404 page not found\n"],
  ["/coded", 422, "too many series\n"],
  ["/async", 503, "away\n"],
  ["/raw-throws", 413, "too large\n"],
  ["/raw", 405, "Method Not Allowed\n"],
  ["/%ff", 404, "404 page not found\n"],
])("GET %s is %d", async (path, status, text) => {
  expect(await get(path)).toStrictEqual([status, text]);
});

test("a raw handler reads its own stream, whatever the content encoding says", async () => {
  const headers = { "content-encoding": "snappy", "content-type": "application/x-protobuf" };
  const init = { method: "POST", body: Buffer.alloc(300_000), headers };
  expect(await get("/raw?x=1", init)).toStrictEqual([200, "300000"]);
});

test("requests are counted by route, not by what callers ask for", async () => {
  const [, text] = await get("/metrics");
  expect(text).toContain('http_requests_total{code="404",handler="other",method="get"} 2');
  expect(text).toContain('http_requests_total{code="200",handler="/raw",method="post"} 1');
  expect(text).toContain('http_requests_total{code="422",handler="/coded",method="get"} 1');
  expect(text).not.toContain("nowhere");
});

test("a port that is taken is named as Go names it", async () => {
  const { host } = new URL(base);
  const other = new HttpServer({ log, metrics: httpMetrics });
  await expect(other.listen(host)).rejects.toThrow(
    `listen tcp ${host}: bind: address already in use`,
  );
  await expect(other.listen("127.0.0.1")).rejects.toThrow("want host:port");
  await expect(other.listen("127.0.0.1:99999")).rejects.toThrow("want host:port");
});

test("bytes that are no HTTP get 400 and harm nobody", async () => {
  const socket = net.connect(Number(new URL(base).port), "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.from("\x16\x03\x01 nonsense\r\n\r\n"));
  const answer = await new Promise<Buffer>((resolve) => {
    socket.once("data", resolve);
  });
  expect(answer.toString()).toContain("400 Bad Request");
  socket.destroy();
  expect((await get("/-/healthy"))[0]).toBe(200);
});

test("a stop lets a request under way finish, and closes one that does not after the grace period", async () => {
  for (const [graceMs, finishes] of [
    [60_000, true],
    [5, false],
  ] as const) {
    const slow = new HttpServer({ log, metrics: httpMetrics });
    let finish = (): void => {};
    const entered = new Promise<void>((resolve) => {
      slow.raw("/slow", ["GET"], (_, response) => {
        finish = () => response.end("done");
        resolve();
      });
    });
    const address = await slow.listen("127.0.0.1:0");
    const answer = fetch(`http://${address}/slow`).then(
      (response) => response.text(),
      () => "cut",
    );
    await entered;
    const stopped = slow.stop(graceMs);
    if (finishes) finish();
    expect(await answer).toBe(finishes ? "done" : "cut");
    await stopped;
  }
});
