import { readFileSync } from "node:fs";
import path from "node:path";
import {
  decodeExemplars,
  EXEMPLARS,
  encodeExemplarsRequest,
  type WireExemplars,
} from "@torus/protocol";
import { createGrpcClient } from "@torus/server";
import { afterEach, expect, test, vi } from "vitest";
import { Cluster, post } from "./test-cluster.ts";

const V2 = { "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request" };
const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/wire");
type RwCase = {
  name: string;
  snappy_hex: string;
  content: { timeseries: { exemplars: unknown[] | null }[] };
};
const rw = JSON.parse(readFileSync(path.join(GOLDEN, "rw.json"), "utf8")) as { cases: RwCase[] };

let running: Cluster | undefined;
afterEach(() => running?.stop());

async function cluster(): Promise<Cluster> {
  running = await Cluster.start(3, { replicationFactor: 3 });
  return running;
}

test("exemplars are counted through replication, stored by every owner and told as StoreAPI's", async () => {
  const ring = await cluster();
  const found = rw.cases.find(({ name }) => name === "rw2/exemplars");
  const given = found?.content.timeseries ?? [];
  const count = given.reduce((sum, { exemplars }) => sum + (exemplars?.length ?? 0), 0);
  expect(count).toBeGreaterThan(1);
  const body = Buffer.from(found?.snappy_hex ?? "", "hex");
  const answer = await post(ring.nodes[0]?.http ?? "", body, V2);
  expect(answer.status).toBe(204);
  expect(answer.written[2]).toBe(String(count));
  const request = encodeExemplarsRequest({
    query: 'rate({receive_replica="a",__name__=~".+"}[5m])',
    start: 0,
    end: 2 ** 50,
    partialResponseStrategy: 0,
  });
  for (const node of ring.nodes) {
    await vi.waitFor(() => {
      const held = node.receiver?.tenants?.peek("default-tenant")?.db.head.exemplars.count;
      expect(held).toBe(count);
    });
    const client = createGrpcClient(node.address, { maxMessageBytes: 1 << 20 });
    const told: WireExemplars[] = [];
    for await (const message of client.serverStream(EXEMPLARS, request, { timeoutMs: 5000 })) {
      told.push(...decodeExemplars(message).series);
    }
    client.close();
    expect(told.flatMap(({ exemplars }) => exemplars)).toHaveLength(count);
    expect(told[0]?.labels).toContain("tenant_id");
    expect(told[0]?.exemplars[0]).toMatchObject({
      labels: ["span_id", "ü", "trace_id", "abc"],
      value: 4.5,
    });
  }
});
