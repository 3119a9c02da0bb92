import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Node, post, type Sample, writeBody } from "./test-cluster.ts";

const root = mkdtempSync(path.join(tmpdir(), "torus-tsdb-status-"));
const node = new Node(path.join(root, "node"));
const start = Date.now() - 60_000;

/** Series of several metrics with several labels, `count` samples each. */
function samples(count: number): Sample[] {
  const out: Sample[] = [];
  for (let at = 0; at < count; at++) {
    for (let i = 0; i < 40; i++) {
      const name = `metric_${i % 7}`;
      const labels = ["__name__", name, "instance", `host-${i % 9}`, "job", "test", "n", `é${i}`];
      out.push([labels, start + at * 1000, i]);
    }
  }
  return out;
}

async function get(query: string, headers: Record<string, string> = {}) {
  const url = `${node.http.replace("/receive", "/status/tsdb")}${query}`;
  const response = await fetch(url, { headers });
  return { status: response.status, body: (await response.json()) as Answer };
}

type Entry = { name: string; value: number };
type Status = {
  tenant: string;
  headStats: Record<string, number>;
  seriesCountByMetricName: Entry[];
  labelValueCountByLabelName: Entry[];
  memoryInBytesByLabelName: Entry[];
  seriesCountByLabelValuePair: Entry[];
};
type Answer = { status: string; data: Status[]; error: string };

beforeAll(async () => {
  await node.listen();
  await node.open({ localEndpoint: "" });
  await post(node.http, writeBody(samples(1)), { "THANOS-TENANT": "a" });
  await post(node.http, writeBody(samples(1).slice(0, 3)), { "THANOS-TENANT": "b" });
});
afterAll(async () => {
  await node.stop();
  rmSync(root, { recursive: true, force: true });
});

test("one tenant's head is told, the largest first", async () => {
  const { status, body } = await get("?limit=2", { "THANOS-TENANT": "a" });
  expect(status).toBe(200);
  expect(body).toEqual({
    status: "success",
    data: [
      {
        tenant: "a",
        headStats: {
          numSeries: 40,
          numLabelPairs: 57,
          chunkCount: 40,
          minTime: start,
          maxTime: start,
        },
        seriesCountByMetricName: [
          { name: "metric_0", value: 6 },
          { name: "metric_1", value: 6 },
        ],
        labelValueCountByLabelName: [
          { name: "n", value: 40 },
          { name: "instance", value: 9 },
        ],
        memoryInBytesByLabelName: [
          { name: "__name__", value: 320 },
          { name: "instance", value: 240 },
        ],
        seriesCountByLabelValuePair: [
          { name: "job=test", value: 40 },
          { name: "__name__=metric_0", value: 6 },
        ],
      },
    ],
  });
});

test("all tenants are told, and without a tenant the default one", async () => {
  const all = await get("?all_tenants=true");
  expect(all.body.data.map((each) => [each.tenant, each.headStats.numSeries])).toEqual([
    ["default-tenant", 0],
    ["a", 40],
    ["b", 3],
  ]);
  const [none] = (await get("")).body.data;
  expect(none).toMatchObject({ tenant: "default-tenant", seriesCountByMetricName: [] });
  expect((await get("", { "THANOS-TENANT": "nobody" })).body).toEqual({
    status: "success",
    data: [],
  });
});

test.each([
  ["?all_tenants=true", "a", "using both the all_tenants parameter and the THANOS-TENANT header"],
  ["?limit=0", "", "limit must be a number from 1 to 10000"],
  ["?limit=10001", "", "limit must be a number from 1 to 10000"],
  ["?limit=x", "", "limit must be a number from 1 to 10000"],
  ["", "../b", "tenant name not valid"],
])("%s of tenant %s is refused", async (query, tenant, text) => {
  const { status, body } = await get(query, tenant === "" ? {} : { "THANOS-TENANT": tenant });
  expect([status, body.status]).toEqual([400, "error"]);
  expect(body.error).toContain(text);
});

const hasPrometheus = spawnSync("prometheus", ["--version"]).status === 0;

test.skipIf(!hasPrometheus)("Prometheus (Debian) counts the same of the same series", async () => {
  const exposed = createServer((_, response) => {
    const lines = samples(1).map(([labels]) => {
      const pairs = [];
      for (let i = 2; i < labels.length; i += 2) pairs.push(`${labels[i]}="${labels[i + 1]}"`);
      return `${labels[1]}{${pairs.join(",")}} 1\n`;
    });
    response.end(lines.join(""));
  });
  const port = (server: typeof exposed) =>
    new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  const target = await port(exposed);
  const free = createServer();
  const listen = await port(free);
  free.close();
  const config = path.join(root, "prometheus.yml");
  writeFileSync(
    config,
    `scrape_configs: [{job_name: j, honor_labels: true, scrape_interval: 1s, metric_relabel_configs: [{source_labels: [__name__], regex: "metric_.*", action: keep}], static_configs: [{targets: ["127.0.0.1:${target}"]}]}]`,
  );
  const child = spawn(
    "prometheus",
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${root}/prometheus`,
      `--web.listen-address=127.0.0.1:${listen}`,
    ],
    { stdio: "ignore" },
  );
  try {
    const base = `http://127.0.0.1:${listen}/api/v1`;
    const query = encodeURIComponent('count({__name__=~"metric_.*"})');
    // Asked only then: it keeps an answer about its head for half a minute.
    for (;;) {
      const answer = await fetch(`${base}/query?query=${query}`).catch(() => null);
      if ((await answer?.text())?.includes('"40"') === true) break;
      expect(child.exitCode).toBeNull();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const answer = await fetch(`${base}/status/tsdb`);
    const theirs = ((await answer.json()) as { data: Omit<Status, "tenant"> }).data;
    const [ours] = (await get("?limit=100", { "THANOS-TENANT": "a" })).body.data;
    const counted = (list: Entry[] | undefined) =>
      Object.fromEntries((list ?? []).map(({ name, value }) => [name, value]));
    const own = counted(ours?.seriesCountByMetricName);
    // Beside the 40 it keeps those that it makes of a scrape itself.
    const metrics = theirs.seriesCountByMetricName.filter(({ name }) => name.startsWith("metric_"));
    expect(metrics.map(({ name }) => own[name])).toEqual(metrics.map(({ value }) => value));
    expect(metrics.length).toBeGreaterThan(4);
    const bytes = counted(ours?.memoryInBytesByLabelName);
    expect(counted(theirs.memoryInBytesByLabelName).n).toBe(bytes.n);
    expect(counted(theirs.labelValueCountByLabelName).n).toBe(40);
  } finally {
    child.kill("SIGKILL");
    exposed.close();
    exposed.closeAllConnections();
  }
});
