/** Three receivers as processes of their own, stopped, killed and started again under a steady writer. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { Tsdb } from "@torus/tsdb";
import { afterAll, expect, test } from "vitest";
import { post, type Sample, writeBody } from "./test-cluster.ts";

const MAIN = path.join(import.meta.dirname, "../../cli/src/main.ts");
const root = mkdtempSync(path.join(tmpdir(), "torus-processes-"));
const running = new Set<ChildProcess>();

afterAll(async () => {
  await Promise.all([...running].map((child) => end(child, "SIGKILL")));
  rmSync(root, { recursive: true, force: true });
});

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => resolve(code));
  });
  child.kill(signal);
  const code = await ended;
  running.delete(child);
  return code;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, "127.0.0.1", () => {
            const address = server.address();
            resolve(address === null || typeof address === "string" ? 0 : address.port);
          });
        }),
    ),
  );
  for (const server of servers) server.close();
  return ports;
}

type Ports = { http: number; grpc: number; write: number };

async function start(name: string, ports: Ports, ring: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      MAIN,
      "receive",
      `--http-address=127.0.0.1:${ports.http}`,
      `--grpc-address=127.0.0.1:${ports.grpc}`,
      `--remote-write.address=127.0.0.1:${ports.write}`,
      `--receive.local-endpoint=127.0.0.1:${ports.grpc}`,
      `--tsdb.path=${path.join(root, name)}`,
      `--label=receive_replica="${name}"`,
      `--receive.hashrings-file=${ring}`,
      "--receive.hashrings-algorithm=ketama",
      "--receive.replication-factor=3",
      "--log.level=error",
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  running.add(child);
  for (;;) {
    const ready = await fetch(`http://127.0.0.1:${ports.http}/-/ready`).then(
      ({ status }) => status === 200,
      () => false,
    );
    if (ready) return child;
    expect(child.exitCode).toBeNull();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Series of a node's default tenant, as its directory has them. */
async function stored(name: string): Promise<Set<string>> {
  const db = await Tsdb.open({
    dir: path.join(root, name, "default-tenant"),
    blockDurationMs: 7_200_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: Date.now,
    log: () => undefined,
  });
  const found = new Set<string>();
  const select = {
    mint: 0,
    maxt: Number.MAX_SAFE_INTEGER,
    matchers: [new Matcher("=", "__name__", "chaos")],
    skipChunks: true,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels } of batch) found.add(labels.join(","));
  }
  await db.close();
  return found;
}

test("what was acknowledged is on a quorum, while a peer hangs, is killed and comes back", async () => {
  const names = ["a", "b", "c"];
  const numbers = await freePorts(9);
  const ports = names.map((_, i) => {
    const [http = 0, grpc = 0, write = 0] = numbers.slice(i * 3);
    return { http, grpc, write };
  }) as [Ports, Ports, Ports];
  const ring = path.join(root, "hashrings.json");
  const endpoints = ports.map(({ grpc }) => `127.0.0.1:${grpc}`);
  writeFileSync(ring, JSON.stringify([{ hashring: "chaos", endpoints }]));
  await Promise.all([start("a", ports[0], ring), start("b", ports[1], ring)]);
  let third = await start("c", ports[2], ring);

  const acknowledged: string[] = [];
  const refused: string[] = [];
  let next = 0;
  const write = async (batches: number) => {
    for (let i = 0; i < batches; i++) {
      const batch = Array.from({ length: 50 }, (): Sample => {
        return [["__name__", "chaos", "n", String(next++)], Date.now(), next];
      });
      const { write: port } = ports[i % 2] as Ports;
      const answer = await post(`http://127.0.0.1:${port}/api/v1/receive`, writeBody(batch));
      if (answer.status === 204) acknowledged.push(...batch.map(([labels]) => labels.join(",")));
      else refused.push(answer.text);
    }
  };
  await write(20);
  third.kill("SIGSTOP");
  await write(20);
  third.kill("SIGCONT");
  await write(10);
  await end(third, "SIGKILL");
  await write(20);
  third = await start("c", ports[2], ring);
  await write(20);
  // A node of the other two is killed as well, with what it had acknowledged a moment ago.
  const all = [...running];
  await end(all[0] as ChildProcess, "SIGKILL");
  const codes = await Promise.all([...running].map((child) => end(child, "SIGTERM")));

  expect(refused).toEqual([]);
  expect(codes).toEqual([0, 0]);
  expect(acknowledged).toHaveLength(90 * 50);
  const nodes = await Promise.all(names.map(stored));
  const lacking = acknowledged.filter(
    (each) => nodes.filter((series) => series.has(each)).length < 2,
  );
  expect(lacking).toEqual([]);
}, 120_000);
