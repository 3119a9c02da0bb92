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
    noStepSubqueryIntervalMs: 60_000,
    features: [],
    maxMessageBytes: 1 << 24,
  },
  maxConcurrent: 4,
  log,
  metrics: new Registry(),
});
let base: string;

const TOLD = new Map([
  [
    "b",
    [
      { type: "counter", help: "", unit: "s" },
      { type: "unknown", help: "x", unit: "" },
    ],
  ],
  ["a", [{ type: "gauge", help: "<A>", unit: "" }]],
]);
const metadataOf = (metric: string) =>
  metric === "" ? TOLD : new Map([...TOLD].filter(([name]) => name === metric));

beforeAll(async () => {
  mountApi(server.app, {
    run: (job, _, signal) => pool.run(job, [], signal),
    stores: () => "{}",
    metadata: ({ metric }) => Promise.resolve(metadataOf(metric)),
    exemplars: ({ query, start, end, dedup, replicaLabels, onWarning }) => {
      if (query !== "traced") return Promise.resolve([]);
      onWarning(`${start} ${end} ${dedup} ${replicaLabels?.join()}`);
      const labels = ["__name__", "traced", "a", "<"];
      const exemplars = [
        { labels: ["trace_id", "é"], value: 0.5, time: 1500 },
        { labels: [], value: Number.NaN, time: 2000 },
      ];
      return Promise.resolve([{ labels, exemplars }]);
    },
    flags: {},
    features: [],
    process: { version: "1.2.3", startMs: 0, now: () => 1000 },
    threads: () => pool.threads,
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
  ["query_exemplars?query=1", 204, ""],
  [
    "query_exemplars?query=traced&start=1&end=2&dedup=false&replicaLabels[]=r&partial_response=true",
    200,
    '{"status":"success","data":[{"seriesLabels":{"__name__":"traced","a":"\\u003c"},"exemplars":[{"labels":{"trace_id":"é"},"value":"0.5","timestamp":1.500},{"labels":{},"value":"NaN","timestamp":2}]}],"warnings":["1000 2000 false r"]}',
  ],
  ["query_exemplars?query=traced&partial_response=false", 422, "true undefined"],
  [
    "metadata",
    200,
    '"data":{"a":[{"type":"gauge","help":"\\u003cA\\u003e","unit":""}],"b":[{"type":"counter","help":"","unit":"s"},{"type":"unknown","help":"x","unit":""}]}',
  ],
  ["metadata?limit=1", 200, '"data":{"a":[{"type":"gauge","help":"\\u003cA\\u003e","unit":""}]}'],
  ["metadata?limit=0", 200, '"data":{}'],
  [
    "metadata?metric=b&limit_per_metric=1",
    200,
    '"data":{"b":[{"type":"counter","help":"","unit":"s"}]}',
  ],
  ["metadata?metric=c", 200, '"data":{}'],
  ["metadata?limit=x", 400, "limit must be a number"],
  ["rules?type=record", 200, '"data":{"groups":[]}'],
  ["rules?type=x", 400, 'not supported value \\"x\\"'],
  ["alerts", 200, '"data":{"alerts":[]}'],
  ["targets", 200, '"data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}'],
  [
    "query_range?query=up%5B1m%5D&start=0&end=1&step=1",
    400,
    '"bad_data","error":"invalid parameter \\"query\\": invalid expression type \\"range vector\\" for range query, must be Scalar or instant Vector"',
  ],
  [
    "query_range?query=up%7B&start=0&end=1&step=1",
    400,
    '"invalid parameter \\"query\\": 1:4: parse error: unexpected end of input inside braces"',
  ],
  ["query?query=", 400, "unknown position: parse error: no expression found in input"],
  [
    "parse_query?query=sum%20by(job)(rate(up%7Ba%3D~%22b%22%7D%5B5m%5D%20offset%201m))",
    200,
    '"data":{"expr":{"args":[{"anchored":false,"matchers":[{"name":"a","type":"=~","value":"b"},{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":60000,"range":300000,"smoothed":false,"startOrEnd":null,"timestamp":null,"type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"type":"call"},"grouping":["job"],"op":"sum","param":null,"type":"aggregation","without":false}}',
  ],
  [
    "parse_query?query=-a%20%3E%20bool%20on(x)%20group_left(y)%20(b%20%40%20end())",
    200,
    '"matching":{"card":"many-to-one","fillValues":{"lhs":null,"rhs":null},"include":["y"],"labels":["x"],"on":true},"op":"\\u003e"',
  ],
  ["parse_query?query=1e-7", 200, '"data":{"type":"numberLiteral","val":"0.0000001"}'],
  ["parse_query?query=up%7B", 400, 'invalid parameter \\"query\\": 1:4: parse error'],
  ["features", 200, '"rate":true'],
  ["features", 200, '"mad_over_time":false'],
  ["status/buildinfo", 200, '"data":{"version":"1.2.3","revision":""'],
  ["status/runtimeinfo", 200, '"startTime":"1970-01-01T00:00:00.000Z"'],
  ["status/config", 200, '"data":{"yaml":""}'],
  [
    "status/tsdb",
    200,
    '"data":{"headStats":{"numSeries":0,"numLabelPairs":0,"chunkCount":0,"minTime":',
  ],
  ["status/tsdb?limit=0", 400, "limit must be a positive number"],
  ["status/tsdb?limit=10001", 400, "limit must not exceed 10000"],
  ["scrape_pools", 200, '"data":{"scrapePools":[]}'],
  ["alertmanagers", 200, '"data":{"activeAlertmanagers":[],"droppedAlertmanagers":[]}'],
  ["query?query=1&engine=thanos", 200, '"result":['],
  ["query?query=1&engine=x", 400, "'x' bad engine"],
  ["query?query=1&dedup=maybe", 400, 'invalid parameter \\"dedup\\"'],
  ["query?query=1&stats=all", 200, '"stats":{"timings":{"evalTotalTime":'],
  ["query?query=1&stats=all", 200, '"samples":{"totalQueryableSamples":0,"peakSamples":'],
  [
    "query?query=sum(up)&analyze=true&time=4",
    200,
    '"result":[],"analysis":{"name":"[aggregate] sum',
  ],
  ["query?query=1&analyze=x", 400, 'invalid parameter \\"analyze\\"'],
  ["query_explain?query=sum(up)", 200, '{"status":"success","data":{"name":"[aggregate] sum'],
  [
    "query_range_explain?query=rate(up%5B5m%5D)&start=0&end=60&step=10",
    200,
    '"children":[{"name":"[matrixSelector] up[5m]',
  ],
  ["query_explain?query=up%7B", 400, 'invalid parameter \\"query\\": 1:4: parse error'],
  ["query_range_explain?query=up&start=0&end=60&step=0", 400, "zero or negative query"],
  ["query?query=1&limit=-1", 400, "limit must be non-negative"],
  ["query?query=1&lookback_delta=x", 400, 'cannot parse \\"x\\" to a valid duration'],
  ["query?query=1&timeout=0", 503, '"errorType":"timeout"'],
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

test.each<[path: string, method: string, status: number, type: string, body: string]>([
  [
    "/federate?match[]=up",
    "GET",
    200,
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    "",
  ],
  [
    "/federate?match[]=up%7B",
    "GET",
    400,
    "text/plain; charset=utf-8",
    "1:4: parse error: unexpected end of input inside braces\n",
  ],
  ["/federate", "POST", 405, "text/plain; charset=utf-8", "Method Not Allowed\n"],
  ["/api/v1/read", "GET", 405, "text/plain; charset=utf-8", "Method Not Allowed\n"],
])("%s by %s answers %d as plain text", async (path, method, status, type, body) => {
  const response = await fetch(new URL(path, base), { method });
  expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([
    status,
    type,
    body,
  ]);
});

test("a read request that is none is refused in plain text", async () => {
  const response = await fetch(`${base}/read`, { method: "POST", body: "nothing" });
  expect(response.status).toBe(400);
  expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  expect(await response.text()).toContain("decode the snappy block of a read request");
});
