/** What goes from one receiver process to another as protobuf, plain and compressed, counted on its way. */

import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { encodeWriteRequest } from "@torus/protocol";
import { freePorts, type RunningProcess, startProcess, torusProgram } from "@torus/testkit";
import { afterAll, expect, test } from "vitest";
import { post, type Sample, writeBody } from "./test-cluster.ts";

const root = mkdtempSync(path.join(tmpdir(), "torus-compression-"));
const running: RunningProcess[] = [];
afterAll(async () => {
  await Promise.all(running.map((each) => each.kill("SIGKILL")));
  rmSync(root, { recursive: true, force: true });
});

async function receiver(name: string, ports: readonly number[], ...args: string[]) {
  const [http, grpc, write] = ports.map((port) => `127.0.0.1:${port}`);
  running.push(
    await startProcess({
      name,
      command: process.execPath,
      args: [
        torusProgram(),
        "receive",
        `--http-address=${http}`,
        `--grpc-address=${grpc}`,
        `--remote-write.address=${write}`,
        `--tsdb.path=${path.join(root, name)}`,
        `--label=receive_replica="${name}"`,
        "--log.level=error",
        ...args,
      ],
      readyUrl: `http://${http}/-/ready`,
    }),
  );
}

test("a router compresses what it forwards when asked, and the ingestor stores the same", async () => {
  const ports = await freePorts(9);
  await receiver("ingestor", ports.slice(0, 3));
  let sent = 0;
  const proxy = net.createServer((socket) => {
    const upstream = net.connect(ports[1] ?? 0, "127.0.0.1");
    socket.on("data", (chunk) => {
      sent += chunk.length;
    });
    for (const each of [socket, upstream]) each.on("error", () => undefined);
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise<void>((resolve) => {
    proxy.listen(0, "127.0.0.1", resolve);
  });
  const { port } = proxy.address() as net.AddressInfo;
  const router = (name: string, from: number, compression: string) =>
    receiver(
      name,
      ports.slice(from, from + 3),
      `--receive.hashrings=[{"endpoints": ["127.0.0.1:${port}"]}]`,
      "--receive.replication-protocol=protobuf",
      `--receive.grpc-compression=${compression}`,
    );
  await Promise.all([router("plain", 3, "none"), router("packed", 6, "snappy")]);

  const labels = (i: number) => ["__name__", "http_requests_total", "instance", `host-${i}`];
  const at = Date.now();
  const body = (step: number): Sample[] =>
    Array.from({ length: 2000 }, (_, i) => [labels(i), at + step, i]);
  const plainBytes = encodeWriteRequest(
    body(0).map(([each]) => ({
      labels: each,
      timestamps: Float64Array.of(at),
      values: Float64Array.of(1),
    })),
  ).length;
  const bytes: number[] = [];
  for (const [step, write] of [ports[5], ports[8]].entries()) {
    sent = 0;
    const url = `http://127.0.0.1:${write}/api/v1/receive`;
    expect((await post(url, writeBody(body(step)))).status).toBe(204);
    bytes.push(sent);
  }
  expect(bytes[0]).toBeGreaterThan(plainBytes * 0.9);
  expect(bytes[1]).toBeLessThan(plainBytes / 3);
  const metrics = await (await fetch(`http://127.0.0.1:${ports[0]}/metrics`)).text();
  expect(metrics).toContain('prometheus_tsdb_head_series{tenant="default-tenant"} 2000\n');
  expect(metrics).toMatch(/^prometheus_tsdb_head_samples_appended_total.*type="float"} 4000$/m);
  proxy.close();
}, 60_000);
