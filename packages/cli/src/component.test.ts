/** What every component does with its process, seen at the uploader: the one that needs the least. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createGrpcClient } from "@torus/server";
import { afterAll, beforeAll, expect, test } from "vitest";

const dir = mkdtempSync(path.join(tmpdir(), "torus-component-"));
const bucket = path.join(dir, "bucket.yml");

beforeAll(() => {
  mkdirSync(path.join(dir, "tsdb"));
  mkdirSync(path.join(dir, "bucket"));
  writeFileSync(bucket, `type: FILESYSTEM\nconfig: { directory: "${dir}/bucket" }\n`);
});
afterAll(() => rmSync(dir, { recursive: true }));

type Component = {
  child: ChildProcess;
  log: () => string;
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
};

/** On free ports, unless `addresses` says otherwise. */
function uploader(addresses: { http?: string; grpc?: string }, ...flags: string[]): Component {
  const { http = "127.0.0.1:0", grpc = "127.0.0.1:0" } = addresses;
  const child = spawn(process.execPath, [
    "--import",
    "tsx",
    path.join(import.meta.dirname, "main.ts"),
    "uploader",
    `--tsdb.path=${dir}/tsdb`,
    `--objstore.config-file=${bucket}`,
    `--http-address=${http}`,
    `--grpc-address=${grpc}`,
    ...flags,
  ]);
  let log = "";
  child.stderr.on("data", (text: Buffer) => {
    log += text.toString();
  });
  const exited = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (code, signal) => resolve([code, signal]));
  });
  return { child, log: () => log, exited };
}

/** The first match of the pattern in the log. */
async function logged({ log, child }: Component, pattern: RegExp): Promise<string> {
  for (;;) {
    const match = pattern.exec(log());
    if (match !== null) return match[1] ?? match[0];
    if (child.exitCode !== null) throw new Error(`ended without ${pattern}: ${log()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("a component answers probes, health, reflection and metrics, and a signal ends it with 0", async () => {
  const component = uploader({}, "--log.format=json");
  await logged(component, /"msg":"ready"/);
  const http = await logged(component, /"address":"([^"]+)","protocol":"http"/);
  const grpc = await logged(component, /"address":"([^"]+)","protocol":"gRPC"/);
  for (const page of ["/-/healthy", "/-/ready"]) {
    expect((await fetch(`http://${http}${page}`)).status).toBe(200);
  }
  const metrics = await (await fetch(`http://${http}/metrics`)).text();
  expect(metrics).toMatch(/^torus_build_info\{/m);
  expect(metrics).toMatch(/^process_resident_memory_bytes \d+/m);
  const client = createGrpcClient(grpc, { maxMessageBytes: 1 << 20 });
  const options = { timeoutMs: 5000 };
  const health = await client.unary("/grpc.health.v1.Health/Check", new Uint8Array(0), options);
  expect([...health]).toStrictEqual([8, 1]);
  client.close();
  component.child.kill("SIGTERM");
  expect(await component.exited).toStrictEqual([0, null]);
  for (const line of component.log().trim().split("\n")) {
    expect(JSON.parse(line)).toMatchObject({ component: "uploader", ts: expect.any(String) });
  }
});

test("a port that is taken ends it with 1 and the address, without a stack", async () => {
  const holder = net.createServer();
  await new Promise<void>((resolve) => {
    holder.listen(0, "127.0.0.1", resolve);
  });
  const { port } = holder.address() as net.AddressInfo;
  for (const listener of ["http", "grpc"]) {
    const component = uploader({ [listener]: `127.0.0.1:${port}` });
    expect(await component.exited).toStrictEqual([1, null]);
    expect(component.log()).toContain(`listen tcp 127.0.0.1:${port}: bind: address already in use`);
    expect(component.log()).not.toContain("    at ");
  }
  holder.close();
});

test("a second signal does not wait for a request that does not end", async () => {
  const component = uploader({}, "--http-grace-period=1h");
  await logged(component, /msg=ready/);
  const http = await logged(component, /address=(\S+) protocol=http/);
  const [host = "", port] = http.split(":");
  // Half a request: it is under way until its headers end.
  const socket = net.connect(Number(port), host);
  socket.on("error", () => {});
  await new Promise<void>((resolve) => {
    socket.write("GET /-/healthy HTTP/1.1\r\nhost: x\r\n", () => resolve());
  });
  await fetch(`http://${http}/-/healthy`);
  component.child.kill("SIGTERM");
  await logged(component, /caught signal/);
  // Two signals within half a second count as one, so it is sent until it is taken for a second one.
  const again = setInterval(() => component.child.kill("SIGTERM"), 50);
  expect(await component.exited).toStrictEqual([143, null]);
  clearInterval(again);
  socket.destroy();
});
