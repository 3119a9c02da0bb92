/** Two processes and one directory: a second writer is refused by name, readers find what is acknowledged while it is written. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { labelValue, Matcher } from "@torus/model";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { DataDirectory } from "./data-dir/data-directory.ts";
import { Tsdb } from "./db.ts";
import type { CrashRun } from "./db-crash-run.ts";
import { DirectoryLockedError } from "./db-lock.ts";
import { bundleUnderTest } from "./faults/bundle.ts";
import { Ledger } from "./faults/ledger.ts";
import { SampleStream, type SentSample, STEP_MS, seriesOf } from "./faults/sample-stream.ts";
import { Verifier } from "./tools/verify.ts";

const BLOCK_MS = 60_000;
const READS = 40;
const MOST_READS = 400;

let work = "";
let program = "";
const writers: ChildProcess[] = [];
beforeAll(() => {
  work = mkdtempSync(path.join(tmpdir(), "torus-beside-"));
  program = bundleUnderTest(
    path.join(import.meta.dirname, "db-crash-writer.ts"),
    path.join(work, "program"),
  );
});
afterEach(async () => {
  for (const writer of writers.splice(0)) {
    const ended = new Promise((resolve) => writer.once("exit", resolve));
    if (writer.exitCode === null && writer.signalCode === null) {
      writer.kill("SIGKILL");
      await ended;
    }
  }
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

function runOf(name: string): CrashRun {
  return {
    dir: path.join(work, name),
    found: path.join(work, `${name}.found`),
    seed: 5,
    first: 1,
    requests: 1 << 13,
    compression: "snappy",
    blockDurationMs: BLOCK_MS,
    retentionMs: 0,
    outOfOrderWindowMs: 50 * STEP_MS,
    pauseMs: 8,
    plan: null,
  };
}

/** Runs until the test ends; its output goes to a file. */
async function startWriter(run: CrashRun): Promise<ChildProcess> {
  const fd = openSync(`${run.found}.told`, "w");
  const writer = spawn(process.execPath, [program, JSON.stringify(run)], {
    stdio: ["ignore", fd, "inherit"],
  });
  closeSync(fd);
  writers.push(writer);
  while (!readFileSync(`${run.found}.told`, "utf8").includes("\nA 10 ")) {
    if (writer.exitCode !== null) throw new Error(`the writer ended with ${writer.exitCode}`);
    await sleep(20);
  }
  return writer;
}

function openDb(dir: string): Promise<Tsdb> {
  return Tsdb.open({
    dir,
    blockDurationMs: BLOCK_MS,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: () => 2 ** 45,
    log: () => undefined,
  });
}

test("a second writer is refused and told who holds the directory, until that one is dead", async () => {
  const run = runOf("writers");
  const writer = await startWriter(run);
  await expect(openDb(run.dir)).rejects.toThrow(DirectoryLockedError);
  await expect(openDb(run.dir)).rejects.toThrow(`open ${run.dir}: locked by process ${writer.pid}`);
  const other = spawnSync(process.execPath, [program, JSON.stringify(run)], { encoding: "utf8" });
  expect(other.status).not.toBe(0);
  expect(other.stderr).toContain(`locked by process ${writer.pid}`);
  const ended = new Promise((resolve) => writer.once("exit", resolve));
  writer.kill("SIGKILL");
  await ended;
  const db = await openDb(run.dir);
  const third = spawnSync(process.execPath, [program, JSON.stringify(run)], { encoding: "utf8" });
  expect(third.stderr).toContain(`locked by process ${process.pid}`);
  await db.close();
});

test("of several that begin at once on a dead writer's directory, one writes it", async () => {
  const dead = runOf("race");
  const first = await startWriter(dead);
  const ended = new Promise((resolve) => first.once("exit", resolve));
  first.kill("SIGKILL");
  await ended;
  for (let round = 0; round < 3; round++) {
    const started = Array.from({ length: 5 }, (_, i) => {
      const told = path.join(work, `race-${round}-${i}`);
      const run = { ...dead, found: `${told}.found`, first: 4000 + round, pauseMs: 50 };
      const fd = openSync(told, "w");
      const child = spawn(process.execPath, [program, JSON.stringify(run)], {
        stdio: ["ignore", fd, fd],
      });
      closeSync(fd);
      writers.push(child);
      return { child, told };
    });
    const states = (): string[] =>
      started.map(({ told }) => {
        const text = readFileSync(told, "utf8");
        if (/^A /m.test(text)) return "writes";
        return text.includes("locked by ") ? "refused" : "begins";
      });
    while (states().includes("begins")) await sleep(20);
    expect(states().sort()).toEqual(["refused", "refused", "refused", "refused", "writes"]);
    await Promise.all(
      started.map(async ({ child }) => {
        if (child.exitCode !== null) return;
        const gone = new Promise((resolve) => child.once("exit", resolve));
        child.kill("SIGKILL");
        await gone;
      }),
    );
  }
});

/** What the writer has told so far: at least this is in the directory. */
function toldBy(run: CrashRun): Ledger {
  const ledger = new Ledger(2 ** 14);
  const stream = new SampleStream(run.seed, run.first);
  let begun: SentSample[] = [];
  const text = readFileSync(`${run.found}.told`, "utf8");
  for (const line of text.slice(0, text.lastIndexOf("\n")).split("\n")) {
    const [what, n, stored = ""] = line.split(" ");
    if (what === "B") begun = stream.next();
    if (what === "A") ledger.sent(Number(n), begun, BigInt(`0x${stored}`));
    expect(/^(E|L error)/.test(line) ? line : "").toBe("");
  }
  return ledger;
}

/** What is found may be further than what was told when the reading began. */
function readBeside(dir: string, last: number): Float64Array {
  const out: number[] = [];
  const asValue = new Float64Array(1);
  const bits = new BigUint64Array(asValue.buffer);
  const all = [new Matcher("=", "__name__", "up")];
  for (const { labels, samples } of new DataDirectory(dir).select(all, 0, last * STEP_MS)) {
    const job = labelValue(labels, "job");
    for (let i = 0; i < samples.times.length; i++) {
      const step = Number(samples.times[i]) / STEP_MS;
      bits[0] = samples.values[i] as bigint;
      out.push(seriesOf(job, step), step, asValue[0] as number);
    }
  }
  return Float64Array.from(out);
}

test("readers find everything acknowledged while a writer appends, cuts and checkpoints", async () => {
  const run = runOf("readers");
  const writer = await startWriter(run);
  let blocks = 0;
  for (let i = 0; i < READS || (blocks < 3 && i < MOST_READS); i++) {
    const ledger = toldBy(run);
    const found = readBeside(run.dir, ledger.last);
    // Late samples that came during the reading were sent, but are not in this ledger.
    const wrong = ledger.check(found).filter((text) => !text.endsWith("was never sent"));
    expect(wrong.slice(0, 5), `read ${i}, up to request ${ledger.last}`).toEqual([]);
    const verifier = new Verifier();
    verifier.directory(run.dir);
    expect(verifier.findings.filter(({ severity }) => severity === "error")).toEqual([]);
    blocks = Math.max(blocks, verifier.counts.blocks);
    await sleep(30);
  }
  expect(blocks).toBeGreaterThan(2);
  expect(writer.exitCode).toBeNull();
  const last = toldBy(run);
  expect(
    last.check(readBeside(run.dir, last.last)).filter((text) => text.endsWith("lost")),
  ).toEqual([]);
}, 60_000);
