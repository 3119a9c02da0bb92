import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyEncode } from "@torus/encoding";
import { Matcher } from "@torus/model";
import { InMemoryBucket } from "@torus/objstore";
import {
  decodeInfo,
  decodeLabelsResponse,
  encodeLabelsRequest,
  PartialResponse,
} from "@torus/protocol";
import { createGrpcClient, GrpcError } from "@torus/server";
import { createShipperMetrics, writeShipped } from "@torus/uploader";
import { Registry } from "prom-client";
import { afterEach, describe, expect, test } from "vitest";
import { REMOTE_WRITE } from "./peers.ts";
import { shippedOf } from "./tenants.ts";
import { Cluster, forwardedForTest, Node, post, type Sample, writeBody } from "./test-cluster.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/wire");
const now = Date.now();

const series = (count: number, value = 1, at = now): Sample[] =>
  Array.from({ length: count }, (_, i) => [
    ["__name__", "up", "instance", `host-${String(i).padStart(3, "0")}`],
    at,
    value,
  ]);

const clusters: Cluster[] = [];
const nodes: Node[] = [];
const dirs: string[] = [];
afterEach(async () => {
  await Promise.all([
    ...clusters.splice(0).map((each) => each.stop()),
    ...nodes.splice(0).map((each) => each.stop()),
  ]);
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function cluster(count: number, replicationFactor: number): Promise<Cluster> {
  const started = await Cluster.start(count, { replicationFactor });
  clusters.push(started);
  return started;
}

/** A node without a ring. */
async function ingestor(dir?: string): Promise<Node> {
  const at = dir ?? mkdtempSync(path.join(tmpdir(), "torus-receive-"));
  if (dir === undefined) dirs.push(at);
  const node = new Node(at);
  nodes.push(node);
  await node.listen();
  await node.open({ localEndpoint: "" });
  return node;
}

async function copies(of: Cluster): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const node of of.nodes) {
    for (const each of await node.series()) counts.set(each, (counts.get(each) ?? 0) + 1);
  }
  return counts;
}

/** Waits for what runs on after the answer. */
async function eventually(check: () => Promise<void>): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      await check();
      return;
    } catch (error) {
      if (i === 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

describe("three receivers", () => {
  test.each([1, 2, 3])("store each series on as many of them as RF %i says", async (factor) => {
    const ring = await cluster(3, factor);
    const written = series(60);
    expect((await post(ring.nodes[0]?.http ?? "", writeBody(written))).status).toBe(204);
    await eventually(async () => {
      const counts = await copies(ring);
      expect(counts.size).toBe(60);
      expect([...counts.values()].every((count) => count === factor)).toBe(true);
    });
    const held = await Promise.all(ring.nodes.map(async (node) => (await node.series()).length));
    expect(held.every((count) => count > 0)).toBe(true);
  });

  test("go on with one of them down, at RF 2 and at RF 3", async () => {
    for (const factor of [2, 3]) {
      const ring = await cluster(3, factor);
      await ring.nodes[2]?.stop();
      for (let i = 0; i < 5; i++) {
        const body = writeBody(series(40, 1, now + i));
        expect((await post(ring.nodes[i % 2]?.http ?? "", body)).status).toBe(204);
      }
    }
  });

  test("answer 503 with Retry-After when a quorum is away, and 204 when it is back", async () => {
    const ring = await cluster(3, 3);
    const [first, second, third] = ring.nodes as [Node, Node, Node];
    await second.stop();
    await third.stop();
    const refused = await post(first.http, writeBody(series(10)));
    expect(refused.status).toBe(503);
    expect(Number(refused.retryAfter)).toBeGreaterThan(0);
    expect(refused.text).toContain("target not available");
    await second.listen(second.address);
    await second.open({ hashrings: { file: "", inline: ring.ring }, replicationFactor: 3 });
    await eventually(async () =>
      expect((await post(first.http, writeBody(series(10)))).status).toBe(204),
    );
  });

  test("take the same sample twice, and answer 409 to another value at its time", async () => {
    const ring = await cluster(3, 3);
    const url = ring.nodes[0]?.http ?? "";
    expect((await post(url, writeBody(series(20)))).status).toBe(204);
    expect((await post(url, writeBody(series(20)))).status).toBe(204);
    await eventually(async () => {
      const conflict = await post(url, writeBody(series(20, 2)));
      expect(conflict.status).toBe(409);
      expect(conflict.text).toContain("20 of 20 series not written");
    });
  });

  test("store the good series of a batch whose other series conflicts", async () => {
    const ring = await cluster(3, 3);
    const url = ring.nodes[1]?.http ?? "";
    expect((await post(url, writeBody(series(1)))).status).toBe(204);
    const batch: Sample[] = [...series(1, 2), [["__name__", "good"], now, 1]];
    await eventually(async () => {
      const answer = await post(url, writeBody(batch));
      expect(answer.status).toBe(409);
      expect(answer.text).toContain("1 of 2 series not written");
    });
    await eventually(async () => expect((await copies(ring)).get("__name__,good")).toBe(3));
  });

  test("a conflict that a quorum confirms stays 409 although another series' owners are away", async () => {
    const ring = await Cluster.start(5, { replicationFactor: 3 });
    clusters.push(ring);
    const [first] = ring.nodes as [Node];
    const all = series(200);
    expect((await post(first.http, writeBody(all))).status).toBe(204);
    await eventually(async () =>
      expect([...(await copies(ring)).values()].every((count) => count === 3)).toBe(true),
    );
    const gone = [ring.nodes[3], ring.nodes[4]] as [Node, Node];
    const kept = await Promise.all(ring.nodes.slice(0, 3).map((node) => node.series()));
    const safe = all.find(([labels]) => kept.every((each) => each.includes(labels.join(","))));
    for (const node of gone) await node.stop();
    const answer = await post(first.http, writeBody(all.map(([l, t]): Sample => [l, t, 9])));
    expect(safe).toBeDefined();
    expect(answer.status).toBe(409);
    // Without a conflict the same request is one to be sent again.
    const later = writeBody(series(200, 1, now + 1000));
    expect((await post(first.http, later)).status).toBe(503);
  });

  test("sort labels that came unsorted, and refuse those that nobody can store", async () => {
    const ring = await cluster(3, 2);
    const url = ring.nodes[0]?.http ?? "";
    const unsorted: Sample = [["job", "b", "__name__", "up", "a", "1"], now, 1];
    expect((await post(url, writeBody([unsorted, ...series(3)]))).status).toBe(204);
    await eventually(async () => expect((await copies(ring)).get("__name__,up,a,1,job,b")).toBe(2));
    for (const labels of [
      ["__name__", "up", "a", "1", "a", "2"],
      ["__name__", "up", "empty", ""],
      [],
    ]) {
      const answer = await post(url, writeBody([[labels, now, 1]]));
      expect(answer.status).toBe(409);
      expect(answer.text).toContain("invalid labels");
    }
  });

  test("keep tenants apart, and add a tenant's folder with its first sample", async () => {
    const ring = await cluster(3, 3);
    const url = ring.nodes[0]?.http ?? "";
    expect((await post(url, writeBody(series(5)), { "THANOS-TENANT": "team-a" })).status).toBe(204);
    await eventually(async () => {
      for (const node of ring.nodes) expect(await node.series("team-a")).toHaveLength(5);
    });
    for (const node of ring.nodes) expect(await node.series()).toHaveLength(0);
  });

  test("write the copy that the replica header asks for, alone", async () => {
    const ring = await cluster(3, 3);
    const url = ring.nodes[0]?.http ?? "";
    expect((await post(url, writeBody(series(30)), { "THANOS-REPLICA": "2" })).status).toBe(204);
    const counts = await copies(ring);
    expect(counts.size).toBe(30);
    expect([...counts.values()].every((count) => count === 1)).toBe(true);
    expect((await post(url, writeBody(series(30)), { "THANOS-REPLICA": "4" })).status).toBe(400);
    expect((await post(url, writeBody(series(30)), { "THANOS-REPLICA": "x" })).status).toBe(400);
  });
});

describe("a router without a store", () => {
  test("forwards every copy, from HTTP and from a RemoteWrite that nobody routed yet", async () => {
    const ring = await cluster(3, 2);
    const router = new Node(mkdtempSync(path.join(tmpdir(), "torus-receive-")));
    dirs.push(router.dir);
    nodes.push(router);
    await router.listen();
    const receiver = await router.open({
      hashrings: { file: "", inline: ring.ring },
      replicationFactor: 2,
      localEndpoint: "",
    });
    expect(receiver.mode).toBe("RouterOnly");
    expect((await post(router.http, writeBody(series(40)))).status).toBe(204);
    // A router ignores the replica header, as Thanos' does.
    const again = await post(router.http, writeBody(series(40)), { "THANOS-REPLICA": "9" });
    expect(again.status).toBe(204);
    await eventually(async () => {
      const counts = await copies(ring);
      expect(counts.size).toBe(40);
      expect([...counts.values()].every((count) => count === 2)).toBe(true);
    });
    const client = createGrpcClient(router.address, { maxMessageBytes: 1 << 20 });
    const unrouted = forwardedForTest(series(10), 0);
    await client.unary(REMOTE_WRITE, unrouted, { timeoutMs: 5000 });
    client.close();
    await eventually(async () => {
      const held = await Promise.all(ring.nodes.map((node) => node.series("team-f")));
      expect(held.flat()).toHaveLength(20);
    });
  });
});

describe("StoreAPI", () => {
  test("a sample is in the next answer, under the tenant's external labels", async () => {
    const node = await ingestor();
    await post(node.http, writeBody(series(3)), { "THANOS-TENANT": "team-a" });
    const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
    const info = decodeInfo(
      await client.unary("/thanos.info.Info/Info", new Uint8Array(0), { timeoutMs: 5000 }),
    );
    expect(info.componentType).toBe("receive");
    expect(info.labelSets).toContainEqual(["receive_replica", "a", "tenant_id", "team-a"]);
    const request = encodeLabelsRequest("values", {
      label: "tenant_id",
      start: now - 1000,
      end: now + 1000,
      matchers: [new Matcher("=", "__name__", "up")],
      withoutReplicaLabels: [],
      limit: 0,
      partialResponseDisabled: false,
      partialResponseStrategy: PartialResponse.WARN,
    });
    const answer = await client.unary("/thanos.Store/LabelValues", request, { timeoutMs: 5000 });
    expect(decodeLabelsResponse(answer).strings).toEqual(["team-a"]);
    client.close();
  });
});

describe("bad requests", () => {
  test("are refused with the code that tells the sender what to do", async () => {
    const node = await ingestor();
    const good = writeBody(series(1));
    const bomb = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f, 0x00);
    const cases: [string, number, Uint8Array, Record<string, string>][] = [
      ["no snappy", 400, Buffer.from("hello"), {}],
      ["torn snappy", 400, good.subarray(0, good.length - 3), {}],
      ["no WriteRequest", 400, snappyEncode(Uint8Array.of(0x0a, 0x7f, 0x01)), {}],
      ["a bomb by its claimed size", 413, bomb, {}],
      ["a large body", 413, new Uint8Array((1 << 20) + 1), {}],
      ["decoded too large", 413, snappyEncode(new Uint8Array(2 << 20)), {}],
      ["tenant ..", 400, good, { "THANOS-TENANT": ".." }],
      ["tenant with /", 400, good, { "THANOS-TENANT": "a/b" }],
      ["tenant that is a file system's", 400, good, { "THANOS-TENANT": "lost+found" }],
      ["type json", 415, good, { "content-type": "application/json" }],
      ["encoding gzip", 415, good, { "content-encoding": "gzip" }],
      ["unknown message", 415, good, { "content-type": "application/x-protobuf;proto=x.Y" }],
    ];
    for (const [name, status, body, headers] of cases) {
      expect((await post(node.http, body, headers)).status, name).toBe(status);
    }
    expect((await post(node.http, good)).status).toBe(204);
    expect(await node.series()).toHaveLength(1);
  });

  test("a body without Content-Length is cut off at the limit", async () => {
    const node = await ingestor();
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(64 << 10));
      },
    });
    // Node's fetch sends a stream in chunks; its type does not know the option that this needs.
    const init = { method: "POST", body, duplex: "half" } as RequestInit;
    const status = await fetch(node.http, init).then(
      (response) => response.status,
      (error: unknown) => String(error),
    );
    // The answer, or the reset that follows it, whichever the client sees first.
    expect([413, "TypeError: fetch failed"]).toContain(status);
    expect((await post(node.http, writeBody(series(1)))).status).toBe(204);
  });

  test("more tenants than allowed answer 429 with Retry-After", async () => {
    const node = await ingestor();
    const answers = [];
    for (let i = 0; i < 21; i++) {
      answers.push(await post(node.http, writeBody(series(1)), { "THANOS-TENANT": `t-${i}` }));
    }
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(19);
    expect(answers.at(-1)).toMatchObject({ status: 429, retryAfter: "5" });
  });

  test("a draining receiver answers 503 to senders and UNAVAILABLE to peers", async () => {
    const node = await ingestor();
    node.receiver?.drain();
    expect(await post(node.http, writeBody(series(1)))).toMatchObject({
      status: 503,
      retryAfter: "5",
    });
    const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
    const call = client.unary(REMOTE_WRITE, new Uint8Array(0), { timeoutMs: 2000 });
    await expect(call).rejects.toMatchObject({ code: 14 });
    client.close();
  });
});

const V2 = {
  "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
  "x-prometheus-remote-write-version": "2.0.0",
};

/** Series v2{n="0"}, v2{n="1"} … with samples of one value at these times. */
function remoteWrite2(times: readonly (readonly number[])[], value = 1): Uint8Array {
  const field = (tag: number, content: Uint8Array) => {
    expect(content.length).toBeLessThan(128);
    return Buffer.concat([Buffer.of(tag, content.length), content]);
  };
  const symbols = ["", "__name__", "v2", "n", ...times.map((_, i) => String(i))];
  const series = times.map((stamps, i) => {
    const samples = stamps.map((at) => {
      const sample = Buffer.alloc(10);
      sample[0] = 0x09;
      sample.writeDoubleLE(value, 1);
      sample[9] = 0x10;
      const varint: number[] = [];
      let rest = at;
      for (; rest >= 128; rest = Math.floor(rest / 128)) varint.push((rest % 128) | 0x80);
      varint.push(rest);
      return field(0x12, Buffer.concat([sample, Buffer.from(varint)]));
    });
    return field(0x2a, Buffer.concat([field(0x0a, Buffer.of(1, 2, 3, 4 + i)), ...samples]));
  });
  return snappyEncode(
    Buffer.concat([...symbols.map((each) => field(0x22, Buffer.from(each))), ...series]),
  );
}

describe("real peers' bytes", () => {
  type RwCase = {
    name: string;
    message: string;
    snappy_hex?: string;
    content: { timeseries: unknown[] | null };
  };
  const rw = JSON.parse(readFileSync(path.join(GOLDEN, "rw.json"), "utf8")) as { cases: RwCase[] };

  test("remote write 1.0 bodies of a real Prometheus are taken", async () => {
    // An empty label set is a conflict, as in Thanos.
    const expected: Record<string, number> = { "rw1/no-labels": 409 };
    const seen: Record<string, number> = {};
    for (const each of rw.cases) {
      if (!each.name.startsWith("rw1/") || each.snappy_hex === undefined) continue;
      if (each.name === "rw1/special-times") continue;
      const node = await ingestor();
      const { status } = await post(node.http, Buffer.from(each.snappy_hex, "hex"));
      if (status !== (expected[each.name] ?? 204)) seen[each.name] = status;
    }
    expect(seen).toEqual({});
  });

  test("remote write 2.0 bodies of a real Prometheus are stored as their 1.0 twins are", async () => {
    const hex = new Map(rw.cases.map((each) => [each.name, each.snappy_hex]));
    const names = ["one-sample", "many-series", "special-values", "utf8", "metadata-in-v2"];
    for (const name of [...names, "histograms"]) {
      const [one, two] = [await ingestor(), await ingestor()];
      await post(one.http, Buffer.from(hex.get(`rw1/${name}`) ?? "", "hex"));
      const answer = await post(two.http, Buffer.from(hex.get(`rw2/${name}`) ?? "", "hex"), V2);
      const stored = await two.series();
      expect(answer.text).toBe("");
      expect(stored.length, name).toBeGreaterThan(0);
      expect(stored).toEqual(await one.series());
      const samples = two.receiver?.tenants?.peek("default-tenant")?.db.head.maxTime;
      expect(samples).toBe(one.receiver?.tenants?.peek("default-tenant")?.db.head.maxTime);
    }
  });

  test("start timestamps of remote write 2.0 do not disturb the samples that have them", async () => {
    const node = await ingestor();
    const found = rw.cases.find(({ name }) => name === "rw2/start-timestamps");
    const answer = await post(node.http, Buffer.from(found?.snappy_hex ?? "", "hex"), V2);
    // Two series of floats and one of a histogram.
    expect(answer).toMatchObject({ status: 204, written: ["2", "1", "0"] });
    expect(await node.series()).toHaveLength(3);
  });

  test("a sender of remote write 2.0 is told what was written, of partial writes too", async () => {
    const ring = await cluster(3, 3);
    const url = ring.nodes[0]?.http ?? "";
    expect(await post(url, remoteWrite2([[now, now + 1], [now]]), V2)).toMatchObject({
      status: 204,
      written: ["3", "0", "0"],
    });
    await eventually(async () => {
      // Series 0: a new sample, and one at a time that has another value; series 1: a new one.
      const partial = await post(url, remoteWrite2([[now + 1, now + 2], [now + 2]], 7), V2);
      expect(partial).toMatchObject({ status: 409, written: ["2", "0", "0"] });
    });
  });

  test("histograms are counted through replication, and stored by every owner", async () => {
    const ring = await cluster(3, 3);
    const found = rw.cases.find(({ name }) => name === "rw2/histograms");
    const series = (found?.content.timeseries ?? []) as { histograms: unknown[] }[];
    const histograms = series.reduce((sum, each) => sum + each.histograms.length, 0);
    const body = Buffer.from(found?.snappy_hex ?? "", "hex");
    const answer = await post(ring.nodes[0]?.http ?? "", body, V2);
    expect(answer).toMatchObject({ status: 204, written: ["0", String(histograms), "0"] });
    for (const node of ring.nodes) {
      await eventually(async () => expect(await node.series()).toHaveLength(series.length));
    }
  });

  test("references outside the symbols of remote write 2.0 are refused", async () => {
    const node = await ingestor();
    for (const body of [
      Buffer.of(0x22, 0, 0x2a, 4, 0x0a, 2, 1, 2),
      Buffer.of(0x22, 0, 0x2a, 3, 0x0a, 1, 0),
      Buffer.of(0x22, 1, 0x41),
      Buffer.of(0x2a, 0x7f),
    ]) {
      expect((await post(node.http, snappyEncode(body), V2)).status).toBe(400);
    }
  });

  test("a small remote write 2.0 body that stands for a large one is refused", async () => {
    const node = await ingestor();
    const symbol = Buffer.concat([
      Buffer.of(0x22, 0, 0x22, 0x80, 0x80, 0x02),
      Buffer.alloc(32768, 97),
    ]);
    const one = Buffer.of(0x2a, 4, 0x0a, 2, 1, 1);
    const body = Buffer.concat([symbol, ...Array.from({ length: 1000 }, () => one)]);
    expect((await post(node.http, snappyEncode(body), V2)).status).toBe(413);
  });

  test("RemoteWrite calls of a real Thanos router are stored", async () => {
    const { requests } = JSON.parse(readFileSync(path.join(GOLDEN, "requests.json"), "utf8")) as {
      requests: { method: string; hex: string }[];
    };
    const calls = requests.filter(({ method }) => method === REMOTE_WRITE);
    expect(calls.length).toBeGreaterThan(0);
    for (const { hex } of calls) {
      const node = await ingestor();
      const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
      const call = client.unary(REMOTE_WRITE, Buffer.from(hex, "hex"), { timeoutMs: 5000 });
      // Floats are stored whatever becomes of the histograms of the same call.
      const text = await call.then(
        () => "",
        (error: unknown) => (error as Error).message,
      );
      expect(text).toMatch(/^$|native histograms are not supported yet/);
      const tenants = node.receiver?.tenants?.list().map(({ name }) => name) ?? [];
      const stored = await Promise.all(tenants.map((tenant) => node.series(tenant)));
      expect(stored.flat().length).toBeGreaterThan(0);
      client.close();
    }
  });

  test("a foreign peer learns of a conflict by the status alone", async () => {
    const node = await ingestor();
    const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
    await client.unary(REMOTE_WRITE, forwardedForTest(series(2)), { timeoutMs: 5000 });
    const conflict = client.unary(REMOTE_WRITE, forwardedForTest(series(2, 5)), {
      timeoutMs: 5000,
    });
    await expect(conflict).rejects.toBeInstanceOf(GrpcError);
    await expect(conflict).rejects.toMatchObject({ code: 6 });
    client.close();
  });
});

describe("restarts and rings", () => {
  test("a restart keeps what was acknowledged", async () => {
    const root = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
    dirs.push(root);
    const node = await ingestor(root);
    await post(node.http, writeBody(series(50)));
    await post(node.http, writeBody(series(5)), { "THANOS-TENANT": "team-a" });
    await node.stop();
    const again = await ingestor(root);
    expect(await again.series()).toHaveLength(50);
    expect(await again.series("team-a")).toHaveLength(5);
  });

  test("at a graceful end with a bucket, what the heads hold is cut, labelled and shipped", async () => {
    const root = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
    dirs.push(root);
    const node = new Node(root);
    await node.listen();
    const bucket = new InMemoryBucket();
    const shipping = {
      bucket,
      metrics: createShipperMetrics(new Registry()),
      hashFunc: "" as const,
      uploadCompacted: false,
      allowOutOfOrderUploads: false,
    };
    await node.open({ localEndpoint: "" }, { shipping });
    await post(node.http, writeBody(series(7)), { "THANOS-TENANT": "team-a" });
    await node.stop();
    const metas: unknown[] = [];
    for await (const name of bucket.list("", { recursive: true })) {
      if (!name.endsWith("/meta.json")) continue;
      metas.push(JSON.parse(Buffer.from(await bucket.get(name)).toString()));
    }
    expect(metas).toMatchObject([
      {
        stats: { numSeries: 7, numSamples: 7 },
        thanos: { labels: { receive_replica: "a", tenant_id: "team-a" }, source: "receive" },
      },
    ]);
  });

  test("beside an uploader only what it shipped may be deleted, without one everything", async () => {
    const dir = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
    dirs.push(dir);
    const may = (ulid: string) => shippedOf({ shipper: null, db: { dir } })(ulid);
    const [one, two] = ["01M82YC7QKENRYZN3NA7W8CVT8", "01M82Z2RK498JCB8C2S79T1NCR"];
    expect([may(one), may(two)]).toEqual([true, true]);
    await writeShipped(dir, []);
    expect([may(one), may(two)]).toEqual([false, false]);
    await writeShipped(dir, [one]);
    expect([may(one), may(two)]).toEqual([true, false]);
  });

  test("an invalid new ring is refused and counted, and the old one stays", async () => {
    const dir = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
    dirs.push(dir);
    const file = path.join(dir, "hashrings.json");
    const node = new Node(path.join(dir, "data"));
    nodes.push(node);
    await node.listen();
    writeFileSync(file, JSON.stringify([{ hashring: "one", endpoints: [node.address] }]));
    const receiver = await node.open({ hashrings: { file, inline: "" } });
    for (const text of ["", "[]", "{", '[{"endpoints":["a:1"],"algorithm":"rendezvous"}]']) {
      writeFileSync(file, text);
      await receiver.checkHashrings();
      expect((await post(node.http, writeBody(series(1)))).status).toBe(204);
      expect(await node.metrics.metrics()).toContain(
        "thanos_receive_config_last_reload_successful 0",
      );
    }
    writeFileSync(file, JSON.stringify([{ hashring: "two", endpoints: [node.address, "b:1"] }]));
    await receiver.checkHashrings();
    const text = await node.metrics.metrics();
    expect(text).toContain("thanos_receive_config_last_reload_successful 1");
    expect(text).toContain('thanos_receive_hashring_nodes{name="two"} 2');
  });

  test("a ring that cannot hold the copies stops the start", async () => {
    const node = new Node(mkdtempSync(path.join(tmpdir(), "torus-receive-")));
    dirs.push(node.dir);
    nodes.push(node);
    await node.listen();
    const inline = JSON.stringify([{ endpoints: [node.address] }]);
    const open = node.open({ hashrings: { file: "", inline }, replicationFactor: 2 });
    await expect(open).rejects.toThrow("hashring configuration");
  });

  test("folders that are no tenants are left alone", async () => {
    const root = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
    dirs.push(root);
    mkdirSync(path.join(root, "lost+found"));
    const node = await ingestor(root);
    expect(node.receiver?.tenants?.list().map(({ name }) => name)).toEqual(["default-tenant"]);
    const labels = JSON.parse(readFileSync(path.join(root, "external-labels.json"), "utf8"));
    expect(labels).toEqual({ labels: { receive_replica: "a" }, tenantLabelName: "tenant_id" });
  });
});
