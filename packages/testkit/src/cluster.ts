/**
 * A cluster in a box for end-to-end tests: the processes of `torus demo`'s own plan, from the built program, on free
 * ports, in a directory of the test's.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type ComponentPlan, ComponentProcess, planCluster } from "@torus/cli";
import { freePorts } from "./ports.ts";

export type ClusterOptions = {
  /** Empty, or that of an earlier cluster of the same shape. The caller removes it. */
  dir: string;
  receivers: number;
  replicationFactor: number;
  /** As the flags take them: `10s`. Without them receivers cut blocks of two hours and keep 15 days. */
  blockDuration?: string;
  retention?: string;
  /** bucket.yml; a directory below `dir` without it. */
  bucketConfig?: string;
  /** Further flags by command. */
  extra?: Readonly<Partial<Record<ComponentPlan["command"], readonly string[]>>>;
};

export type ClusterNode = {
  readonly name: string;
  readonly plan: ComponentPlan;
  /** http://host:port */
  readonly httpUrl: string;
  readonly pid: number;
  /** Starts it again with the same flags, and waits until it is ready. */
  start(): Promise<void>;
  /** SIGSTOP and SIGCONT return at once, what ends the process when it is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM. Resolves with the exit code; null after a SIGKILL that a grace of 30 s was followed by. */
  stop(): Promise<number | null>;
  log(): string;
};

export type ReceiverNode = ClusterNode & {
  /** POST remote write here. */
  readonly remoteWriteUrl: string;
  /** host:port of the same listener. */
  readonly remoteWrite: string;
  /** --tsdb.path: a folder per tenant. */
  readonly dataDir: string;
};

export type Cluster = {
  readonly receivers: readonly ReceiverNode[];
  readonly uploader: ClusterNode;
  readonly store: ClusterNode;
  readonly query: ClusterNode;
  /** http://host:port of the query node. */
  readonly queryUrl: string;
  /** ULIDs that the shipper files below a receiver's directory name. */
  shippedBlocks(dataDir: string): string[];
  /** Stops what runs; queries first, receivers last and together. */
  stop(): Promise<void>;
};

const READY_MS = 60_000;
const STOP_MS = 30_000;

/** The built program, which `npm test` makes. @throws when it is not there */
export function torusProgram(): string {
  const file = path.join(import.meta.dirname, "../../../dist/torus.mjs");
  if (!existsSync(file)) throw new Error(`${file} is missing: npm run build`);
  return file;
}

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { dir, receivers, replicationFactor, blockDuration, retention, bucketConfig } = options;
  const ports = await freePorts(receivers * 3 + 6);
  const receive = [
    ...(blockDuration === undefined ? [] : [`--tsdb.block-duration=${blockDuration}`]),
    ...(retention === undefined ? [] : [`--tsdb.retention=${retention}`]),
  ];
  const plan = planCluster({
    dataDir: dir,
    receivers,
    replicationFactor,
    syncInterval: "1s",
    port: () => ports.pop() ?? 0,
    extra: { ...options.extra, receive: [...receive, ...(options.extra?.receive ?? [])] },
    ...(bucketConfig === undefined ? {} : { bucketConfig }),
  });
  mkdirSync(path.join(dir, "bucket"), { recursive: true });
  for (const [file, text] of Object.entries(plan.files)) writeFileSync(file, text);
  const program = torusProgram();
  const nodes = plan.components.map((component) => new Node(program, component, dir));
  const cluster = new RunningCluster(nodes);
  try {
    await Promise.all(nodes.map((node) => node.start()));
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

class Node implements ReceiverNode {
  readonly plan: ComponentPlan;
  readonly #program: string;
  readonly #logDir: string;
  #process: ComponentProcess | undefined;

  constructor(program: string, plan: ComponentPlan, dir: string) {
    this.plan = plan;
    this.#program = program;
    this.#logDir = path.join(dir, "logs");
  }

  get name(): string {
    return this.plan.name;
  }

  get httpUrl(): string {
    return `http://${this.plan.http}`;
  }

  get remoteWrite(): string {
    return this.plan.remoteWrite ?? "";
  }

  get remoteWriteUrl(): string {
    return `http://${this.remoteWrite}/api/v1/receive`;
  }

  get dataDir(): string {
    return this.plan.tsdbPath ?? "";
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async start(): Promise<void> {
    if (this.#process?.isRunning === true) return;
    this.#process = new ComponentProcess([this.#program], this.plan, this.#logDir);
    try {
      await this.#process.ready(READY_MS);
    } catch (error) {
      throw new Error(`${this.name}: ${this.log().slice(-2000)}`, { cause: error });
    }
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#process?.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await this.#process?.exited;
  }

  async stop(): Promise<number | null> {
    // A paused process takes no SIGTERM.
    this.#process?.kill("SIGCONT");
    return (await this.#process?.stop(STOP_MS))?.code ?? null;
  }

  log(): string {
    return this.#process === undefined ? "" : readFileSync(this.#process.logFile, "utf8");
  }
}

class RunningCluster implements Cluster {
  readonly #nodes: readonly Node[];

  constructor(nodes: readonly Node[]) {
    this.#nodes = nodes;
  }

  get receivers(): readonly Node[] {
    return this.#nodes.filter(({ plan }) => plan.command === "receive");
  }

  get uploader(): Node {
    return this.#only("uploader");
  }

  get store(): Node {
    return this.#only("store");
  }

  get query(): Node {
    return this.#only("query");
  }

  get queryUrl(): string {
    return this.query.httpUrl;
  }

  shippedBlocks(dataDir: string): string[] {
    const files = readdirSync(dataDir, { recursive: true, encoding: "utf8" });
    const shipped: string[] = [];
    for (const file of files) {
      if (path.basename(file) !== "thanos.shipper.json") continue;
      const text = readFileSync(path.join(dataDir, file), "utf8");
      const { uploaded } = JSON.parse(text) as { uploaded: string[] | null };
      shipped.push(...(uploaded ?? []));
    }
    return shipped;
  }

  async stop(): Promise<void> {
    for (const node of [this.query, this.store, this.uploader]) await node.stop();
    await Promise.all(this.receivers.map((node) => node.stop()));
  }

  #only(command: ComponentPlan["command"]): Node {
    const node = this.#nodes.find(({ plan }) => plan.command === command);
    if (node === undefined) throw new Error(`no ${command} in the plan`);
    return node;
  }
}
