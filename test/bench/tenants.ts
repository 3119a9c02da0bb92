/**
 * What one tenant's flood costs another: tenant B writes 20 requests a second of 500 samples, each to be answered 204;
 * in every second phase tenant A sends ten times the samples that its limit allows. One `torus receive` as a process
 * of its own, in turns with and without A, so that both see the same machine.
 *
 *     npx tsx test/bench/tenants.ts [--phases=4] [--seconds=5]
 */

import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { snappyEncode } from "@torus/encoding";
import { encodeWriteRequest } from "@torus/protocol";
import { freePorts, startProcess, torusProgram } from "@torus/testkit";

const LIMIT_SAMPLES = 20_000;
const A_SAMPLES = 2000;
const A_REQUESTS_PER_SECOND = (10 * LIMIT_SAMPLES) / A_SAMPLES;
const A_CONNECTIONS = 10;
const B_SAMPLES = 500;
const B_REQUESTS_PER_SECOND = 20;

const { values } = parseArgs({
  options: {
    phases: { type: "string", default: "4" },
    seconds: { type: "string", default: "5" },
  },
});
const seconds = Number(values.seconds);
const root = mkdtempSync(path.join(tmpdir(), "torus-bench-tenants-"));
const [httpPort, grpcPort, writePort] = await freePorts(3);
const limits = `write: {global: {max_concurrency: 4}, tenants: {a: {rate: {samples_per_second: ${LIMIT_SAMPLES}}}}}`;
const receiver = await startProcess({
  name: "receive",
  command: process.execPath,
  args: [
    torusProgram(),
    "receive",
    `--http-address=127.0.0.1:${httpPort}`,
    `--grpc-address=127.0.0.1:${grpcPort}`,
    `--remote-write.address=127.0.0.1:${writePort}`,
    `--tsdb.path=${root}`,
    '--label=receive_replica="a"',
    `--receive.limits-config=${limits}`,
    "--log.level=error",
  ],
  readyUrl: `http://127.0.0.1:${httpPort}/-/ready`,
});

type Tally = { latencies: number[]; statuses: Map<number, number> };
const tally = (): Tally => ({ latencies: [], statuses: new Map() });

const agent = new http.Agent({ keepAlive: true });
let time = Date.now() - 3_600_000;

function body(count: number): Uint8Array {
  time += 1;
  const series = Array.from({ length: count }, (_, i) => ({
    labels: ["__name__", "requests_total", "instance", `host-${i % 50}`, "path", `/p/${i}`],
    timestamps: Float64Array.of(time),
    values: Float64Array.of(i),
  }));
  return snappyEncode(encodeWriteRequest(series));
}

/** @returns 0 for a connection that was lost. */
function send(tenant: string, content: Uint8Array): Promise<number> {
  return new Promise((resolve) => {
    const request = http.request({
      port: writePort,
      path: "/api/v1/receive",
      method: "POST",
      agent,
      headers: {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "content-length": content.length,
        "thanos-tenant": tenant,
      },
    });
    request.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", () => resolve(0));
    request.end(content);
  });
}

/** A's bodies are made before anything is measured; each is sent until it is taken. */
const floods = Array.from({ length: 1000 }, () => body(A_SAMPLES));
let flooded = 0;

/** Sends at a steady pace until `end`; a late answer makes the next request late, and never a burst. */
async function pace(
  tenant: string,
  { samples, perSecond, end, to }: { samples: number; perSecond: number; end: number; to: Tally },
): Promise<void> {
  // Gaps of a half to one and a half: senders whose clocks agree would measure each other's bursts.
  const gap = () => (1000 / perSecond) * (0.5 + Math.random());
  for (let at = Date.now() + gap(); at < end; at = Math.max(at + gap(), Date.now())) {
    const content =
      tenant === "a" ? (floods[flooded % floods.length] as Uint8Array) : body(samples);
    await sleep(Math.max(0, at - Date.now()));
    const started = performance.now();
    const status = await send(tenant, content);
    to.latencies.push(performance.now() - started);
    if (tenant === "a" && status === 204) flooded++;
    to.statuses.set(status, (to.statuses.get(status) ?? 0) + 1);
  }
}

function quantile(latencies: readonly number[], q: number): number {
  const sorted = latencies.toSorted((x, y) => x - y);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

function line(name: string, { latencies, statuses }: Tally): string {
  const answers = [...statuses].map(([status, count]) => `${count} × ${status}`).join(", ");
  const [p50, p99] = [0.5, 0.99].map((q) => quantile(latencies, q).toFixed(1));
  return `${name}: ${answers}; p50 ${p50} ms, p99 ${p99} ms\n`;
}

const alone = tally();
const beside = tally();
const flood = tally();
try {
  // Series are made, and code is compiled, before anything counts.
  const warm = { samples: A_SAMPLES, perSecond: 5, end: Date.now() + 2000, to: tally() };
  await Promise.all([pace("a", warm), pace("b", { ...warm, samples: B_SAMPLES })]);
  for (let phase = 0; phase < Number(values.phases); phase++) {
    for (const to of [alone, beside]) {
      const end = Date.now() + seconds * 1000;
      const lanes = [pace("b", { samples: B_SAMPLES, perSecond: B_REQUESTS_PER_SECOND, end, to })];
      const perSecond = A_REQUESTS_PER_SECOND / A_CONNECTIONS;
      for (let i = 0; to === beside && i < A_CONNECTIONS; i++) {
        lanes.push(pace("a", { samples: A_SAMPLES, perSecond, end, to: flood }));
      }
      await Promise.all(lanes);
    }
  }
  process.stdout.write(line("B alone", alone));
  process.stdout.write(line("B beside A", beside));
  process.stdout.write(line("A", flood));
} finally {
  agent.destroy();
  await receiver.stop();
  rmSync(root, { recursive: true, force: true });
}
