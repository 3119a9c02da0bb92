/**
 * What senders tell about their metrics (remote write 1.0 in requests of its own, 2.0 with every sample) is told by the
 * query node, whichever receiver it came to.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Cluster, startCluster } from "@torus/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

type Told = { type: string; help: string; unit: string };
const golden = JSON.parse(
  readFileSync(new URL("../golden/wire/rw.json", import.meta.url), "utf8"),
) as {
  cases: {
    name: string;
    snappy_hex: string;
    content: {
      metadata?: (Told & { metric_family_name: string })[] | null;
      timeseries: { labels: [string, string][]; metadata?: Told }[] | null;
    };
  }[];
};

const dir = mkdtempSync(path.join(tmpdir(), "torus-metadata-"));
let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({ dir, receivers: 2, replicationFactor: 1 });
}, 60_000);
afterAll(async () => {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

test.each([
  ["rw1/metadata-only-v1", ""],
  ["rw2/metadata-in-v2", ";proto=io.prometheus.write.v2.Request"],
])(
  "%s",
  async (name, proto) => {
    const sent = golden.cases.find((each) => each.name === name);
    const url = cluster.receivers[proto === "" ? 0 : 1]?.remoteWriteUrl ?? "";
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": `application/x-protobuf${proto}`, "content-encoding": "snappy" },
      body: Buffer.from(sent?.snappy_hex ?? "", "hex"),
    });
    expect(response.status).toBe(204);
    const expected: Record<string, Told[]> = {};
    const add = (metric: string, { type, help, unit }: Told) => {
      const word = type.replace("METRIC_TYPE_", "").replace("UNSPECIFIED", "UNKNOWN").toLowerCase();
      if (word !== "unknown" || help !== "" || unit !== "") {
        expected[metric] = [{ type: word, help, unit }];
      }
    };
    for (const each of sent?.content.metadata ?? []) add(each.metric_family_name, each);
    for (const { labels, metadata } of sent?.content.timeseries ?? []) {
      if (metadata !== undefined) add(new Map(labels).get("__name__") ?? "", metadata);
    }
    expect(Object.keys(expected).length).toBeGreaterThan(5);
    const ask = async (query: string) => {
      const answer = await fetch(`${cluster.queryUrl}/api/v1/metadata${query}`);
      return ((await answer.json()) as { data: Record<string, Told[]> }).data;
    };
    const [first = ""] = Object.keys(expected);
    // A receiver that did not answer its last Info in time is asked again at the next.
    for (let i = 0; i < 40 && !(first in (await ask(""))); i++) {
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(await ask(""), cluster.query.log()).toMatchObject(expected);
    expect(await ask(`?metric=${first}`)).toEqual({ [first]: expected[first] });
  },
  30_000,
);
