/**
 * A real Prometheus (2.42) that federates from the query node: native histograms come in protobuf, which it asks for,
 * and are there what they are here.
 */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Cluster, freePorts, startCluster, startProcess } from "@torus/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

const PROMETHEUS = "/usr/bin/prometheus";
const hasPrometheus = existsSync(PROMETHEUS);

const dir = mkdtempSync(path.join(tmpdir(), "torus-federate-"));
const stops: (() => Promise<void>)[] = [];
let cluster: Cluster;
beforeAll(async () => {
  if (!hasPrometheus) return;
  cluster = await startCluster({ dir, receivers: 1, replicationFactor: 1 });
  stops.push(() => cluster.stop());
}, 60_000);
afterAll(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

/** Two exponential histograms and a gauge of OpenTelemetry's. */
function metrics(timeMs: number): object {
  const timeUnixNano = `${timeMs}000000`;
  const startTimeUnixNano = `${timeMs - 60_000}000000`;
  const point = { timeUnixNano, startTimeUnixNano, scale: 1, zeroThreshold: 0.001 };
  const exponentialHistogram = {
    aggregationTemporality: 2,
    dataPoints: [
      {
        ...point,
        attributes: [{ key: "side", value: { stringValue: "both" } }],
        count: "23",
        sum: 41.5,
        zeroCount: "2",
        positive: { offset: -1, bucketCounts: ["3", "4", "0", "0", "0", "0", "5"] },
        negative: { offset: 2, bucketCounts: ["1", "8"] },
      },
      {
        ...point,
        attributes: [{ key: "side", value: { stringValue: "none" } }],
        count: "0",
        sum: 0,
        zeroCount: "0",
        positive: { offset: 0, bucketCounts: [] },
      },
    ],
  };
  const gauge = { dataPoints: [{ timeUnixNano, asDouble: 0.1 }] };
  return {
    resourceMetrics: [
      {
        resource: {
          attributes: [
            { key: "service.name", value: { stringValue: "api" } },
            { key: "service.instance.id", value: { stringValue: "host-1" } },
          ],
        },
        scopeMetrics: [
          {
            metrics: [
              { name: "latency", exponentialHistogram },
              { name: "temperature", gauge },
            ],
          },
        ],
      },
    ],
  };
}

type Bucket = [bounds: number, from: string, to: string, count: string];
type Series = {
  metric: Record<string, string>;
  value?: [number, string];
  histogram?: [number, { count: string; sum: string; buckets?: Bucket[] }];
};

/** Prometheus 2.42 has another last digit in some bounds than 3 has, and so have we. */
const rounded = ([bounds, from, to, count]: Bucket) => [
  bounds,
  Number(from).toPrecision(12),
  Number(to).toPrecision(12),
  count,
];

/** The newest sample of each series, with the labels that the test gave it. */
async function newest(base: string): Promise<string[]> {
  const query = new URLSearchParams({ query: '{job="api",__name__=~"latency|temperature"}' });
  const answer = await fetch(`${base}/api/v1/query?${query.toString()}`);
  const { data } = (await answer.json()) as { data?: { result: Series[] } };
  const texts = (data?.result ?? []).map(({ metric, value, histogram }) => {
    const { __name__: name, side, job, instance } = metric;
    const { count, sum, buckets = [] } = histogram?.[1] ?? {};
    const own = { value: value?.[1], count, sum, buckets: buckets.map(rounded) };
    return JSON.stringify({ name, side, job, instance, ...own });
  });
  return texts.sort((a, b) => (a < b ? -1 : 1));
}

async function startPrometheus(flags: readonly string[]): Promise<string> {
  const [port = 0] = await freePorts(1);
  const config = path.join(dir, `prometheus-${port}.yml`);
  const target = new URL(cluster.queryUrl).host;
  writeFileSync(
    config,
    `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {"match[]": ['{__name__=~"latency|temperature"}']}
    static_configs: [{targets: ["${target}"]}]
`,
  );
  const base = `http://127.0.0.1:${port}`;
  const prometheus = await startProcess({
    name: "prometheus",
    command: PROMETHEUS,
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(dir, `prometheus-${port}`)}`,
      `--web.listen-address=127.0.0.1:${port}`,
      ...flags,
    ],
    readyUrl: `${base}/-/ready`,
  });
  stops.push(() => prometheus.stop());
  return base;
}

async function until(base: string, count: number): Promise<string[]> {
  let found = await newest(base);
  for (let i = 0; i < 200 && found.length < count; i++) {
    await sleep(100);
    found = await newest(base);
  }
  return found;
}

test.skipIf(!hasPrometheus)(
  "a Prometheus with native histograms federates them, one without gets the floats (needs prometheus)",
  async () => {
    const url = (cluster.receivers[0]?.remoteWriteUrl ?? "").replace("receive", "otlp/v1/metrics");
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(metrics(Date.now())),
    });
    expect(response.status, await response.text()).toBe(200);
    const ours = await until(cluster.queryUrl, 3);
    expect(ours).toHaveLength(3);
    expect(ours[0]).toContain('"count":"23","sum":"41.5","buckets":[[1,"-4.0');
    const [withHistograms, without] = await Promise.all([
      startPrometheus(["--enable-feature=native-histograms"]),
      startPrometheus([]),
    ]);
    expect(await until(withHistograms, 3)).toEqual(ours);
    expect(await until(without, 1)).toEqual(ours.filter((text) => text.includes("temperature")));
  },
  90_000,
);
