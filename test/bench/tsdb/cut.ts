/**
 * Ingestion while a block is cut: a real receiver takes requests at a fixed pace over HTTP, before the cut and during
 * it. A request's latency counts from the moment it was due, so a stall counts for all requests that it holds up.
 */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePorts, startProcess, torusProgram } from "@torus/testkit";
import { cpuSeconds, rssBytes } from "../load/process-usage.ts";
import { Requests } from "./load.ts";
import type { Row } from "./report.ts";

const ROUNDS = 120;
const BLOCK_MS = 7_200_000;
/** 120 samples over a little more than one and a half blocks: the last rounds make the cut due. */
const STEP_MS = 94_000;
const CONNECTIONS = 4;
const PACE_MS = 20;
/** At most, for the whole cut with its checkpoint. */
const CUT_LIMIT_MS = 240_000;

const AFTER_MS = 10_000;

class Sender {
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #url: string;
  constructor(url: string) {
    this.#url = url;
  }

  post(body: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = http.request(
        this.#url,
        {
          agent: this.#agent,
          method: "POST",
          headers: { "content-encoding": "snappy", "content-length": body.length },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => (text += part));
          response.on("end", () =>
            response.statusCode === 204 || response.statusCode === 200
              ? resolve()
              : reject(new Error(`remote write answered ${response.statusCode}: ${text}`)),
          );
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

const p = (list: number[], q: number): number => {
  const sorted = Float64Array.from(list).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
};

export async function cut(series: number, program: string): Promise<Row[]> {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
  const [grpc, probe, write] = await freePorts(3);
  const server = await startProcess({
    name: "receive",
    command: process.execPath,
    args: [
      program === "" ? torusProgram() : program,
      "receive",
      `--grpc-address=127.0.0.1:${grpc}`,
      `--http-address=127.0.0.1:${probe}`,
      `--remote-write.address=127.0.0.1:${write}`,
      `--tsdb.path=${dir}`,
      '--label=receive_replica="0"',
      "--tsdb.retention=0d",
    ],
    readyUrl: `http://127.0.0.1:${probe}/-/ready`,
  });
  const tenantDir = path.join(dir, "default-tenant");
  const blocks = () => readdirSync(tenantDir).filter((name) => /^[0-9A-Z]{26}$/.test(name)).length;
  const writing = () => readdirSync(tenantDir).some((name) => name.includes(".tmp-for-"));
  const sender = new Sender(`http://127.0.0.1:${write}/api/v1/receive`);
  try {
    const requests = new Requests(series, STEP_MS);
    let time = Date.now() - ROUNDS * STEP_MS;
    const flood = async (rounds: number) => {
      for (let n = 0; n < rounds; n++, time += STEP_MS) {
        const pending = new Set<Promise<void>>();
        for (const body of requests.round(time)) {
          if (pending.size >= CONNECTIONS) await Promise.race(pending);
          const one = sender.post(body).finally(() => pending.delete(one));
          pending.add(one);
        }
        await Promise.all(pending);
      }
    };
    // One round short of due: (n - 1) * step <= 1.5 blocks.
    const before = Math.floor((BLOCK_MS * 1.5) / STEP_MS) + 1;
    const cpuStart = cpuSeconds(server.pid);
    await flood(before);
    const floodCpu = cpuSeconds(server.pid) - cpuStart;
    const latencies: number[] = [];
    let peak = 0;
    const pace = async (until: (sent: number) => boolean) => {
      let due = performance.now();
      let sent = 0;
      const pending = new Set<Promise<void>>();
      for (;;) {
        for (const body of requests.round(time)) {
          const wait = due - performance.now();
          if (wait > 0) await sleep(wait);
          const intended = due;
          const one = sender.post(body).finally(() => {
            latencies.push(performance.now() - intended);
            pending.delete(one);
          });
          pending.add(one);
          due += PACE_MS;
          sent++;
          if (sent % 5 === 0) peak = Math.max(peak, rssBytes(server.pid));
          if (until(sent)) {
            await Promise.all(pending);
            return;
          }
        }
        time += 1000;
      }
    };
    await sleep(3000);
    // The paced rounds are a second apart in their samples' time, so that they do not make a cut due by themselves.
    time -= STEP_MS - 1000;
    const normalRequests = Math.round(20_000 / PACE_MS);
    await pace((sent) => sent >= normalRequests);
    const normal = latencies.splice(0);
    const steady = rssBytes(server.pid);
    peak = 0;
    time += 2 * STEP_MS;
    const cutStart = cpuSeconds(server.pid);
    const started = performance.now();
    let begun = 0;
    let done = 0;
    let duringFrom = 0;
    await pace((sent) => {
      const now = performance.now();
      if (begun === 0 && (writing() || blocks() > 0)) {
        begun = now;
        duringFrom = latencies.length;
        // Latencies of requests on their way now belong to the cut; those before to the normal time.
        normal.push(...latencies.splice(0, Math.max(0, duringFrom - CONNECTIONS)));
      }
      if (begun > 0 && done === 0 && blocks() > 0) done = now;
      // Behind the block's rename the head lets go of what is in it, and the log is checkpointed.
      if (done > 0 && now - done > AFTER_MS) return true;
      return now - started > CUT_LIMIT_MS && sent > 0;
    });
    const during = latencies;
    const seconds = (done - begun) / 1000;
    if (begun === 0 || !existsSync(tenantDir)) throw new Error("no block was cut");
    const out = server.output();
    if (/"level":"error"|level=error/.test(out)) throw new Error(out.slice(-3000));
    const cutCpu = cpuSeconds(server.pid) - cutStart;
    return [
      ["flood: CPU us/sample over HTTP", (floodCpu * 1e6) / (series * before), ""],
      [`cut of ${series} series, s`, seconds, ""],
      ["… CPU s of the process, load included", cutCpu, ""],
      ["ingest p50 / p99 / max before the cut, ms", triple(normal), ""],
      ["ingest p50 / p99 / max during the cut, ms", triple(during), ""],
      ["p99 during the cut / before", p(during, 0.99) / p(normal, 0.99), "<= 3"],
      ["steady RSS, MiB", steady / 2 ** 20, ""],
      ["peak RSS during the cut / steady", peak / steady, "<= 1.3"],
    ];
  } finally {
    sender.close();
    await server.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

const triple = (list: number[]) =>
  `${p(list, 0.5).toFixed(1)} / ${p(list, 0.99).toFixed(1)} / ${p(list, 1).toFixed(1)}`;
