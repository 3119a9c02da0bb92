/**
 * A writer killed at seeded moments of append, cut, checkpoint, compaction and deletion, again and again on the same
 * directory: every start works, nothing acknowledged is missing, nothing is there that was not sent, nothing is twice.
 *
 * TORUS_CRASH_ROUNDS and TORUS_CRASH_SEED make it longer and other.
 */

import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { labelValue, Matcher } from "@torus/model";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataDirectory } from "./data-dir/data-directory.ts";
import { type CrashRun, PHASES } from "./db-crash-run.ts";
import { bundleUnderTest } from "./faults/bundle.ts";
import { Ledger } from "./faults/ledger.ts";
import { KINDS, type Kind, PLACES, type Place, type Plan } from "./faults/plan.ts";
import {
  SampleStream,
  type SentSample,
  STEP_MS,
  seededFraction,
  seriesOf,
} from "./faults/sample-stream.ts";

const ROUNDS = Number(process.env.TORUS_CRASH_ROUNDS ?? 208);
const SEED = Number(process.env.TORUS_CRASH_SEED ?? 1);
const LANES = 2;
/** Rounds on one directory. */
const ROUNDS_A_DIRECTORY = 30;
const REQUESTS = 140;
const BLOCK_MS = 60_000;
const RETENTION_MS = 10 * BLOCK_MS;

/** In every fourth round one of these is hit, the first or second time it comes. */
const MOMENTS: readonly (readonly [Kind, Place])[] = [
  ["write", "wal"],
  ["write", "wbl"],
  ["unlink", "wbl"],
  ["write", "checkpoint"],
  ["rename", "checkpoint"],
  ["unlink", "wal"],
  ["write", "block chunks"],
  ["write", "block index"],
  ["fsync", "block directory"],
  ["rename", "block directory"],
  ["write", "snapshot"],
  ["rename", "snapshot"],
];

let work = "";
let program = "";
beforeAll(() => {
  work = mkdtempSync(path.join(tmpdir(), "torus-crash-"));
  program = bundleUnderTest(
    path.join(import.meta.dirname, "db-crash-writer.ts"),
    path.join(work, "program"),
  );
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const IDLE = new Set(["open", "read", "close"]);
const CHANGING = KINDS.filter((kind) => !IDLE.has(kind));
const BLOCK = PLACES.filter((place) => place.startsWith("block"));

function planOf(
  round: number,
  random: (n: number) => number,
): { plan: Plan | null; killAfterMs: number | null } {
  const kind = random(1);
  const action = (["die before", "die after", "die inside"] as const)[Math.floor(random(2) * 3)];
  const plan = (places: Plan["places"], kinds: Plan["kinds"], most: number): Plan => ({
    places,
    kinds,
    nth: 1 + Math.floor(random(3) * most),
    action: action ?? "die before",
    code: "",
  });
  if (round % 4 === 3) {
    const [what, place] = MOMENTS[((round - 3) / 4) % MOMENTS.length] as (typeof MOMENTS)[number];
    return { plan: plan([place], [what], 2), killAfterMs: null };
  }
  if (kind < 0.12) return { plan: null, killAfterMs: 50 + Math.floor(random(3) * 300) };
  const killAfterMs = null;
  if (kind < 0.27) return { plan: plan(["wal"], ["write"], 200), killAfterMs };
  if (kind < 0.31) return { plan: plan(["wbl"], CHANGING, 120), killAfterMs };
  if (kind < 0.33) return { plan: plan(["wbl"], ["fsync", "create"], 8), killAfterMs };
  if (kind < 0.37) return { plan: plan(["wbl"], ["unlink"], 3), killAfterMs };
  if (kind < 0.45) return { plan: plan("all", "all", 40), killAfterMs };
  if (kind < 0.6) return { plan: plan(["checkpoint"], CHANGING, 20), killAfterMs };
  if (kind < 0.7) return { plan: plan("all", ["rename"], 5), killAfterMs };
  if (kind < 0.74) return { plan: plan(["snapshot"], CHANGING, 12), killAfterMs };
  if (kind < 0.78) return { plan: plan(["deleted block"], CHANGING, 8), killAfterMs };
  return { plan: plan(BLOCK, CHANGING, 50), killAfterMs };
}

type Ended = { lines: string[]; where: string };

async function runWriter(run: CrashRun, killAfterMs: number | null): Promise<Ended> {
  const told = `${run.found}.told`;
  const fd = openSync(told, "w");
  const child = spawn(process.execPath, [program, JSON.stringify(run)], {
    stdio: ["ignore", fd, "pipe"],
  });
  closeSync(fd);
  const timer =
    killAfterMs === null ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  let errors = "";
  child.stderr?.on("data", (data: Buffer) => {
    errors += data.toString();
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once("close", (...how) => resolve(how));
  });
  clearTimeout(timer);
  const text = readFileSync(told, "utf8");
  const lines = text.slice(0, text.lastIndexOf("\n")).split("\n");
  if (signal === null && code !== 0) throw new Error(`the writer ended with ${code}: ${errors}`);
  const killed = lines.find((line) => line.startsWith("K "))?.split(" ");
  let where = signal === null ? "ended by itself" : "at any moment";
  if (killed !== undefined) {
    where = `${PHASES[Number(killed[1])] ?? "?"}: ${killed.slice(2).join(" ")}`;
  }
  return { lines, where };
}

/** Read by what reads a directory beside its writer, as `torus tools tsdb` does. */
function readBeside(dir: string): Float64Array {
  const out: number[] = [];
  const asValue = new Float64Array(1);
  const bits = new BigUint64Array(asValue.buffer);
  const all = [new Matcher("=", "__name__", "up")];
  for (const { labels, samples } of new DataDirectory(dir).select(all, 0, 2 ** 50)) {
    const job = labelValue(labels, "job");
    for (let i = 0; i < samples.times.length; i++) {
      const step = Number(samples.times[i]) / STEP_MS;
      bits[0] = samples.values[i] as bigint;
      out.push(seriesOf(job, step), step, asValue[0] as number);
    }
  }
  return Float64Array.from(out);
}

/** @returns Where the kills hit. */
async function lane(number: number): Promise<string[]> {
  const hits: string[] = [];
  let ledger = new Ledger(RETENTION_MS / STEP_MS);
  let run: CrashRun | undefined;
  for (let round = 0; hits.length < ROUNDS / LANES; round++) {
    if (round % ROUNDS_A_DIRECTORY === 0 || run === undefined) {
      const seed = Math.floor(seededFraction(SEED, number, round) * 2 ** 30);
      ledger = new Ledger(RETENTION_MS / STEP_MS);
      const base = path.join(work, `lane-${number}-${round}`);
      mkdirSync(base);
      run = {
        dir: path.join(base, "data"),
        found: path.join(base, "found"),
        seed,
        first: 1,
        requests: REQUESTS,
        compression: round % (2 * ROUNDS_A_DIRECTORY) === 0 ? "snappy" : "none",
        blockDurationMs: BLOCK_MS,
        retentionMs: RETENTION_MS,
        outOfOrderWindowMs: 50 * STEP_MS,
        pauseMs: 0,
        plan: null,
      };
    }
    const { plan, killAfterMs } = planOf(round, (n) => seededFraction(run?.seed ?? 0, round, n));
    run = { ...run, first: ledger.last + 1, plan };
    const { lines, where } = await runWriter(run, killAfterMs);
    const said = `seed ${SEED}, lane ${number}, round ${round}, ${JSON.stringify(plan)}, ${where}`;
    if (where !== "ended by itself") hits.push(where);
    if (lines.includes("F")) {
      const bytes = readFileSync(run.found);
      const found = new Float64Array(
        bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
      );
      expect(ledger.check(found).slice(0, 10), `at the start of ${said}`).toEqual([]);
    }
    const stream = new SampleStream(run.seed, run.first);
    let begun: SentSample[] | null = null;
    for (const line of lines) {
      const [what, n, stored = ""] = line.split(" ");
      if (what === "B") begun = stream.next();
      if (what === "A" && begun !== null) {
        ledger.sent(Number(n), begun, BigInt(`0x${stored}`));
        begun = null;
      }
      expect(/^(E|L error)/.test(line) ? line : "", said).toBe("");
    }
    if (begun !== null) ledger.sent(ledger.last + 1, begun, null);
    if (round % 10 === 9) {
      expect(ledger.check(readBeside(run.dir)).slice(0, 10), `read beside after ${said}`).toEqual(
        [],
      );
    }
  }
  return hits;
}

test(`a writer killed ${ROUNDS} times loses nothing that it acknowledged, and has nothing twice`, async () => {
  const lanes = await Promise.all(Array.from({ length: LANES }, (_, n) => lane(n)));
  const hits = lanes.flat();
  expect(hits.length).toBeGreaterThanOrEqual(ROUNDS);
  const counted = new Map<string, number>();
  for (const where of hits) counted.set(where, (counted.get(where) ?? 0) + 1);
  if (process.env.TORUS_CRASH_SHOW !== undefined) {
    process.stdout.write(`${[...counted].map(([where, n]) => `${n}\t${where}`).join("\n")}\n`);
  }
  // Many rounds hit every kind of moment; which ones a short run hits, its seed tells.
  if (hits.length < 200) return;
  const moments = new Set(hits.map((where) => where.slice(where.lastIndexOf(": ") + 2)));
  for (const moment of MOMENTS) expect(moments).toContain(moment.join(" "));
}, 600_000);
