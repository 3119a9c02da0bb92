import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Labels, Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import type { ReceiverOptions } from "../receiver.ts";
import { Cluster, type Node, post, writeBody } from "../test-cluster.ts";
import type { HandOffMode } from "./handoff.ts";

const clusters: Cluster[] = [];
const dirs: string[] = [];
afterEach(async () => {
  await Promise.all(clusters.splice(0).map((each) => each.stop()));
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const SERIES: Labels[] = Array.from({ length: 20 }, (_, i) => ["__name__", "up", "i", String(i)]);

type Ring = { nodes: Node[]; overrides: Partial<ReceiverOptions>; queueDir: string };

async function ringOf(mode: HandOffMode | "off", factor: number): Promise<Ring> {
  const queueDir = mkdtempSync(path.join(tmpdir(), "torus-handoff-"));
  dirs.push(queueDir);
  const overrides: Partial<ReceiverOptions> = {
    replicationFactor: factor,
    forward: { timeoutMs: 500, maxBackoffMs: 100, maxInflightBytes: 64 << 20, records: true },
  };
  const ring = await Cluster.start(3, overrides);
  clusters.push(ring);
  const [first] = ring.nodes as [Node];
  // The first has the queues; its address stays.
  await first.stop();
  await first.listen(first.address);
  await first.open({
    hashrings: { file: "", inline: ring.ring },
    ...overrides,
    handOff:
      mode === "off"
        ? null
        : { mode, dir: queueDir, maxBytes: 1 << 24, maxMessageBytes: 1 << 20, maxAgeMs: 600_000 },
  });
  const back = { hashrings: { file: "", inline: ring.ring }, ...overrides };
  return { nodes: ring.nodes, overrides: back, queueDir };
}

let time = Date.now() - 60_000;
const write = async (node: Node | undefined) =>
  (await post(node?.http ?? "", writeBody(SERIES.map((labels) => [labels, ++time, 1])))).status;

async function restart(node: Node | undefined, overrides: Partial<ReceiverOptions>): Promise<void> {
  await node?.listen(node.address);
  await node?.open(overrides);
}

async function eventually(check: () => Promise<void> | void): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      await check();
      return;
    } catch (error) {
      if (i === 250) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function samplesOf(node: Node | undefined): Promise<number> {
  const db = node?.receiver?.tenants?.peek("default-tenant")?.db;
  if (db === undefined) return 0;
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  let samples = 0;
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { chunks } of batch) {
      for (const { data } of chunks) samples += ((data[0] as number) << 8) | (data[1] as number);
    }
  }
  return samples;
}

const seriesOf = async (node: Node | undefined) => (await node?.series())?.length;

test("what a receiver missed while it was away is brought to it when it is back", async () => {
  const { nodes, overrides } = await ringOf("copies", 3);
  const [first, , third] = nodes;
  await third?.stop();
  for (let i = 0; i < 5; i++) expect(await write(first)).toBe(204);
  await eventually(async () => {
    const metrics = await first?.metrics.metrics();
    expect(metrics).toMatch(/torus_receive_handoff_queue_bytes\{peer="[^"]+"\} [1-9]/);
  });
  await restart(third, overrides);
  await eventually(async () => expect(await samplesOf(third)).toBe(5 * 20));
  await eventually(async () => {
    const metrics = (await first?.metrics.metrics()) ?? "";
    expect(metrics).toMatch(/torus_receive_handoff_queue_bytes\{peer="[^"]+"\} 0\n/);
    const count = (what: string) =>
      new RegExp(`torus_receive_handoff_${what}_total\\{peer="[^"]+"\\} (\\d+)\n`).exec(
        metrics,
      )?.[1];
    expect(Number(count("queued"))).toBeGreaterThanOrEqual(5);
    expect(count("replayed")).toBe(count("queued"));
    expect(metrics).not.toMatch(/torus_receive_handoff_(dropped|refused_series)_total\{/);
  });
});

test("with a replication factor of 1 a lost share is refused, and not kept besides", async () => {
  const { nodes, overrides, queueDir } = await ringOf("copies", 1);
  const [first, , third] = nodes;
  await third?.stop();
  expect(await write(first)).toBe(503);
  await restart(third, overrides);
  await eventually(async () => expect(await write(first)).toBe(204));
  expect(readdirSync(queueDir)).toEqual([]);
});

test("a hint counts for the quorum where it is told to, survives its node, and only there", async () => {
  const { nodes, overrides, queueDir } = await ringOf("quorum", 3);
  const [first, second, third] = nodes;
  await second?.stop();
  await third?.stop();
  expect(await write(first)).toBe(204);
  await first?.stop();
  expect(readdirSync(queueDir)).toHaveLength(2);
  await restart(first, {
    ...overrides,
    handOff: {
      mode: "quorum",
      dir: queueDir,
      maxBytes: 1 << 24,
      maxMessageBytes: 1 << 20,
      maxAgeMs: 600_000,
    },
  });
  await restart(second, overrides);
  await restart(third, overrides);
  await eventually(async () => {
    expect(await seriesOf(second)).toBe(20);
    expect(await seriesOf(third)).toBe(20);
  });
  const { nodes: others } = await ringOf("copies", 3);
  await others[1]?.stop();
  await others[2]?.stop();
  expect(await write(others[0])).toBe(503);
});

test("without hand-off a receiver stays without what it missed", async () => {
  const { nodes, overrides } = await ringOf("off", 3);
  const [first, , third] = nodes;
  await third?.stop();
  expect(await write(first)).toBe(204);
  await restart(third, overrides);
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(await seriesOf(third)).toBe(0);
});
