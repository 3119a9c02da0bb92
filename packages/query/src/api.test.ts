/** The API over HTTP, with the real engine over no data. */

import { createHttpMetrics, createLogger, HttpServer } from "@torus/server";
import { Registry } from "prom-client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mountApi } from "./api.ts";
import { WorkerPool } from "./worker-pool.ts";

const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const server = new HttpServer({ log, metrics: createHttpMetrics(new Registry()) });
const pool = new WorkerPool({
  settings: {
    ringReplicaLabels: [],
    replicaLabels: [],
    algorithm: "penalty",
    spareReplicas: 0,
    responseTimeoutMs: 0,
    maxSamples: 50_000_000,
    maxBytes: 0,
    maxTotalBytes: 0,
    lookbackDeltaMs: 300_000,
    maxMessageBytes: 1 << 24,
  },
  maxConcurrent: 4,
  log,
  metrics: new Registry(),
});
let base: string;

beforeAll(async () => {
  mountApi(server.app, {
    run: (job, _, signal) => pool.run(job, [], signal),
    stores: () => "{}",
    flags: {},
    buildInfo: {},
    timeoutMs: 60_000,
    lookbackDeltaMs: 300_000,
    defaultStepMs: 1000,
    partialResponse: true,
    autoDownsampling: false,
    tenantHeader: "THANOS-TENANT",
    defaultTenant: "default-tenant",
    corsDisabled: false,
    now: Date.now,
  });
  base = `http://${await server.listen("127.0.0.1:0")}/api/v1`;
});
afterAll(async () => {
  await server.stop(0);
  await pool.stop();
});

test.each<[path: string, status: number, body: string]>([
  ["query?query=1%2B1&time=4", 200, '{"resultType":"scalar","result":[4,"2"]}'],
  [
    "query?query=1e21&time=4.5",
    200,
    '{"resultType":"scalar","result":[4.5,"1000000000000000000000"]}',
  ],
  ["query?query=up&time=4", 200, '{"resultType":"vector","result":[]}'],
  ["query_range?query=1&start=0&end=1&step=1", 200, '[{"metric":{},"values":[[0,"1"],[1,"1"]]}]'],
  ["query?query=up%7B", 400, "1:4: parse error: unexpected end of input inside braces"],
  ["query_range?query=1&start=0&end=11001&step=1", 400, "exceeded maximum resolution of 11,000"],
  ["query?query=up&time=abc", 400, 'cannot parse \\"abc\\" to a valid timestamp'],
  ["series", 400, "no match[] parameter provided"],
  [
    "query?query=up&storeMatch[]=%7B",
    400,
    'invalid parameter \\"storeMatch[]\\": 1:2: parse error',
  ],
  ["query?query=up&storeMatch[]=%7B%7D", 400, "storeMatch[] must contain at least one non-empty"],
  ["format_query?query=sum(up)by(job)", 200, '"data":"sum by (job) (up)"'],
  ["format_query?query=up%7B", 400, 'invalid parameter \\"query\\": 1:4: parse error'],
  ["query_exemplars?query=test&start=1700000000000&end=1700000001000", 200, '"data":[]'],
  ["query_exemplars?query=test&start=2&end=1", 400, "end timestamp must not be before start"],
  ["query_exemplars?query=up%7B", 400, "parse error"],
  ["metadata?limit=1", 200, '"data":{}'],
  ["metadata?limit=x", 400, "limit must be a number"],
  ["rules?type=record", 200, '"data":{"groups":[]}'],
  ["rules?type=x", 400, 'not supported value \\"x\\"'],
  ["alerts", 200, '"data":{"alerts":[]}'],
  ["targets", 200, '"data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}'],
])("GET %s answers %d", async (path, status, body) => {
  const response = await fetch(`${base}/${path}`);
  expect(await response.text()).toContain(body);
  expect(response.status).toBe(status);
});

test("an answer depends on the origin and on the encodings taken, and says so", async () => {
  const response = await fetch(`${base}/query?query=1`, { headers: { origin: "http://grafana" } });
  expect(response.headers.get("vary")).toBe("Origin, Accept-Encoding");
  expect(response.headers.get("access-control-allow-origin")).toBe("*");
});
