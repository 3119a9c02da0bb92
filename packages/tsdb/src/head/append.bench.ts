/**
 * CPU microseconds per sample of decompress + walk + lookup + append + log, on steady series with 2,000-series
 * requests, and of making new series. `npx vitest bench --run packages/tsdb/src/head`
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyEncode, WriteRequestBuffer } from "@torus/kernels";
import { bench, describe } from "vitest";
import { LogWriter } from "../wlog/writer.ts";
import { Head } from "./head.ts";
import { encodeWriteRequest } from "./test-requests.ts";

const SERIES = 100_000;
const PER_REQUEST = 2_000;
const STEP_MS = 15_000;
const START = 1_700_000_000_000;

function labels(i: number): string[] {
  return [
    "__name__",
    `container_metric_${i % 50}_total`,
    "cluster",
    "prod-eu-west-1",
    "container",
    `app-${i % 40}`,
    "endpoint",
    "https-metrics",
    "instance",
    `10.0.${(i >> 8) & 255}.${i & 255}:9100`,
    "job",
    `kubernetes-pods-${i % 20}`,
    "namespace",
    `team-${i % 30}`,
    "node",
    `ip-10-0-${i % 200}.eu-west-1.compute.internal`,
    "pod",
    `app-${i % 40}-7d9f8b6c5d-${i.toString(36)}`,
  ];
}

function value(i: number, round: number): number {
  if (i % 3 === 0) return round * (1 + (i % 17));
  return i % 3 === 1 ? Math.round(Math.sin(i + round / 10) * 1000) / 10 : 1;
}

/** All requests of one scrape, compressed. */
function round(n: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let from = 0; from < SERIES; from += PER_REQUEST) {
    const series = Array.from({ length: PER_REQUEST }, (_, k) => ({
      labels: labels(from + k),
      samples: [[START + n * STEP_MS, value(from + k, n)] as const],
    }));
    out.push(snappyEncode(encodeWriteRequest(series)));
  }
  return out;
}

const dir = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
const log = new LogWriter(path.join(dir, "wal"), { compression: "snappy" });
const head = new Head(log, log, {
  chunkRangeMs: 7_200_000,
  seriesLimit: 0,
  outOfOrderWindowMs: 0,
  maxExemplars: 0,
  now: () => START * 2,
});
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));

function send(bodies: readonly Uint8Array[]): number {
  let accepted = 0;
  for (const body of bodies) {
    const request = WriteRequestBuffer.acquire();
    request.reserve(body.length).set(body);
    request.decompress(body.length, 32 << 20);
    request.walk(null);
    accepted += head.append(request, null).byVerdict[0] as number;
    request.release();
  }
  return accepted;
}

function report(what: string, samples: number, run: () => number): void {
  const before = process.cpuUsage();
  const accepted = run();
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(
    `${what}: ${((user + system) / samples).toFixed(3)} CPU-us per sample, ${accepted} accepted of ${samples}\n`,
  );
}

describe("append through the log", () => {
  let n = 0;
  const first = round(n++);
  report("new series", SERIES, () => send(first));
  for (let i = 0; i < 6; i++) {
    const bodies = round(n++);
    report("steady series", SERIES, () => send(bodies));
  }
  const repeated = round(n - 1);
  bench("a scrape of 100,000 series whose samples are all there already", () => {
    send(repeated);
  });
});
