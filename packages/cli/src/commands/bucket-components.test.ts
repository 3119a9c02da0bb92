/** `torus uploader` and `torus store` as processes: blocks of a receiver's directory reach a bucket and are answered from it. */

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { formatLabels, Matcher } from "@torus/model";
import { decodeSeriesResponse, emptySeriesRequest, encodeSeriesRequest } from "@torus/protocol";
import { createGrpcClient } from "@torus/server";
import { afterAll, expect, test } from "vitest";

const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden/tsdb/blocks/floats");
const ULID = "01M82Z2RK498JCB8C2S79T1NCR";
const scratch = mkdtempSync(path.join(tmpdir(), "torus-uploader-command-"));
const running: ChildProcess[] = [];
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});

function torus(...args: string[]) {
  const child = spawn(
    process.execPath,
    ["--import", "tsx", path.join(import.meta.dirname, "../main.ts"), ...args],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  running.push(child);
  let log = "";
  child.stderr.on("data", (text: Buffer) => {
    log += text.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, ended, log: () => log };
}

const LISTEN = ["--http-address=127.0.0.1:0", "--grpc-address=127.0.0.1:0"];

test("the uploader ships with the labels that the receiver left, and stops on SIGTERM", async () => {
  const data = path.join(scratch, "data");
  cpSync(path.join(GOLDEN, ULID), path.join(data, "tenant-a", ULID), { recursive: true });
  writeFileSync(
    path.join(data, "external-labels.json"),
    '{"labels":{"replica":"r"},"tenantLabelName":"tenant_id"}',
  );
  const config = path.join(scratch, "bucket.yml");
  const bucket = path.join(scratch, "bucket");
  writeFileSync(config, `type: FILESYSTEM\nconfig:\n  directory: ${JSON.stringify(bucket)}\n`);
  const flags = [`--tsdb.path=${data}`, `--objstore.config-file=${config}`];
  const { child, ended, log } = torus("uploader", ...flags, ...LISTEN);
  const shipped = path.join(data, "tenant-a", "thanos.shipper.json");
  const isShipped = () => existsSync(shipped) && readFileSync(shipped, "utf8").includes(ULID);
  while (!isShipped() && child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill("SIGTERM");
  expect(await ended, log()).toBe(0);
  const meta = JSON.parse(readFileSync(path.join(bucket, ULID, "meta.json"), "utf8")) as {
    thanos: { labels: Record<string, string> };
  };
  expect(meta.thanos.labels).toEqual({ replica: "r", tenant_id: "tenant-a" });
  expect(log()).toContain(`msg="uploaded block" block=${ULID} tenant=tenant-a`);
  expect(existsSync(path.join(data, "tenant-a", "thanos.shipper.lock"))).toBe(false);
});

test("the store answers Series from the bucket, and stops on SIGTERM", async () => {
  const bucket = path.join(scratch, "bucket");
  const { child, ended, log } = torus(
    "store",
    `--data-dir=${path.join(scratch, "store")}`,
    `--objstore.config={type: FILESYSTEM, config: {directory: ${JSON.stringify(bucket)}}}`,
    ...LISTEN,
  );
  const address = () => /address=(127\.0\.0\.1:\d+) protocol=gRPC/.exec(log())?.[1];
  while (!log().includes("msg=ready") && child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const client = createGrpcClient(address() ?? "", { maxMessageBytes: 1 << 20 });
  const request = encodeSeriesRequest({
    ...emptySeriesRequest(),
    maxTime: Number.MAX_SAFE_INTEGER,
    matchers: [new Matcher("=", "tenant_id", "tenant-a"), new Matcher("!=", "__name__", "")],
  });
  const series: string[] = [];
  const timeoutMs = 20_000;
  for await (const message of client.serverStream("/thanos.Store/Series", request, { timeoutMs })) {
    for (const { labels } of decodeSeriesResponse(message).series)
      series.push(formatLabels(labels));
  }
  client.close();
  child.kill("SIGTERM");
  expect(await ended, log()).toBe(0);
  expect(series).toHaveLength(8);
  expect(series[0]).toBe(
    'http_requests_total{instance="host-0:9100", job="node", replica="r", tenant_id="tenant-a"}',
  );
});

test.each<[name: string, flags: string[], message: string]>([
  ["no bucket", [], "one of --objstore.config-file and --objstore.config is needed"],
  ["a misspelt key", ["--objstore.config={type: FILESYSTEM, confg: {}}"], "unknown key confg"],
  ["no such file", ["--objstore.config-file=/nowhere/bucket.yml"], "ENOENT"],
])("says what is wrong with %s, and ends with 1", async (_, flags, message) => {
  const { ended, log } = torus("uploader", `--tsdb.path=${scratch}`, ...flags, ...LISTEN);
  expect(await ended).toBe(1);
  expect(log()).toContain(message);
});
