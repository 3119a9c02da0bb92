/** A real Prometheus server started on our data directory, blocks and log, gives every sample back. */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Tsdb } from "./db.ts";
import { walkedRequest } from "./head/test-requests.ts";

const PROMETHEUS = "/usr/bin/prometheus";
const HOUR = 3_600_000;

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

test.skipIf(!existsSync(PROMETHEUS))(
  "Prometheus opens the directory and answers with every sample",
  async () => {
    const dir = mkdtempSync(path.join(tmpdir(), "torus-prometheus-"));
    const data = path.join(dir, "data");
    const now = Date.now();
    const db = await Tsdb.open({
      dir: data,
      blockDurationMs: 2 * HOUR,
      retentionMs: 0,
      maxBytes: 0,
      outOfOrderWindowMs: 0,
      walCompression: "snappy",
      seriesLimit: 0,
      now: () => now,
      log: () => undefined,
    });
    const start = now - 7 * HOUR;
    let rounds = 0;
    for (let time = start; time <= now - 60_000; time += 60_000, rounds++) {
      const request = walkedRequest(
        Array.from({ length: 10 }, (_, i) => ({
          labels: ["__name__", "up", "job", `j${i}`],
          samples: [[time, rounds / 7 + i] as const],
        })),
      );
      db.append(request, null);
      request.release();
    }
    expect((await db.compactHead()).length).toBeGreaterThanOrEqual(2);
    await db.close();

    const config = path.join(dir, "prometheus.yml");
    writeFileSync(config, "global:\n  scrape_interval: 1h\n");
    const port = await freePort();
    const server = spawn(
      PROMETHEUS,
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${data}`,
        `--web.listen-address=127.0.0.1:${port}`,
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
      const query = new URLSearchParams({ query: "up[8h]", time: String(now / 1000) });
      const answer = (await (await fetch(`${base}/api/v1/query?${query.toString()}`)).json()) as {
        data: { result: { metric: { job: string }; values: [time: number, value: string][] }[] };
      };
      const { result } = answer.data;
      expect(result).toHaveLength(10);
      for (const { metric, values } of result) {
        const i = Number(metric.job.slice(1));
        expect(values.map(([time, value]) => [Math.round(time * 1000), Number(value)])).toEqual(
          Array.from({ length: rounds }, (_, n) => [start + n * 60_000, n / 7 + i]),
        );
      }
      server.kill("SIGTERM");
      await ended;
    } finally {
      server.kill("SIGKILL");
      await ended;
    }
    // And back: what the server left behind (its own segment, mapped chunks) opens here.
    const again = await Tsdb.open({
      dir: data,
      blockDurationMs: 2 * HOUR,
      retentionMs: 0,
      maxBytes: 0,
      outOfOrderWindowMs: 0,
      walCompression: "snappy",
      seriesLimit: 0,
      now: () => now,
      log: () => undefined,
    });
    expect(again.head.seriesCount).toBe(10);
    expect(again.minTime).toBeLessThanOrEqual(start);
    expect(again.maxTime).toBe(start + (rounds - 1) * 60_000);
    await again.close();
    rmSync(dir, { recursive: true, force: true });
  },
  60_000,
);
