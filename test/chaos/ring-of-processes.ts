/**
 * Receivers and a query node as processes of the built program, each receiver's gRPC behind a link that can fail,
 * its data on a small file system of its own where one can be mounted (root on Linux). Disks can be slow.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { freePorts, type RunningProcess, startProcess, torusProgram } from "@torus/testkit";
import { FaultyLink } from "./faulty-link.ts";

/** Room for a round's data several times over. */
const DISK_BYTES = 256 << 20;
/** Twice a second; no fault lasts longer. */
const START_ATTEMPTS = 60;

export type RingOptions = {
  dir: string;
  nodes: number;
  replicationFactor: number;
  /** As `--tsdb.block-duration` takes it. */
  blockDuration: string;
};

export class Receiver {
  readonly name: string;
  readonly link: FaultyLink;
  readonly writeUrl: string;
  readonly grpcAddress: string;
  /** Whether its directory is a file system of its own, which `fillDisk` can fill. */
  readonly ownDisk: boolean;
  readonly #dir: string;
  readonly #httpPort: number;
  readonly #args: readonly string[];
  #process: RunningProcess | undefined;
  #state: "running" | "paused" | "down" = "down";

  constructor(
    name: string,
    dir: string,
    link: FaultyLink,
    ports: readonly [http: number, grpc: number, write: number],
    args: readonly string[],
  ) {
    const [http, grpc, write] = ports;
    this.name = name;
    this.link = link;
    this.#dir = path.join(dir, name);
    mkdirSync(this.#dir);
    this.ownDisk = mount(this.#dir);
    this.#httpPort = http;
    this.writeUrl = `http://127.0.0.1:${write}/api/v1/receive`;
    this.grpcAddress = `127.0.0.1:${grpc}`;
    this.#args = [
      ...args,
      `--http-address=127.0.0.1:${http}`,
      `--grpc-address=${this.grpcAddress}`,
      `--remote-write.address=127.0.0.1:${write}`,
      `--tsdb.path=${path.join(this.#dir, "data")}`,
      `--label=receive_replica="${name}"`,
      `--receive.local-endpoint=127.0.0.1:${link.port}`,
    ];
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get state(): "running" | "paused" | "down" {
    return this.#state;
  }

  /** Starts it, and again while its disk is full: a node that cannot mark its directory as its own ends. */
  async start(): Promise<void> {
    if (this.#state !== "down") return;
    for (let attempt = 1; ; attempt++) {
      try {
        this.#process = await startProcess({
          name: this.name,
          command: process.execPath,
          args: [`--import=${this.#slowDisk}`, torusProgram(), "receive", ...this.#args],
          readyUrl: `http://127.0.0.1:${this.#httpPort}/-/ready`,
          readyTimeoutMs: 60_000,
        });
        this.#state = "running";
        return;
      } catch (error) {
        if (attempt === START_ATTEMPTS || !String(error).includes("ENOSPC")) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }

  async kill(): Promise<void> {
    this.#state = "down";
    await this.#process?.kill("SIGKILL");
  }

  async stop(): Promise<void> {
    if (this.#state === "paused") await this.resume();
    if (this.#state === "down") return;
    this.#state = "down";
    await this.#process?.stop();
  }

  async pause(): Promise<void> {
    this.#state = "paused";
    await this.#process?.kill("SIGSTOP");
  }

  async resume(): Promise<void> {
    if (this.#state !== "paused") return;
    this.#state = "running";
    await this.#process?.kill("SIGCONT");
  }

  fillDisk(): void {
    if (!this.ownDisk) return;
    const { bavail, bsize } = statfsSync(this.#dir);
    spawnSync("fallocate", ["-l", String(bavail * bsize), this.#filler]);
  }

  freeDisk(): void {
    rmSync(this.#filler, { force: true });
  }

  /** Every write and sync of a file takes this much longer. */
  slowDisk(ms: number): void {
    writeFileSync(this.#slowControl, String(ms));
  }

  speedDisk(): void {
    rmSync(this.#slowControl, { force: true });
  }

  /** The last of what it wrote. */
  output(): string {
    return this.#process?.output() ?? "";
  }

  async close(): Promise<void> {
    await this.stop();
    await this.link.close();
    if (this.ownDisk) spawnSync("umount", [this.#dir]);
  }

  get #slowControl(): string {
    return `${this.#dir}.slow`;
  }

  get #slowDisk(): string {
    const module = new URL("./slow-disk.mjs", import.meta.url);
    module.searchParams.set("control", this.#slowControl);
    return module.href;
  }

  get #filler(): string {
    return path.join(this.#dir, "filler");
  }
}

/** Whether a small file system stands at `dir` now. */
function mount(dir: string): boolean {
  const args = ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", dir];
  return spawnSync("mount", args).status === 0;
}

export class RingOfProcesses {
  readonly receivers: readonly Receiver[];
  readonly #ringFile: string;
  readonly #queryArgs: readonly string[];
  readonly queryUrl: string;
  #query: RunningProcess | undefined;

  private constructor(
    receivers: readonly Receiver[],
    ringFile: string,
    queryPorts: readonly [http: number, grpc: number],
  ) {
    this.receivers = receivers;
    this.#ringFile = ringFile;
    this.queryUrl = `http://127.0.0.1:${queryPorts[0]}`;
    this.#queryArgs = [
      "query",
      `--http-address=127.0.0.1:${queryPorts[0]}`,
      `--grpc-address=127.0.0.1:${queryPorts[1]}`,
      "--query.ring-replica-label=receive_replica",
      "--endpoint.info-interval=1s",
      ...receivers.map(({ grpcAddress }) => `--endpoint=${grpcAddress}`),
    ];
  }

  static async start(options: RingOptions): Promise<RingOfProcesses> {
    const { dir, nodes, replicationFactor, blockDuration } = options;
    const ports = await freePorts(nodes * 3 + 2);
    const port = () => ports.pop() ?? 0;
    const ringFile = path.join(dir, "hashrings.json");
    const args = [
      `--receive.hashrings-file=${ringFile}`,
      "--receive.hashrings-file-refresh-interval=1s",
      "--receive.hashrings-algorithm=ketama",
      `--receive.replication-factor=${replicationFactor}`,
      `--tsdb.block-duration=${blockDuration}`,
      "--log.level=warn",
    ];
    const receivers: Receiver[] = [];
    for (let i = 0; i < nodes; i++) {
      const own = [port(), port(), port()] as const;
      receivers.push(new Receiver(`node-${i}`, dir, await FaultyLink.open(own[1]), own, args));
    }
    const ring = new RingOfProcesses(receivers, ringFile, [port(), port()]);
    ring.resize(nodes);
    await Promise.all(receivers.map((receiver) => receiver.start()));
    return ring;
  }

  /** The ring of the first `nodes` receivers. */
  resize(nodes: number): void {
    const endpoints = this.receivers.slice(0, nodes).map(({ link }) => `127.0.0.1:${link.port}`);
    writeFileSync(this.#ringFile, JSON.stringify([{ hashring: "chaos", endpoints }]));
  }

  /** Everything works again, and every receiver is a member. */
  async heal(): Promise<void> {
    for (const receiver of this.receivers) {
      receiver.freeDisk();
      receiver.speedDisk();
      receiver.link.heal();
      await receiver.resume();
    }
    this.resize(this.receivers.length);
    await Promise.all(this.receivers.map((receiver) => receiver.start()));
  }

  /** Starts the query node, and waits until it knows every receiver. */
  async startQuery(): Promise<void> {
    this.#query = await startProcess({
      name: "query",
      command: process.execPath,
      args: [torusProgram(), ...this.#queryArgs],
      readyUrl: `${this.queryUrl}/-/ready`,
    });
    for (let attempt = 0; attempt < 300; attempt++) {
      const answer = await fetch(`${this.queryUrl}/api/v1/stores`);
      const { data } = (await answer.json()) as { data: { receive?: { lastError: unknown }[] } };
      const known = (data.receive ?? []).filter(({ lastError }) => lastError === null);
      if (known.length === this.receivers.length) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error("the query node does not know every receiver");
  }

  async close(): Promise<void> {
    await this.#query?.stop();
    await Promise.all(this.receivers.map((receiver) => receiver.close()));
  }
}
