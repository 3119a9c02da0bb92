/**
 * The process that db-faults.test.ts starts: a fixed life of a database (open, appends, cut, checkpoint, deletion,
 * close) on a disk on which one operation fails, for each case once. Its arguments: a directory to work in, and a file
 * with the cases; without that it prints the operations of a life without faults, a JSON array a line.
 *
 * For each case it prints a `FaultOutcome`, a line each.
 */

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { Tsdb } from "./db.ts";
import type { FaultCase, FaultOutcome } from "./db-faults-run.ts";
import { PHASES } from "./db-faults-run.ts";
import { installFaultyFiles } from "./faults/faulty-files.ts";
import { foundSamples } from "./faults/found-samples.ts";
import { Ledger } from "./faults/ledger.ts";
import { PlanMemory } from "./faults/plan.ts";
import { SampleStream, STEP_MS } from "./faults/sample-stream.ts";
import { send } from "./faults/send.ts";
import { Verifier } from "./tools/verify.ts";

const [work = "", casesFile] = process.argv.slice(2);
const BLOCK_MS = 60_000;
const RETENTION_MS = 5 * BLOCK_MS;
const SEED = 7;
const BASE_REQUESTS = 215;
const plan = PlanMemory.create();
installFaultyFiles(plan);

type Life = { ledger: Ledger; stream: SampleStream; next: number };

/** What the base was sent, so that every life's ledger knows it. */
const history: bigint[] = [];

function newLife(): Life {
  const ledger = new Ledger(RETENTION_MS / STEP_MS);
  const stream = new SampleStream(SEED, 1);
  history.forEach((stored, i) => ledger.sent(i + 1, stream.next(), stored));
  return { ledger, stream, next: history.length + 1 };
}

function openDb(dir: string, said: string[]): Promise<Tsdb> {
  return Tsdb.open({
    dir,
    blockDurationMs: BLOCK_MS,
    retentionMs: RETENTION_MS,
    maxBytes: 0,
    outOfOrderWindowMs: 50 * STEP_MS,
    maxExemplars: 0,
    snapshotBytes: 1,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => 2 ** 45,
    log: (level, message) => said.push(`${level}: ${message}`),
  });
}

/** Sends the next request, and once more when it is refused. @returns Whether it was stored in the end. */
function sendNext(
  db: Tsdb,
  life: Life,
  errors: string[],
  onStored: (stored: bigint) => void = () => undefined,
): boolean {
  const samples = life.stream.next();
  const n = life.next++;
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const stored = send(db, samples);
      life.ledger.sent(n, samples, stored);
      onStored(stored);
      return true;
    } catch (error) {
      errors.push(errorText(error));
      life.ledger.sent(n, samples, null);
    }
  }
  return false;
}

function errorText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

const enter = (phase: (typeof PHASES)[number]) => {
  plan.phase = PHASES.indexOf(phase);
};

/** A directory in which the life begins: blocks, a checkpoint, both logs. */
async function makeBase(dir: string): Promise<void> {
  const life = newLife();
  const db = await openDb(dir, []);
  while (life.next <= BASE_REQUESTS) {
    sendNext(db, life, [], (stored) => history.push(stored));
    if (life.next % 60 === 0) await db.compactHead();
    if (life.next % 100 === 0) await db.snapshotWhenDue();
  }
  cpSync(dir, `${dir}-killed`, { recursive: true });
  await db.close();
}

function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

/** One life, from the base on. What goes wrong beyond the fault is in `problems`. */
async function live(base: string, name: string, fault: FaultCase | null): Promise<FaultOutcome> {
  const dir = path.join(work, name);
  cpSync(`${base}-killed`, dir, {
    recursive: true,
    filter: (from) => path.basename(from) !== "lock",
  });
  const life = newLife();
  const said: string[] = [];
  const errors: string[] = [];
  const problems: string[] = [];
  const before = openFiles();
  const attempt = async (what: string, run: () => Promise<unknown>) => {
    try {
      await run();
    } catch (error) {
      errors.push(`${what}: ${errorText(error)}`);
    }
  };
  plan.set(fault?.plan ?? null);
  enter("open");
  let db: Tsdb | undefined;
  await attempt("open", async () => {
    db = await openDb(dir, said);
  });
  if (db === undefined) {
    // It said why; without the fault it opens.
    plan.heal();
    db = await openDb(dir, said);
  }
  const open = db;
  const steps: [(typeof PHASES)[number], () => Promise<unknown>][] = [
    ["cut", () => open.compactHead()],
    ["compact", () => open.mergeOverlapping()],
    ["retention", () => open.applyRetention(() => true)],
    ["snapshot", () => open.snapshotWhenDue()],
    ["append", () => Promise.resolve()],
  ];
  for (const [phase, run] of steps) {
    enter("append");
    for (let i = 0; i < 6; i++) sendNext(open, life, errors);
    enter(phase);
    await attempt(phase, run);
  }
  // The disk is well again: the same process goes on.
  plan.heal();
  for (let i = 0; i < 6; i++) {
    if (!sendNext(open, life, problems)) problems.push("an append after the fault is refused");
  }
  problems.push(
    ...life.ledger.check(await foundSamples(open)).map((text) => `before close: ${text}`),
  );
  plan.rearm();
  enter("close");
  await attempt("close", () => open.close());
  const { hits } = plan;
  const trace = fault === null ? plan.trace() : [];
  plan.set(null);
  if (openFiles() > before) problems.push(`${openFiles() - before} files are left open`);
  const again = await openDb(dir, said);
  problems.push(
    ...life.ledger.check(await foundSamples(again)).map((text) => `after restart: ${text}`),
  );
  for (let i = 0; i < 80; i++) sendNext(again, life, problems);
  await again.compactHead();
  problems.push(
    ...life.ledger.check(await foundSamples(again)).map((text) => `after a cut: ${text}`),
  );
  await again.close();
  const verifier = new Verifier();
  verifier.directory(dir);
  for (const { severity, where, what } of verifier.findings) {
    if (severity === "error") problems.push(`verify: ${where}: ${what}`);
  }
  for (const left of readdirSync(dir)) {
    if (/\.tmp(-for-|$)/.test(left)) problems.push(`${left} is left`);
  }
  rmSync(dir, { recursive: true });
  return { name, hits, errors, said, problems: problems.slice(0, 20), trace };
}

const base = path.join(work, "base");
mkdirSync(work, { recursive: true });
await makeBase(base);

const say = (outcome: FaultOutcome) => writeSync(1, `${JSON.stringify(outcome)}\n`);
if (casesFile === undefined) say(await live(base, "without-faults", null));
else {
  for (const fault of JSON.parse(readFileSync(casesFile, "utf8")) as FaultCase[]) {
    say(await live(base, fault.name, fault));
  }
}
