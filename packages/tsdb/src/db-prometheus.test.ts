/**
 * Debian's Prometheus 2.42 and its promtool on our data directory, blocks and both logs, give every float sample back;
 * and what that server writes into it is read here.
 */

import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { snappyEncode } from "@torus/encoding";
import { Verdict } from "@torus/kernels";
import { type Histogram, labelValue, Matcher } from "@torus/model";
import { afterAll, expect, test } from "vitest";
import { DataDirectory } from "./data-dir/data-directory.ts";
import { Tsdb } from "./db.ts";
import { encodeWriteRequest, type TestSeries, walkedRequest } from "./head/test-requests.ts";

const PROMETHEUS = "/usr/bin/prometheus";
const PROMTOOL = "/usr/bin/promtool";
const HOUR = 3_600_000;
const MINUTE = 60_000;
const SERIES = 10;
const SPECIAL = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, Number.NaN, 5e-324];

const scratch = mkdtempSync(path.join(tmpdir(), "torus-prometheus-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === "object" && address !== null ? address.port : 0),
      );
    });
  });
}

function openDb(dir: string, compression: "none" | "snappy", now: number): Promise<Tsdb> {
  return Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: HOUR,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: compression,
    seriesLimit: 0,
    now: () => now,
    log: () => undefined,
  });
}

/** Sample n of a series. */
function valueOf(series: number, n: number): number {
  return n % 50 === series ? (SPECIAL[(n + series) % SPECIAL.length] as number) : n / 7 + series;
}

/** Every eleventh sample comes twenty minutes late, those of the last minutes before the end. */
const isLate = (series: number, n: number): boolean => (n + series) % 11 === 0;
const LATE_BY = 20;

function requestAt(start: number, n: number, rounds: number): TestSeries[] {
  const out: TestSeries[] = [];
  for (let series = 0; series < SERIES; series++) {
    const labels = ["__name__", "up", "job", `j${series}`];
    const sample = (at: number) => [start + at * MINUTE, valueOf(series, at)] as const;
    if (!isLate(series, n) || n >= rounds - LATE_BY - 1) out.push({ labels, samples: [sample(n)] });
    const late = n - LATE_BY;
    if (late >= 0 && isLate(series, late) && late < rounds - LATE_BY - 1) {
      out.push({ labels, samples: [sample(late)] });
    }
  }
  return out;
}

/** `job time value`, sorted. */
type Flat = string[];

const flat = (job: string, time: number, value: number): string =>
  `${job} ${time} ${Object.is(value, -0) ? "-0" : value}`;

function expected(start: number, rounds: number): Flat {
  const out: Flat = [];
  for (let series = 0; series < SERIES; series++) {
    for (let n = 0; n < rounds; n++) {
      out.push(flat(`j${series}`, start + n * MINUTE, valueOf(series, n)));
    }
  }
  return out.sort();
}

/** What our dump reads of a directory. */
function ourDump(dir: string): Flat {
  const out: Flat = [];
  const asValue = new Float64Array(1);
  const bits = new BigUint64Array(asValue.buffer);
  const all = [new Matcher("=", "__name__", "up")];
  for (const { labels, samples } of new DataDirectory(dir).select(all, 0, 2 ** 50)) {
    for (let i = 0; i < samples.times.length; i++) {
      bits[0] = samples.values[i] as bigint;
      out.push(flat(labelValue(labels, "job"), Number(samples.times[i]), asValue[0] as number));
    }
  }
  return out.sort();
}

function parsed(value: string): number {
  return value.endsWith("Inf") ? Number(`${value}inity`) : Number(value);
}

function promtoolDump(dir: string): Flat {
  const { stdout, status, stderr } = spawnSync(PROMTOOL, ["tsdb", "dump", "--match=up", dir], {
    encoding: "utf8",
    maxBuffer: 1 << 26,
  });
  expect([status, stderr]).toEqual([0, ""]);
  return stdout
    .trim()
    .split("\n")
    .map((line) => {
      const [, job = "", value = "", time = ""] = /job="(j\d+)".*\} (\S+) (\d+)$/.exec(line) ?? [];
      return flat(job, Number(time), parsed(value));
    })
    .sort();
}

/** Runs the server on the directory until `use` is done, and ends it in order. */
async function withServer(data: string, use: (base: string) => Promise<void>): Promise<void> {
  const config = `${data}.yml`;
  writeFileSync(config, "global:\n  scrape_interval: 1h\n");
  const port = await freePort();
  const server = spawn(
    PROMETHEUS,
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${data}`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--web.enable-remote-write-receiver",
    ],
    { stdio: "ignore" },
  );
  const ended = new Promise((resolve) => server.once("exit", resolve));
  try {
    const base = `http://127.0.0.1:${port}`;
    for (let i = 0; i < 300; i++) {
      const ready = await fetch(`${base}/-/ready`).catch(() => null);
      if (ready?.ok === true) break;
      await sleep(100);
    }
    await use(base);
    server.kill("SIGTERM");
    await ended;
  } finally {
    server.kill("SIGKILL");
    await ended;
  }
}

async function serverAnswer(base: string, now: number): Promise<Flat> {
  const query = new URLSearchParams({ query: "up[9h]", time: String((now + HOUR) / 1000) });
  const answer = (await (await fetch(`${base}/api/v1/query?${query.toString()}`)).json()) as {
    data: { result: { metric: { job: string }; values: [time: number, value: string][] }[] };
  };
  return answer.data.result
    .flatMap(({ metric, values }) =>
      values.map(([time, value]) => flat(metric.job, Math.round(time * 1000), parsed(value))),
    )
    .sort();
}

/** The last one comes late: that server knows no such record in the out-of-order log, and is not to stumble over it. */
function appendHistograms(db: Tsdb, start: number, rounds: number): void {
  const spans = [{ offset: 1, length: 2 }];
  const empty = new Float64Array(0);
  for (const n of [rounds - 10, rounds - 8, rounds - 9]) {
    const histogram: Histogram = {
      isInteger: true,
      counterResetHint: "unknown",
      schema: 2,
      zeroThreshold: 0.001,
      zeroCount: 0,
      count: 3,
      sum: n,
      sumIsStale: false,
      positiveSpans: spans,
      negativeSpans: [],
      positiveBuckets: Float64Array.of(1, 2),
      negativeBuckets: empty,
      customValues: empty,
    };
    const labels = ["__name__", "h_total", "job", "h"];
    const histograms = [[start + n * MINUTE, histogram] as const];
    const request = walkedRequest([{ labels, samples: [], histograms }]);
    expect(db.append(request, null).histograms.byVerdict[Verdict.ACCEPTED]).toBe(1);
    request.release();
  }
}

test.skipIf(!existsSync(PROMETHEUS)).each(["none", "snappy"] as const)(
  "Prometheus 2.42 and its promtool read all of a directory whose log is compressed with %s, and we read on (needs prometheus)",
  async (compression) => {
    const now = Date.now();
    const start = now - 7 * HOUR;
    const rounds = Math.floor((now - MINUTE - start) / MINUTE);
    const data = path.join(scratch, compression);
    const db = await openDb(data, compression, now);
    for (let n = 0; n < rounds; n++) {
      const request = walkedRequest(requestAt(start, n, rounds));
      const { byVerdict } = db.append(request, null);
      expect([...byVerdict.subarray(1)].every((count) => count === 0)).toBe(true);
      request.release();
    }
    const inMemory = db.head.late.count;
    expect((await db.compactHead()).length).toBeGreaterThanOrEqual(2);
    expect(db.head.late.count).toBeGreaterThan(0);
    expect(db.head.late.count).toBeLessThan(inMemory);
    const blocks = db.blocks();
    appendHistograms(db, start, rounds);
    db.noteMetadata([
      { metric: "up", type: "gauge", help: "Whether it answers.", unit: "" },
      // Whose series is not named as it is: with a field of our own.
      { metric: "h", type: "counter", help: "ü", unit: "seconds" },
    ]);
    await db.close();
    const want = expected(start, rounds);
    expect(ourDump(data)).toEqual(want);

    for (const { ulid, stats } of blocks) {
      const { stdout, status } = spawnSync(PROMTOOL, ["tsdb", "analyze", data, ulid], {
        encoding: "utf8",
      });
      expect(status).toBe(0);
      expect(stdout).toContain(`Block ID: ${ulid}`);
      expect(stdout).toContain(`\nSeries: ${SERIES}\n`);
      expect(stats.numSeries).toBe(SERIES);
    }
    // It opens the directory for writing, which must not be what the server finds.
    const copy = `${data}-dumped`;
    cpSync(data, copy, { recursive: true });
    expect(promtoolDump(copy)).toEqual(want);

    const further = Array.from({ length: 5 }, (_, i) => rounds + i);
    const all = [
      ...want,
      ...further.flatMap((n) =>
        Array.from({ length: SERIES }, (_, i) => flat(`j${i}`, start + n * MINUTE, valueOf(i, n))),
      ),
    ].sort();
    await withServer(data, async (base) => {
      expect(await serverAnswer(base, now)).toEqual(want);
      for (const n of further) {
        const body = encodeWriteRequest(
          Array.from({ length: SERIES }, (_, i) => ({
            labels: ["__name__", "up", "job", `j${i}`],
            samples: [[start + n * MINUTE, valueOf(i, n)] as const],
          })),
        );
        const sent = await fetch(`${base}/api/v1/write`, {
          method: "POST",
          headers: { "content-encoding": "snappy", "content-type": "application/x-protobuf" },
          body: Buffer.from(snappyEncode(body)),
        });
        expect(sent.status).toBe(204);
      }
      expect(await serverAnswer(base, now)).toEqual(all);
    });
    // What the server left: its own segments, records and mapped chunks.
    expect(ourDump(data)).toEqual(all);
    const again = await openDb(data, compression, now);
    expect(again.head.seriesCount).toBe(SERIES + 1);
    expect(again.replayed.unknownRefs).toBe(0);
    expect(again.metadata.of("up")).toMatchObject([{ help: "Whether it answers." }]);
    expect(again.metadata.of("h")).toMatchObject([{ help: "ü", unit: "seconds" }]);
    await again.flush();
    expect(
      again.blocks().reduce((sum, { stats }) => sum + (stats.numHistogramSamples ?? 0), 0),
    ).toBe(3);
    await again.close();
    expect(ourDump(data)).toEqual(all);
  },
  120_000,
);
