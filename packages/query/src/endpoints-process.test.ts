/** `torus query` as a process whose endpoints come from a file, by DNS and over TLS. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { serveSynthetic } from "./synthetic-store.ts";

const START = 1_700_000_000_000;
const MAIN = path.join(import.meta.dirname, "../../cli/src/main.ts");
const TESTDATA = path.join(import.meta.dirname, "../../server/src/testdata");
const dir = mkdtempSync(path.join(tmpdir(), "torus-endpoints-"));
const children: ChildProcess[] = [];
const stops: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  for (const stop of stops) await stop();
  rmSync(dir, { recursive: true, force: true });
});

/** @returns what it logged so far, and how it ended */
function start(flags: string[]) {
  const common = ["--http-address=127.0.0.1:0", "--grpc-address=127.0.0.1:0"];
  const child = spawn(process.execPath, ["--import", "tsx", MAIN, "query", ...common, ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.push(child);
  let log = "";
  child.stderr.on("data", (text: Buffer) => (log += text.toString()));
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  return { child, ended, log: () => log };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 20));

test("a file is followed to endpoints behind a name and TLS, and an invalid version of it changes nothing", async () => {
  const read = (name: string) => readFileSync(path.join(TESTDATA, name));
  const store = await serveSynthetic(
    [{ name: "few", count: 50, samples: 120, startMs: START, stepMs: 15_000 }],
    { cert: read("server.pem"), key: read("server-key.pem"), clientCa: read("ca.pem") },
  );
  stops.push(store.stop);
  const file = path.join(dir, "endpoints.yml");
  writeFileSync(file, "endpoints: []\n");
  const { child, log } = start([
    `--endpoint.sd-config-file=${file}`,
    "--endpoint.info-interval=200ms",
    "--grpc-client-tls-secure",
    `--grpc-client-tls-ca=${path.join(TESTDATA, "ca.pem")}`,
    `--grpc-client-tls-cert=${path.join(TESTDATA, "agent.pem")}`,
    `--grpc-client-tls-key=${path.join(TESTDATA, "agent-key.pem")}`,
    "--grpc-client-server-name=localhost",
  ]);
  while (!log().includes("msg=ready")) {
    if (child.exitCode !== null) throw new Error(log());
    await turn();
  }
  const base = `http://${/address=(\S+) protocol=http/.exec(log())?.[1]}`;
  const count = async () => {
    const response = await fetch(`${base}/api/v1/query?query=count(few)&time=${START / 1000 + 60}`);
    const body = (await response.json()) as { data: { result: { value: [number, string] }[] } };
    return body.data.result[0]?.value[1];
  };
  expect(await count()).toBeUndefined();
  const port = store.address.split(":").at(-1);
  writeFileSync(file, `endpoints: [{address: "dns+localhost:${port}"}]\n`);
  while ((await count()) !== "50") await turn();
  writeFileSync(file, "endpoints: {}\n");
  while (!log().includes("new configuration is invalid")) await turn();
  expect(await count()).toBe("50");
}, 60_000);

test.each([
  ["--endpoint=nothing", "endpoint nothing: it has no port"],
  ["--endpoint.sd-config=endpoints: {}", "endpoints is no list"],
  ["--query.max-concurrent=0", "--query.max-concurrent must be at least 1"],
  ["--grpc-client-tls-cert=a", "both --grpc-client-tls-cert and --grpc-client-tls-key"],
])(
  "%s ends the start with a reason",
  async (flag, reason) => {
    const { ended, log } = start([flag]);
    expect(await ended).not.toBe(0);
    expect(log()).toContain(reason);
  },
  30_000,
);
