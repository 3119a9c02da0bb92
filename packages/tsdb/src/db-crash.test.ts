/** A writer killed at any moment of append, cut and checkpoint: nothing acknowledged is lost, nothing is there twice. */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { xorDecodeChunk } from "@torus/kernels";
import { labelValue, Matcher } from "@torus/model";
import { expect, test } from "vitest";
import { Tsdb } from "./db.ts";

const ROUNDS = Number(process.env.TORUS_CRASH_ROUNDS ?? 6);
const STEP_MS = 1000;
const WRITER = fileURLToPath(new URL("./db-crash-writer.ts", import.meta.url));

/** Runs the writer until it is killed; returns the last round that it acknowledged. */
async function killedWriter(dir: string, first: number, afterMs: number): Promise<number> {
  const child = spawn(
    process.execPath,
    ["--import", "tsx", WRITER, dir, String(first), String(STEP_MS)],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let text = "";
  let timer: NodeJS.Timeout | undefined;
  child.stdout.on("data", (data: Buffer) => {
    // The clock runs from the first acknowledgement on.
    timer ??= setTimeout(() => child.kill("SIGKILL"), afterMs);
    text += data.toString();
  });
  await new Promise((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  const whole = text.slice(0, text.lastIndexOf("\n"));
  return whole === "" ? first - 1 : Number(whole.slice(whole.lastIndexOf("\n") + 1));
}

async function samplesByTime(dir: string): Promise<Map<number, Set<string>>> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 120_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => 2 ** 45,
    log: () => undefined,
  });
  const out = new Map<number, Set<string>>();
  try {
    const select = {
      mint: 0,
      maxt: 2 ** 50,
      matchers: [new Matcher("=", "__name__", "up")],
      skipChunks: false,
      limit: 0,
      signal: new AbortController().signal,
    };
    const times = new Float64Array(1000);
    const values = new Float64Array(1000);
    for await (const batch of db.queryable().selectChunks(select)) {
      for (const { labels, chunks } of batch) {
        const job = labelValue(labels, "job");
        for (const chunk of chunks) {
          const n = xorDecodeChunk(chunk.data, times, values);
          for (let i = 0; i < n; i++) {
            const time = times[i] as number;
            const jobs = out.get(time) ?? new Set();
            if (jobs.has(job)) throw new Error(`${job} has a sample twice at ${time}`);
            jobs.add(job);
            out.set(time, jobs);
          }
        }
      }
    }
  } finally {
    await db.close();
  }
  return out;
}

test(`a writer killed ${ROUNDS} times loses nothing that it acknowledged`, async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-crash-"));
  try {
    let next = 1;
    for (let round = 0; round < ROUNDS; round++) {
      const last = await killedWriter(dir, next, 150 + ((round * 7919) % 400));
      const found = await samplesByTime(dir);
      for (let r = 1; r <= last; r++) {
        expect(found.get(r * STEP_MS)?.size, `round ${r} of ${last} after kill ${round}`).toBe(30);
      }
      // One more round may have reached the log without being acknowledged.
      next = Math.max(...found.keys()) / STEP_MS + 1;
      expect(next).toBeLessThanOrEqual(last + 2);
    }
    expect(next).toBeGreaterThan(ROUNDS);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 120_000);
