import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { snappyDecode } from "@torus/kernels";
import type { Labels } from "@torus/model";
import { createHttpMetrics, HttpServer, WebGuard } from "@torus/server";
import { Registry } from "prom-client";
import { afterEach, describe, expect, test } from "vitest";
import type { ReceiverOptions } from "../receiver.ts";
import { Cluster, Node, post, quiet, writeBody } from "../test-cluster.ts";

const now = Date.now();
const ZSTD = { "content-encoding": "zstd" };
const V2 = { "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request" };

const nodes: Node[] = [];
const clusters: Cluster[] = [];
const dirs: string[] = [];
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  await Promise.all(clusters.splice(0).map((each) => each.stop()));
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-edge-"));
  dirs.push(dir);
  return dir;
}

const NO_EDGE: ReceiverOptions["edge"] = {
  relabel: { file: "", inline: "" },
  relabelRefreshMs: 3_600_000,
  splitTenantLabel: "",
  ha: null,
};

async function ingestor(overrides: Partial<ReceiverOptions>): Promise<Node> {
  const node = new Node(newDir());
  nodes.push(node);
  await node.listen();
  await node.open({ localEndpoint: "", ...overrides });
  return node;
}

let at = now;
/** A sample of each label set. */
function write(node: Node, series: readonly Labels[], headers: Record<string, string> = {}) {
  at++;
  return post(node.http, writeBody(series.map((labels) => [labels, at, 1])), headers);
}

/** One frame with one block that is not compressed. */
function zstdFrame(content: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0xfd2fb528, 0);
  head[4] = 0xa0;
  head.writeUInt32LE(content.length, 5);
  head.writeUIntLE((content.length << 3) | 1, 9, 3);
  return Buffer.concat([head, content]);
}

describe("bodies in Zstandard", () => {
  type RwCase = { name: string; snappy_hex: string };
  const golden = JSON.parse(
    readFileSync(new URL("../../../../test/golden/wire/rw.json", import.meta.url), "utf8"),
  ) as { cases: RwCase[] };
  const raw = (name: string) => {
    const hex = golden.cases.find((each) => each.name === name)?.snappy_hex ?? "";
    return snappyDecode(Buffer.from(hex, "hex"), 1 << 20);
  };

  test.each(["rw1/many-series", "rw2/many-series", "rw1/histograms", "rw2/histograms"])(
    "%s is stored as its snappy twin is",
    async (name) => {
      const headers = name.startsWith("rw2/") ? V2 : {};
      const [one, two] = [await ingestor({}), await ingestor({})];
      const hex = golden.cases.find((each) => each.name === name)?.snappy_hex ?? "";
      const snappy = await post(one.http, Buffer.from(hex, "hex"), headers);
      const zstd = await post(two.http, zstdFrame(raw(name)), { ...headers, ...ZSTD });
      expect(zstd).toEqual(snappy);
      expect(zstd.status).toBe(204);
      expect(await two.series()).toEqual(await one.series());
      expect(await two.series()).not.toHaveLength(0);
    },
  );

  test("what is too large, broken or of another kind is refused by its header", async () => {
    const node = await ingestor({});
    const bomb = zstdFrame(raw("rw1/one-sample"));
    new DataView(bomb.buffer, bomb.byteOffset).setUint32(5, 2 ** 31, true);
    expect((await post(node.http, bomb, ZSTD)).status).toBe(413);
    expect((await post(node.http, Buffer.from("nothing"), ZSTD)).status).toBe(400);
    const gzip = await post(node.http, bomb, { "content-encoding": "gzip" });
    expect(gzip).toMatchObject({
      status: 415,
      text: "content encoding gzip is not supported, want snappy or zstd\n",
    });
    expect((await write(node, [["__name__", "up"]])).status).toBe(204);
  });
});

describe("relabelling", () => {
  const RULES = `
- {action: drop, source_labels: [__name__], regex: go_.*}
- {action: replace, source_labels: [job], target_label: team, replacement: team-$1}
- {action: labeldrop, regex: secret}
`;

  test("drops, rewrites and takes away labels before series are placed", async () => {
    const ring = await Cluster.start(3, {
      replicationFactor: 1,
      edge: { ...NO_EDGE, relabel: { file: "", inline: RULES } },
    });
    clusters.push(ring);
    const [first] = ring.nodes as [Node];
    const answer = await write(first, [
      ["__name__", "go_gc", "job", "a"],
      ["__name__", "up", "job", "a", "secret", "x"],
      ["__name__", "up", "job", "b", "secret", "y"],
    ]);
    expect(answer).toMatchObject({ status: 204, text: "" });
    const stored = (await Promise.all(ring.nodes.map((node) => node.series()))).flat();
    expect(stored.sort()).toEqual([
      "__name__,up,job,a,team,team-a",
      "__name__,up,job,b,team,team-b",
    ]);
    // The second scrape finds what was decided at the first.
    expect((await write(first, [["__name__", "up", "job", "a", "secret", "x"]])).status).toBe(204);
    expect(await first.metrics.metrics()).toContain(
      'torus_receive_relabel_dropped_series_total{tenant="default-tenant"} 1',
    );
  });

  test("follows its file, and keeps the last good rules", async () => {
    const file = path.join(newDir(), "rules.yml");
    writeFileSync(file, RULES);
    const node = await ingestor({ edge: { ...NO_EDGE, relabel: { file, inline: "" } } });
    await write(node, [["__name__", "up", "job", "a"]]);
    writeFileSync(file, "- {action: nonsense}");
    await node.receiver?.checkRelabel();
    await write(node, [["__name__", "up", "job", "b"]]);
    writeFileSync(file, "- {action: labeldrop, regex: job}");
    await node.receiver?.checkRelabel();
    await write(node, [["__name__", "up", "job", "a"]]);
    expect(await node.series()).toEqual([
      "__name__,up",
      "__name__,up,job,a,team,team-a",
      "__name__,up,job,b,team,team-b",
    ]);
  });

  test("rules that are none end the start", async () => {
    const relabel = { file: "", inline: "- {action: nonsense}" };
    await expect(ingestor({ edge: { ...NO_EDGE, relabel } })).rejects.toThrow(
      "receive.relabel-config",
    );
  });
});

describe("tenants", () => {
  test("a label names the tenant of its series and is taken away", async () => {
    const node = await ingestor({ edge: { ...NO_EDGE, splitTenantLabel: "team" } });
    const answer = await write(node, [
      ["__name__", "up", "job", "a", "team", "red"],
      ["__name__", "up", "job", "b", "team", "blue"],
      ["__name__", "up", "job", "c"],
    ]);
    expect(answer.status).toBe(204);
    expect(await node.series("red")).toEqual(["__name__,up,job,a"]);
    expect(await node.series("blue")).toEqual(["__name__,up,job,b"]);
    expect(await node.series()).toEqual(["__name__,up,job,c"]);
  });

  test.each(["..", "a/b", "."])("a label that names %s as tenant is refused", async (team) => {
    const node = await ingestor({ edge: { ...NO_EDGE, splitTenantLabel: "team" } });
    const answer = await write(node, [["__name__", "up", "team", team]]);
    expect(answer).toMatchObject({ status: 400 });
    expect(answer.text).toContain("tenant name not valid");
  });

  test("a field of the client's certificate names the tenant", async () => {
    const node = await ingestor({
      http: {
        tenantHeader: "THANOS-TENANT",
        certificateField: "organization",
        replicaHeader: "THANOS-REPLICA",
        maxRequestBytes: 1 << 20,
        maxPendingBytes: 8 << 20,
      },
    });
    // Without TLS there is no certificate.
    const plain = await write(node, [["__name__", "up"]], { "THANOS-TENANT": "team-b" });
    expect(plain).toMatchObject({
      status: 400,
      text: "the client's certificate has no organization\n",
    });
    const pem = fileURLToPath(new URL("../../../server/src/testdata/", import.meta.url));
    const config = path.join(newDir(), "web.yml");
    writeFileSync(
      config,
      `tls_server_config: {cert_file: ${pem}server.pem, key_file: ${pem}server-key.pem, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ${pem}ca.pem}`,
    );
    const guard = new WebGuard({
      configFile: config,
      tls: null,
      accessFile: "",
      refreshMs: 3_600_000,
      log: quiet,
      onReload: () => undefined,
    });
    const metrics = createHttpMetrics(new Registry());
    const server = new HttpServer({ log: quiet, metrics, guard });
    closers.push(
      () => server.stop(0),
      () => guard.stop(),
    );
    if (node.receiver !== undefined) server.raw("/w", ["POST"], node.receiver.remoteWrite);
    const url = `https://${await server.listen("127.0.0.1:0")}/w`;
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const request = https.request(
        url,
        {
          method: "POST",
          agent: false,
          ca: readFileSync(`${pem}ca.pem`),
          cert: readFileSync(`${pem}agent.pem`),
          key: readFileSync(`${pem}agent-key.pem`),
          headers: { "content-encoding": "snappy", "thanos-tenant": "team-b" },
        },
        (answer) => {
          answer.resume();
          answer.on("end", () => resolve(answer.statusCode));
        },
      );
      request.on("error", reject);
      request.end(writeBody([[["__name__", "up"], now, 1]]));
    });
    expect(status).toBe(204);
    expect(await node.series("team-a")).toEqual(["__name__,up"]);
  });
});

test("limits on labels refuse those series, and no others", async () => {
  const limits =
    "write: {default: {labels: {names_per_series_limit: 3, name_length_limit: 8, value_length_limit: 5}}}";
  const node = await ingestor({ limits: { source: { file: "", inline: limits }, refreshMs: 1e6 } });
  const answer = await write(node, [
    ["__name__", "up", "job", "a"],
    ["__name__", "up", "a", "1", "b", "2", "c", "3"],
    ["__name__", "up", "far_too_long", "1"],
    ["__name__", "up", "job", "far too long"],
    ["__name__", "up", "job", "äää"],
  ]);
  expect(answer).toMatchObject({
    status: 400,
    text: "bad request: 4 series over the limit of labels.names_per_series (1 series), labels.name_length (1 series), labels.value_length (2 series)\n",
  });
  expect(await node.series()).toEqual(["__name__,up,job,a"]);
  expect(await node.metrics.metrics()).toContain(
    'torus_receive_label_limited_series_total{tenant="default-tenant",limit="labels.value_length"} 2',
  );
});

describe("HA pairs", () => {
  const FAILOVER = 30_000;
  let clock = 0;
  const ha = {
    clusterLabel: "cluster",
    replicaLabel: "__replica__",
    failoverMs: FAILOVER,
    maxClusters: 100,
  };
  const from = (replica: string, cluster = "eu", job = "a"): Labels => [
    "__name__",
    "up",
    "__replica__",
    replica,
    "cluster",
    cluster,
    "job",
    job,
  ];

  async function pairRing(): Promise<[Node, Node, Node]> {
    clock = now;
    const ring = await Cluster.start(3, {
      replicationFactor: 3,
      edge: { ...NO_EDGE, ha },
      now: () => clock,
    });
    clusters.push(ring);
    return ring.nodes as [Node, Node, Node];
  }

  test("one of each is taken, whichever receivers they write to, until it falls silent", async () => {
    const [a, b, c] = await pairRing();
    expect((await write(a, [from("r1")])).status).toBe(204);
    expect((await write(b, [from("r2")])).status).toBe(202);
    expect((await write(c, [from("r1")])).status).toBe(204);
    expect((await write(c, [from("r2")])).status).toBe(202);
    // Each cluster has its own, and what belongs to none is always taken.
    expect((await write(b, [from("r2", "us")])).status).toBe(204);
    expect((await write(b, [["__name__", "up", "job", "b"]])).status).toBe(204);
    clock += FAILOVER - 1;
    expect((await write(b, [from("r2")])).status).toBe(202);
    clock += 1;
    expect((await write(b, [from("r2")])).status).toBe(204);
    clock += FAILOVER / 6;
    expect((await write(a, [from("r1")])).status).toBe(202);
    expect((await a.series()).filter((labels) => labels.includes("replica"))).toEqual([]);
    expect(await a.series()).toContain("__name__,up,cluster,eu,job,a");
    expect(await b.metrics.metrics()).toContain(
      'torus_receive_ha_deduplicated_samples_total{tenant="default-tenant",cluster="eu"} 2',
    );
  });

  test("a request with both servers of a pair has one of them stored", async () => {
    const [a] = await pairRing();
    const answer = await write(a, [from("r1", "eu", "a"), from("r2", "eu", "b")]);
    expect(answer.status).toBe(204);
    expect(await a.series()).toEqual(["__name__,up,cluster,eu,job,a"]);
  });

  test("a receiver that is away stops nobody, and what it knew is not lost", async () => {
    const [a, b, c] = await pairRing();
    const pairs = Array.from({ length: 12 }, (_, i) => `c${i}`);
    for (const cluster of pairs) {
      expect((await write(a, [from("r1", cluster)])).status).toBe(204);
      expect((await write(b, [from("r2", cluster)])).status).toBe(202);
    }
    await c.stop();
    clock += FAILOVER / 2;
    for (const cluster of pairs) {
      expect((await write(a, [from("r1", cluster)])).status).toBe(204);
      expect((await write(b, [from("r2", cluster)])).status).toBe(202);
    }
    const away = [a, b].map(async ({ metrics }) =>
      Number(/torus_receive_ha_owner_unavailable_total (\d+)/.exec(await metrics.metrics())?.[1]),
    );
    expect(Math.max(...(await Promise.all(away)))).toBeGreaterThan(0);
  });

  test("more pairs than are remembered are refused for now", async () => {
    clock = now;
    const node = await ingestor({
      edge: { ...NO_EDGE, ha: { ...ha, maxClusters: 2 } },
      now: () => clock,
    });
    expect((await write(node, [from("r1", "a"), from("r1", "b")])).status).toBe(204);
    expect(await write(node, [from("r1", "c")])).toMatchObject({ status: 429, retryAfter: "5" });
    clock += FAILOVER;
    expect((await write(node, [from("r1", "c")])).status).toBe(204);
  });
});
