/** The systems that answer queries: ours over loopback and straight from the directory, and the peers. */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { Engine, type QueryResult } from "@torus/promql";
import { freePorts, type RunningProcess, startProcess, torusProgram } from "@torus/testkit";
import { blockDirectories, DataDirectory, DirectoryColumns } from "@torus/tsdb";
import { threadsCpuSeconds } from "../load/process-usage.ts";
import type { MixQuery } from "./mix.ts";

/** Answers a query; its answer as numbers only where `wanted`, since parsing costs more than asking. */
export type Ask = (query: MixQuery, endMs: number) => Promise<void>;

export type System = {
  name: string;
  /** Of remote write; null for what reads another's data. */
  writeUrl: string | null;
  ask: Ask;
  answer: (query: MixQuery, endMs: number) => Promise<Answer>;
  /** CPU seconds so far of all that works for a query. */
  cpuSeconds: () => number;
  /** Whether what was written is in blocks, but for the last hours. */
  inBlocks: (hours: number) => boolean;
  stop: () => Promise<void>;
};

/** From a series' labels to its values by time in ms. */
export type Answer = ReadonlyMap<string, ReadonlyMap<number, number>>;

type ApiSeries = {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
};

function bodyOf(url: URL, agent: http.Agent): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { agent }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(parts);
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`${url.href} answered ${response.statusCode}: ${body.toString()}`));
      });
    });
    request.on("error", reject);
  });
}

function urlOf(base: string, { expression, range, step }: MixQuery, endMs: number): URL {
  const url = new URL(`${base}/api/v1/${step === 0 ? "query" : "query_range"}`);
  url.searchParams.set("query", expression);
  if (step === 0) url.searchParams.set("time", (endMs / 1000).toFixed(3));
  else {
    url.searchParams.set("start", (endMs / 1000 - range).toFixed(3));
    url.searchParams.set("end", (endMs / 1000).toFixed(3));
    url.searchParams.set("step", String(step));
  }
  // VictoriaMetrics would answer from what it answered before.
  url.searchParams.set("nocache", "1");
  return url;
}

/** Receivers put the tenant's label into every series. */
const keyOf = (pairs: readonly (readonly [string, string])[]) =>
  JSON.stringify(
    pairs.filter(([name]) => name !== "tenant_id").sort(([a], [b]) => (a < b ? -1 : 1)),
  );

function overHttp(
  name: string,
  processes: readonly RunningProcess[],
  base: string,
  writeUrl: string,
): System {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  return {
    name,
    writeUrl,
    ask: async (query, endMs) => void (await bodyOf(urlOf(base, query, endMs), agent)),
    answer: async (query, endMs) => {
      const body = await bodyOf(urlOf(base, query, endMs), agent);
      const { data } = JSON.parse(body.toString()) as { data: { result: ApiSeries[] } };
      return new Map(
        data.result.map(({ metric, value, values = value === undefined ? [] : [value] }) => [
          keyOf(Object.entries(metric)),
          new Map(values.map(([time, text]) => [Math.round(time * 1000), Number(text)])),
        ]),
      );
    },
    cpuSeconds: () => processes.reduce((sum, { pid }) => sum + threadsCpuSeconds(pid), 0),
    inBlocks: () => true,
    stop: async () => {
      agent.destroy();
      for (const process of processes) await process.stop();
    },
  };
}

export async function startTorus(dir: string, nodeFlags: readonly string[]): Promise<System> {
  const [grpc = 0, web = 0, write = 0, queryGrpc = 0, queryWeb = 0] = await freePorts(5);
  const address = `127.0.0.1:${grpc}`;
  mkdirSync(dir, { recursive: true });
  const hashrings = path.join(dir, "hashrings.json");
  writeFileSync(hashrings, JSON.stringify([{ endpoints: [address] }]));
  const torus = (name: string, args: string[], ready: number) =>
    startProcess({
      name,
      command: process.execPath,
      args: [...nodeFlags, torusProgram(), name, ...args],
      readyUrl: `http://127.0.0.1:${ready}/-/ready`,
    });
  const receive = await torus(
    "receive",
    [
      `--grpc-address=${address}`,
      `--http-address=127.0.0.1:${web}`,
      `--remote-write.address=127.0.0.1:${write}`,
      `--tsdb.path=${dir}`,
      '--label=receive_replica="0"',
      `--receive.local-endpoint=${address}`,
      `--receive.hashrings-file=${hashrings}`,
    ],
    web,
  );
  const query = await torus(
    "query",
    [
      `--grpc-address=127.0.0.1:${queryGrpc}`,
      `--http-address=127.0.0.1:${queryWeb}`,
      `--endpoint=${address}`,
      "--query.ring-replica-label=receive_replica",
    ],
    queryWeb,
  );
  const system = overHttp(
    "torus, receive and query",
    [receive, query],
    `http://127.0.0.1:${queryWeb}`,
    `http://127.0.0.1:${write}/api/v1/receive`,
  );
  // Blocks of two hours; two or three of them are in the head yet.
  const inBlocks = (hours: number) =>
    hours < 4 || blockDirectories(tenantDirectory(dir)).length >= Math.floor(hours / 2) - 2;
  return { ...system, inBlocks };
}

function tenantDirectory(dir: string): string {
  const tenants = readdirSync(dir).map((name) => path.join(dir, name));
  const data = tenants.find((each) => existsSync(path.join(each, "wal")));
  if (data === undefined) throw new Error(`no tenant's data in ${dir}`);
  return data;
}

/** The engine in this process, on what a receiver wrote to `dir`. */
export function startEngine(dir: string): System {
  const queryable = new DirectoryColumns(new DataDirectory(tenantDirectory(dir)));
  const engine = new Engine({ timeoutMs: 60_000, now: Date.now });
  const run = ({ expression, range, step }: MixQuery, endMs: number): Promise<QueryResult> =>
    step === 0
      ? engine.instant(queryable, expression, endMs)
      : engine.range(queryable, expression, endMs - range * 1000, endMs, step * 1000);
  return {
    name: "torus, engine on the directory",
    writeUrl: null,
    ask: async (query, endMs) => void (await run(query, endMs)),
    answer: async (query, endMs) => {
      const result = await run(query, endMs);
      if (result.type !== "vector" && result.type !== "matrix") return new Map();
      return new Map(
        result.series.map(({ labels, timestamps, values }) => {
          const pairs = labels.flatMap((name, i): [string, string][] =>
            i % 2 === 0 ? [[name, labels[i + 1] ?? ""]] : [],
          );
          const points = Array.from(timestamps, (time, i): [number, number] => [
            time,
            values[i] as number,
          ]);
          return [keyOf(pairs), new Map(points)];
        }),
      );
    },
    cpuSeconds: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
    inBlocks: () => true,
    stop: () => Promise.resolve(),
  };
}

export async function startPrometheus(dir: string): Promise<System> {
  mkdirSync(dir, { recursive: true });
  writeFileSync(path.join(dir, "prometheus.yml"), "global: { scrape_interval: 1h }\n");
  const [port = 0] = await freePorts(1);
  const base = `http://127.0.0.1:${port}`;
  const prometheus = await startProcess({
    name: "prometheus",
    command: "prometheus",
    args: [
      `--config.file=${path.join(dir, "prometheus.yml")}`,
      `--storage.tsdb.path=${path.join(dir, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--web.enable-remote-write-receiver",
    ],
    readyUrl: `${base}/-/ready`,
    readyTimeoutMs: 60_000,
  });
  return overHttp("Prometheus (Debian)", [prometheus], base, `${base}/api/v1/write`);
}

export async function startVictoria(dir: string): Promise<System> {
  const [port = 0] = await freePorts(1);
  const base = `http://127.0.0.1:${port}`;
  const victoria = await startProcess({
    name: "victoria-metrics",
    command: "victoria-metrics",
    args: [
      `-storageDataPath=${path.join(dir, "data")}`,
      `-httpListenAddr=127.0.0.1:${port}`,
      "-search.disableCache",
    ],
    readyUrl: `${base}/health`,
  });
  return overHttp("VictoriaMetrics (Debian)", [victoria], base, `${base}/api/v1/write`);
}
