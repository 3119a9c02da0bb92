/** What senders tell of metrics, from remote write to thanos.Metadata. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  decodeMetadataResponse,
  encodeMetadataRequest,
  METRIC_METADATA,
  type MetricMetadata,
} from "@torus/protocol";
import { createGrpcClient, GrpcStatus } from "@torus/server";
import { afterEach, expect, test } from "vitest";
import { NOTE_METADATA } from "./metadata-spread.ts";
import { Cluster, Node, post, writeBody } from "./test-cluster.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/wire/rw.json");
const V2 = {
  "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
  "x-prometheus-remote-write-version": "2.0.0",
};

const scratch = mkdtempSync(path.join(tmpdir(), "torus-receive-metadata-"));
const nodes: Node[] = [];
const clusters: Cluster[] = [];
afterEach(async () => {
  for (const each of clusters.splice(0)) await each.stop();
  for (const node of nodes.splice(0)) await node.stop();
  rmSync(scratch, { recursive: true, force: true });
});

async function ingestor(): Promise<Node> {
  const node = new Node(scratch);
  nodes.push(node);
  await node.listen();
  await node.open({ localEndpoint: "" });
  return node;
}

async function metadataOf(node: Node): Promise<Record<string, MetricMetadata[]>> {
  const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
  const out: Record<string, MetricMetadata[]> = {};
  const request = encodeMetadataRequest("", 0);
  for await (const message of client.serverStream(METRIC_METADATA, request, { timeoutMs: 5000 })) {
    Object.assign(out, Object.fromEntries(decodeMetadataResponse(message).metadata));
  }
  client.close();
  return out;
}

type RwCase = { name: string; snappy_hex?: string };
const { cases } = JSON.parse(readFileSync(GOLDEN, "utf8")) as { cases: RwCase[] };
const bodyOf = (name: string): Buffer =>
  Buffer.from(cases.find((each) => each.name === name)?.snappy_hex ?? "", "hex");

test("metadata of remote write 1.0 and 2.0 is served, and there again after a restart", async () => {
  const node = await ingestor();
  // Of these families one has a series here, under a name of its own.
  const series = writeBody([[["__name__", "fam_3_bucket", "le", "1"], 1_700_774_057_861, 1]]);
  expect((await post(node.http, series)).status).toBe(204);
  expect((await post(node.http, bodyOf("rw1/metadata-only-v1"))).status).toBe(204);
  expect((await post(node.http, bodyOf("rw2/metadata-in-v2"), V2)).status).toBe(204);
  const all = await metadataOf(node);
  expect(Object.keys(all)).toHaveLength(15);
  expect(all).toMatchObject({
    fam_3: [{ type: "histogram", help: "help 3", unit: "seconds" }],
    fam_5: [{ type: "summary", help: "help 5", unit: "seconds" }],
    c_total: [{ type: "counter", help: "Some help: é\nline", unit: "seconds" }],
    gh: [{ type: "gaugehistogram" }],
    st: [{ type: "stateset" }],
  });
  await node.stop();
  nodes.length = 0;
  const again = await metadataOf(await ingestor());
  const { fam_0, fam_1, fam_2, fam_4, fam_5, fam_6, fam_7, ...logged } = all;
  expect([fam_0, fam_1, fam_2, fam_4, fam_5, fam_6, fam_7]).not.toContain(undefined);
  expect(again).toEqual(logged);
});

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

test("what one receiver is told, every receiver of the ring knows, one that was away later", async () => {
  let aheadMs = 0;
  const now = () => Date.now() + aheadMs;
  const cluster = await Cluster.start(3, { replicationFactor: 2, now });
  clusters.push(cluster);
  const [first, second, third] = cluster.nodes as [Node, Node, Node];
  expect((await post(first.http, bodyOf("rw2/metadata-in-v2"), V2)).status).toBe(204);
  const seven = await metadataOf(first);
  expect(Object.keys(seven)).toHaveLength(7);
  for (const node of [second, third]) {
    await eventually(async () => expect(await metadataOf(node)).toEqual(seven));
  }
  const { address } = third;
  await third.stop();
  expect((await post(first.http, bodyOf("rw1/metadata-only-v1"))).status).toBe(204);
  await eventually(async () => expect(Object.keys(await metadataOf(second))).toHaveLength(15));
  await third.listen(address);
  await third.open({ hashrings: { file: "", inline: cluster.ring }, replicationFactor: 2, now });
  // Its series' metadata is in its log; what it missed it does not know yet.
  expect(Object.keys(seven)).toEqual(expect.arrayContaining(Object.keys(await metadataOf(third))));
  await eventually(async () => {
    // The first call may still find the connection gone.
    aheadMs += 61_000;
    expect((await post(first.http, bodyOf("rw1/metadata-only-v1"))).status).toBe(204);
    expect(await metadataOf(third)).toMatchObject({ fam_3: [{ help: "help 3" }] });
  });
});

test("a router tells the receivers, and a message that is none is refused", async () => {
  const cluster = await Cluster.start(2, { replicationFactor: 1 });
  clusters.push(cluster);
  const router = new Node(scratch);
  nodes.push(router);
  await router.listen();
  await router.open({ localEndpoint: "", hashrings: { file: "", inline: cluster.ring } });
  expect((await post(router.http, bodyOf("rw1/metadata-only-v1"))).status).toBe(204);
  for (const node of cluster.nodes) {
    await eventually(async () => expect(Object.keys(await metadataOf(node))).toHaveLength(8));
  }
  const client = createGrpcClient(cluster.nodes[0]?.address ?? "", { maxMessageBytes: 1 << 20 });
  const call = { timeoutMs: 5000 };
  for (const message of [Buffer.of(0x0a, 9, 65), Buffer.of(0x0a, 3, 46, 46, 47), Buffer.of(7)]) {
    await expect(client.unary(NOTE_METADATA, message, call)).rejects.toMatchObject({
      code: GrpcStatus.INVALID_ARGUMENT,
    });
  }
  client.close();
});
