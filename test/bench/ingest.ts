/**
 * Ingestion, in CPU-microseconds a sample summed over all server processes: torus with replication factor 1 in one
 * node, 1 and 2 over three, beside Debian's Prometheus and VictoriaMetrics where they are installed, under the same
 * load in the same run.
 *
 *   npx tsx test/bench/ingest.ts [--series=100000] [--rounds=20] [--only=torus-1,torus-3-rf1,torus-3-rf2,torus-3-rf3,
 *     torus-3-rf3-requests,prometheus,victoria]
 *
 * A round is one sample of every series, 15 s apart, in requests of 2,000 series over 4 connections. Requests are
 * built before the clock starts. "steady" leaves out the first round, which creates the series. The second table
 * gives the steps of the path inside one process, without HTTP: each line does all that the lines above it do.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { snappyEncode, WriteRequestBuffer } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";
import { freePorts, type RunningProcess, startProcess, torusProgram } from "@torus/testkit";
import { Tsdb } from "@torus/tsdb";
import { Population, seriesLabels } from "./load/population.ts";
import { cpuSeconds, peakRssBytes } from "./load/process-usage.ts";
import { send } from "./load/sender.ts";

const STEP_SECONDS = 15;
const SERIES_PER_REQUEST = 2000;
const CONNECTIONS = 4;

const { values: flags } = parseArgs({
  options: {
    series: { type: "string", default: "100000" },
    rounds: { type: "string", default: "20" },
    /** For the receivers' Node, separated by blanks: --node-flags="--cpu-prof --cpu-prof-dir=/tmp/profiles". */
    "node-flags": { type: "string", default: "" },
    /** For the receivers: --receive-flags="--receive.replication-protocol=protobuf". */
    "receive-flags": { type: "string", default: "" },
    only: { type: "string", default: "torus-1,torus-3-rf1,torus-3-rf2,prometheus,victoria" },
  },
});
const series = Number(flags.series);
const rounds = Number(flags.rounds);
const words = (text: string) => text.split(" ").filter((word) => word !== "");
const print = (line: string) => process.stdout.write(`${line}\n`);

type Server = { processes: RunningProcess[]; urls: string[] };
type System = { name: string; start: (dir: string) => Promise<Server> };

async function torus(
  dir: string,
  nodes: number,
  replicationFactor: number,
  more: readonly string[] = [],
): Promise<Server> {
  const ports = await freePorts(nodes * 3);
  const plan = Array.from({ length: nodes }, (_, i) => ({
    grpc: `127.0.0.1:${ports[3 * i]}`,
    http: `127.0.0.1:${ports[3 * i + 1]}`,
    write: `127.0.0.1:${ports[3 * i + 2]}`,
  }));
  const hashrings = path.join(dir, "hashrings.json");
  writeFileSync(
    hashrings,
    JSON.stringify([{ hashring: "bench", endpoints: plan.map(({ grpc }) => grpc) }]),
  );
  const processes = await Promise.all(
    plan.map(({ grpc, http, write }, i) =>
      startProcess({
        name: `receive-${i}`,
        command: process.execPath,
        args: [
          ...words(flags["node-flags"]),
          torusProgram(),
          "receive",
          `--grpc-address=${grpc}`,
          `--http-address=${http}`,
          `--remote-write.address=${write}`,
          `--tsdb.path=${path.join(dir, `receive-${i}`)}`,
          `--label=receive_replica="${i}"`,
          `--receive.local-endpoint=${grpc}`,
          `--receive.hashrings-file=${hashrings}`,
          "--receive.hashrings-algorithm=ketama",
          `--receive.replication-factor=${replicationFactor}`,
          ...more,
          ...words(flags["receive-flags"]),
        ],
        readyUrl: `http://${http}/-/ready`,
      }),
    ),
  );
  return { processes, urls: plan.map(({ write }) => `http://${write}/api/v1/receive`) };
}

async function peer(
  name: string,
  args: (port: number) => string[],
  ready: string,
  write: string,
): Promise<Server> {
  const [port = 0] = await freePorts(1);
  const base = `http://127.0.0.1:${port}`;
  const process = await startProcess({
    name,
    command: name,
    args: args(port),
    readyUrl: base + ready,
  });
  return { processes: [process], urls: [base + write] };
}

const SYSTEMS: Readonly<Record<string, System>> = {
  "torus-1": { name: "torus, RF 1, one node", start: (dir) => torus(dir, 1, 1) },
  "torus-3-rf1": { name: "torus, RF 1, three nodes", start: (dir) => torus(dir, 3, 1) },
  "torus-3-rf2": { name: "torus, RF 2, three nodes", start: (dir) => torus(dir, 3, 2) },
  "torus-3-rf3": { name: "torus, RF 3, three nodes", start: (dir) => torus(dir, 3, 3) },
  "torus-3-rf3-requests": {
    name: "torus, RF 3, three nodes, WriteRequests",
    start: (dir) => torus(dir, 3, 3, ["--receive.replication-protocol=protobuf"]),
  },
  prometheus: {
    name: "Prometheus (Debian)",
    start: (dir) => {
      writeFileSync(path.join(dir, "prometheus.yml"), "global: { scrape_interval: 1h }\n");
      return peer(
        "prometheus",
        (port) => [
          `--config.file=${path.join(dir, "prometheus.yml")}`,
          `--storage.tsdb.path=${path.join(dir, "data")}`,
          `--web.listen-address=127.0.0.1:${port}`,
          "--web.enable-remote-write-receiver",
        ],
        "/-/ready",
        "/api/v1/write",
      );
    },
  },
  victoria: {
    name: "VictoriaMetrics (Debian)",
    start: (dir) =>
      peer(
        "victoria-metrics",
        (port) => [
          `-storageDataPath=${path.join(dir, "data")}`,
          `-httpListenAddr=127.0.0.1:${port}`,
        ],
        "/health",
        "/api/v1/write",
      ),
  },
};

/** The bodies of each round, compressed. */
function buildRounds(): Uint8Array[][] {
  const population = new Population(series);
  const labels = Array.from({ length: series }, (_, i) => seriesLabels(i));
  const start = Date.now() - rounds * STEP_SECONDS * 1000;
  return Array.from({ length: rounds }, (_, round) => {
    const timestamps = Float64Array.of(start + round * STEP_SECONDS * 1000);
    const bodies: Uint8Array[] = [];
    for (let from = 0; from < series; from += SERIES_PER_REQUEST) {
      const request = labels.slice(from, from + SERIES_PER_REQUEST).map((own, i) => ({
        labels: own,
        timestamps,
        values: Float64Array.of(population.next(from + i, round, STEP_SECONDS)),
      }));
      bodies.push(snappyEncode(encodeWriteRequest(request)));
    }
    return bodies;
  });
}

const usage = (processes: readonly RunningProcess[]) =>
  processes.reduce((sum, { pid }) => sum + cpuSeconds(pid), 0);

async function measure(system: System, requests: readonly Uint8Array[][]): Promise<void> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
  const { processes, urls } = await system.start(dir);
  try {
    const [first = [], ...rest] = requests;
    const idle = usage(processes);
    await send(urls, first, CONNECTIONS);
    const created = usage(processes);
    const { latenciesMs, wallMs } = await send(urls, rest.flat(), CONNECTIONS);
    const done = usage(processes);
    const steady = (done - created) / (series * (rounds - 1));
    const creation = (created - idle) / series;
    const rss = processes.map(({ pid }) => Math.round(peakRssBytes(pid) / 2 ** 20));
    const p99 = latenciesMs[Math.floor(latenciesMs.length * 0.99)] ?? 0;
    const rate = (series * (rounds - 1)) / (wallMs / 1000);
    const all = (done - idle) / (series * rounds);
    print(
      `| ${system.name} | ${us(steady)} | ${us(all)} | ${us(creation)} | ${Math.round(rate / 1000)}k | ${p99.toFixed(0)} | ${rss.join(" + ")} |`,
    );
  } finally {
    for (const process of processes) await process.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** One pass over the steady rounds inside this process; CPU-microseconds a sample. */
async function step(
  requests: readonly Uint8Array[][],
  tenant: Uint8Array | null,
  depth: "decompress" | "walk" | "append",
): Promise<number> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 7_200_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: Date.now,
    log: () => undefined,
  });
  const take = (body: Uint8Array) => {
    const request = WriteRequestBuffer.acquire();
    request.reserve(body.length).set(body);
    request.decompress(body.length, 32 << 20);
    if (depth !== "decompress") request.walk(tenant);
    if (depth === "append") db.append(request, null);
    request.release();
  };
  const [first = [], ...rest] = requests;
  first.forEach(take);
  const before = process.cpuUsage();
  rest.flat().forEach(take);
  const { user, system } = process.cpuUsage(before);
  await db.close();
  rmSync(dir, { recursive: true, force: true });
  return (user + system) / (series * (rounds - 1));
}

const us = (seconds: number) => (seconds * 1e6).toFixed(2);
const installed = (program: string) => spawnSync(program, ["--version"]).error === undefined;

print(`${series} series x ${rounds} rounds, ${cpus()[0]?.model}, Node ${process.version}`);
const requests = buildRounds();
print("");
print(
  "| | CPU us/sample, steady | with creation | CPU us/new series | samples/s | p99 ms | peak RSS MiB |",
);
print("|---|---|---|---|---|---|---|");
for (const key of flags.only.split(",")) {
  const system = SYSTEMS[key];
  if (system === undefined)
    throw new Error(`unknown system ${key}: ${Object.keys(SYSTEMS).join(", ")}`);
  const program = { prometheus: "prometheus", victoria: "victoria-metrics" }[key];
  if (program !== undefined && !installed(program))
    print(`| ${system.name} | ${program} is not installed |`);
  else await measure(system, requests);
}

const tenant = new TextEncoder().encode("default-tenant");
const decompress = await step(requests, null, "decompress");
const walk = await step(requests, null, "walk");
const append = await step(requests, null, "append");
const hash = (await step(requests, tenant, "walk")) - walk;
print("");
print("| step, in one process, steady | CPU us/sample |");
print("|---|---|");
print(`| copy in and decompress | ${decompress.toFixed(3)} |`);
print(`| … and walk: checks and ranges | ${walk.toFixed(3)} |`);
print(`| … and append: find the series, judge, chunk, log | ${append.toFixed(3)} |`);
print(`| the ring's hash, where there are several nodes | ${hash.toFixed(3)} |`);
print("");
print(
  "What the first line of the first table has beyond the third is HTTP, metrics and the answer.",
);
