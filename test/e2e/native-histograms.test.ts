/**
 * Native histograms through the real programs: written to one receiver of two, asked of the query node, and asked
 * again after both receivers were killed.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Cluster, startCluster } from "@torus/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

type Case = {
  name: string;
  snappy_hex: string;
  content: {
    timeseries: {
      labels: [name: string, value: string][];
      histograms: { t: string; h?: { count: string }; fh?: { count: string } }[];
    }[];
  };
};

const golden = JSON.parse(
  readFileSync(new URL("../golden/wire/rw.json", import.meta.url), "utf8"),
) as { cases: Case[] };
const written = golden.cases.find(({ name }) => name === "rw1/histograms") as Case;

const dir = mkdtempSync(path.join(tmpdir(), "torus-histograms-"));
let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ dir, receivers: 2, replicationFactor: 2 });
}, 60_000);
afterAll(async () => {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

async function ask(expression: string, seconds: number): Promise<Map<string, number>> {
  const query = new URLSearchParams({ query: expression, time: String(seconds) });
  const answer = await fetch(`${cluster.queryUrl}/api/v1/query?${query.toString()}`);
  const body = (await answer.json()) as {
    data: { result: { metric: Record<string, string>; value?: [number, string] }[] };
  };
  const key = ({ metric }: { metric: Record<string, string> }) => metric["job"] ?? "";
  return new Map(body.data.result.map((each) => [key(each), Number(each.value?.[1])]));
}

test("what was written is answered, and after kill -9 of all receivers as well", async () => {
  const response = await fetch(cluster.receivers[0]?.remoteWriteUrl ?? "", {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", "content-encoding": "snappy" },
    body: Buffer.from(written.snappy_hex, "hex"),
  });
  expect(response.status).toBe(204);
  const at = Number(written.content.timeseries[0]?.histograms[0]?.t) / 1000 + 1;
  const check = async () => {
    // The query node learns what times a receiver has when it asks it the next time.
    for (let i = 0; i < 100 && (await ask("h_int", at)).size === 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    let asked = 0;
    for (const { labels, histograms } of written.content.timeseries) {
      // Stale ones count nothing, and end their series.
      const [one] = histograms;
      const count = Number((one?.h ?? one?.fh)?.count);
      if (one === undefined || count === 0) continue;
      const metric = new Map(labels).get("__name__");
      const found = await ask(`histogram_count(${metric})`, at);
      expect([...found.values()], metric).toEqual([count]);
      asked++;
    }
    expect(asked).toBeGreaterThan(5);
    const quantile = [...(await ask("histogram_quantile(0.9, h_int)", at)).values()];
    expect(quantile[0]).toBeGreaterThan(1);
    return quantile;
  };
  const before = await check();
  for (const receiver of cluster.receivers) await receiver.kill("SIGKILL");
  for (const receiver of cluster.receivers) await receiver.start();
  expect(await check()).toEqual(before);
}, 60_000);
