import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { OTLPMetricExporter as JsonExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as ProtobufExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationType,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { afterEach, expect, test } from "vitest";
import type { ReceiverOptions } from "./receiver.ts";
import { Cluster, Node } from "./test-cluster.ts";

const nodes: Node[] = [];
const clusters: Cluster[] = [];
const dirs: string[] = [];
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  await Promise.all(clusters.splice(0).map((each) => each.stop()));
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function ingestor(overrides: Partial<ReceiverOptions> = {}): Promise<Node> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-otlp-"));
  dirs.push(dir);
  const node = new Node(dir);
  nodes.push(node);
  await node.listen();
  await node.open({ localEndpoint: "", ...overrides });
  return node;
}

const urlOf = (node: Node) => node.http.replace("/receive", "/otlp/v1/metrics");

test.each([
  ["protobuf", ProtobufExporter],
  ["JSON", JsonExporter],
] as const)("what OpenTelemetry's exporter sends in %s is stored", async (_, Exporter) => {
  const ring = await Cluster.start(3, {
    replicationFactor: 3,
    otlp: { targetInfo: true, promoteResourceAttributes: new Set(["deployment.environment"]) },
  });
  clusters.push(ring);
  const [first] = ring.nodes as [Node];
  const exporter = new Exporter({ url: urlOf(first), headers: { "THANOS-TENANT": "team-a" } });
  const provider = new MeterProvider({
    resource: resourceFromAttributes({
      "service.name": "demo",
      "service.instance.id": "i1",
      "deployment.environment": "test",
    }),
    views: [
      {
        instrumentName: "demo.exponential",
        aggregation: {
          type: AggregationType.EXPONENTIAL_HISTOGRAM,
          options: { recordMinMax: true },
        },
      },
    ],
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 })],
  });
  const meter = provider.getMeter("t");
  meter.createCounter("demo.requests", { unit: "1" }).add(5, { path: "/a" });
  const buckets = { advice: { explicitBucketBoundaries: [0.1, 1] }, unit: "s" };
  meter.createHistogram("demo.latency", buckets).record(0.5);
  const exponential = meter.createHistogram("demo.exponential");
  for (let i = 1; i < 50; i++) exponential.record(i * i);
  meter.createObservableGauge("demo.temp").addCallback((result) => result.observe(21.5));
  await provider.forceFlush();
  await provider.shutdown();
  const common = "deployment_environment,test,instance,i1,job,demo";
  const expected = [
    `__name__,demo_exponential,${common}`,
    `__name__,demo_latency_seconds_bucket,${common},le,+Inf`,
    `__name__,demo_latency_seconds_bucket,${common},le,0.1`,
    `__name__,demo_latency_seconds_bucket,${common},le,1`,
    `__name__,demo_latency_seconds_count,${common}`,
    `__name__,demo_latency_seconds_sum,${common}`,
    `__name__,demo_requests_total,${common},path,/a`,
    `__name__,demo_temp,${common}`,
  ];
  // Two of three is enough for the answer; the third has them a moment later.
  for (const node of ring.nodes) {
    for (let i = 0; i < 100 && (await node.series("team-a")).length < 9; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const stored = await node.series("team-a");
    expect(stored.filter((each) => !each.includes("target_info"))).toEqual(expected);
    expect(stored.find((each) => each.includes("target_info"))).toContain(
      "__name__,target_info,deployment_environment,test,instance,i1,job,demo",
    );
  }
});

const now = BigInt(Date.now()) * 1_000_000n;
const gauge = (timeUnixNano = now, labels: Record<string, string> = {}) => ({
  resourceMetrics: [
    {
      scopeMetrics: [
        {
          metrics: [
            {
              name: "m",
              gauge: {
                dataPoints: [
                  {
                    timeUnixNano: String(timeUnixNano),
                    asInt: 1,
                    attributes: Object.entries(labels).map(([key, stringValue]) => ({
                      key,
                      value: { stringValue },
                    })),
                  },
                ],
              },
            },
          ],
        },
      ],
    },
  ],
});

async function send(node: Node, body: Uint8Array | string, headers: Record<string, string> = {}) {
  const response = await fetch(urlOf(node), {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    retryAfter: response.headers.get("retry-after"),
    text: await response.text(),
  };
}

test("every answer is in the encoding of its request, and says what was wrong", async () => {
  const limits = "write: {default: {head_series_limit: 3}}";
  const node = await ingestor({ limits: { source: { file: "", inline: limits }, refreshMs: 1e6 } });
  const text = JSON.stringify(gauge());
  expect(await send(node, text)).toEqual({
    status: 200,
    type: "application/json",
    retryAfter: null,
    text: "{}",
  });
  expect((await send(node, gzipSync(text), { "content-encoding": "gzip" })).status).toBe(200);
  expect(await send(node, "", { "content-type": "application/x-protobuf" })).toMatchObject({
    status: 200,
    type: "application/x-protobuf",
    text: "",
  });
  const delta = { name: "d", sum: { aggregationTemporality: 1, dataPoints: [{}, {}] } };
  const partial = { resourceMetrics: [{ scopeMetrics: [{ metrics: [delta] }] }] };
  expect(JSON.parse((await send(node, JSON.stringify(partial))).text)).toEqual({
    partialSuccess: {
      rejectedDataPoints: "2",
      errorMessage: 'invalid temporality and type combination for metric "d"',
    },
  });
  const table: [
    body: Uint8Array | string,
    headers: Record<string, string>,
    status: number,
    code: number,
  ][] = [
    ["{", {}, 400, 3],
    [text, { "content-type": "text/plain" }, 415, 3],
    [text, { "content-encoding": "br" }, 415, 3],
    [text, { "content-encoding": "gzip" }, 400, 3],
    [text, { "content-encoding": "zstd" }, 400, 3],
    [text, { "THANOS-TENANT": "../x" }, 400, 3],
    [gzipSync(Buffer.alloc(20 << 20, " ")), { "content-encoding": "gzip" }, 413, 3],
    [Buffer.alloc(2 << 20, " "), {}, 413, 3],
    // Too far in the past, since there is a newer sample.
    [JSON.stringify(gauge(now - 7_200_000_000_000n)), {}, 400, 3],
  ];
  for (const [body, headers, status, code] of table) {
    const answer = await send(node, body, headers);
    expect(answer, `${JSON.stringify(headers)} ${answer.text}`).toMatchObject({ status });
    if (answer.type === "application/json") {
      expect(JSON.parse(answer.text)).toMatchObject({ code });
    }
  }
  for (const i of [1, 2, 3]) await send(node, JSON.stringify(gauge(now, { i: String(i) })));
  const full = await send(node, JSON.stringify(gauge(now, { i: "4" })));
  expect(full).toMatchObject({ status: 429, retryAfter: "5" });
  expect(JSON.parse(full.text)).toMatchObject({ code: 8 });
  node.receiver?.drain();
  expect(await send(node, text)).toMatchObject({ status: 503, retryAfter: "5" });
});

test("exemplars and what is told of metrics are with every owner", async () => {
  const ring = await Cluster.start(2, { replicationFactor: 2 });
  clusters.push(ring);
  const exemplar = {
    timeUnixNano: String(now),
    asDouble: 0.5,
    traceId: "0af7651916cd43dd8448eb211c80319c",
  };
  const metric = {
    name: "lat",
    description: "How long.",
    unit: "s",
    histogram: {
      aggregationTemporality: 2,
      dataPoints: [
        {
          timeUnixNano: String(now),
          count: 1,
          explicitBounds: [1],
          bucketCounts: [1, 0],
          exemplars: [exemplar],
        },
      ],
    },
  };
  const body = JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics: [metric] }] }] });
  const [first] = ring.nodes as [Node];
  // What is sent again is no error.
  for (let i = 0; i < 2; i++) expect((await send(first, body)).status).toBe(200);
  for (const node of ring.nodes) {
    const db = node.receiver?.tenants?.peek("default-tenant")?.db;
    const isThere = () =>
      db?.metadata.of("lat_seconds").length !== 0 && db?.head.exemplars.count !== 0;
    for (let i = 0; i < 100 && !isThere(); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(db?.metadata.of("lat_seconds")).toMatchObject([
      { type: "histogram", help: "How long.", unit: "seconds" },
    ]);
    expect(db?.head.exemplars.count).toBe(1);
  }
});

test("relabelling and tenants by a label hold for OTLP as well", async () => {
  const node = await ingestor({
    edge: {
      relabel: { file: "", inline: "- {action: labeldrop, regex: secret}" },
      relabelRefreshMs: 1e6,
      splitTenantLabel: "team",
      ha: null,
    },
  });
  const body = JSON.stringify(gauge(now, { secret: "x", team: "red", i: "1" }));
  expect((await send(node, body)).status).toBe(200);
  expect(await node.series("red")).toEqual(["__name__,m,i,1"]);
});
