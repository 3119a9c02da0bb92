/**
 * The process that db-crash.test.ts kills: opens the directory, writes down what it finds, then appends, cuts,
 * checkpoints, compacts and deletes as fast as it can, on a disk on which it may die. Its argument is a `CrashRun`.
 *
 * On standard output: `F` when the found samples are in the file, `B n` before request n, `A n hex` behind it with a bit
 * for each sample that is stored, `L …` for each line of the database's log, `E …` for an error, `K …` where it died.
 */

import { writeFileSync, writeSync } from "node:fs";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { Tsdb } from "./db.ts";
import { type CrashRun, PHASES } from "./db-crash-run.ts";
import { installFaultyFiles } from "./faults/faulty-files.ts";
import { foundSamples } from "./faults/found-samples.ts";
import { PlanMemory } from "./faults/plan.ts";
import { SampleStream } from "./faults/sample-stream.ts";
import { send } from "./faults/send.ts";

const run = JSON.parse(process.argv[2] ?? "{}") as CrashRun;
const plan = PlanMemory.create();
plan.set(run.plan);
installFaultyFiles(plan);

const say = (line: string) => writeSync(1, `${line}\n`);
const enter = (phase: (typeof PHASES)[number]) => {
  plan.phase = PHASES.indexOf(phase);
};

const db = await Tsdb.open({
  dir: run.dir,
  blockDurationMs: run.blockDurationMs,
  retentionMs: run.retentionMs,
  maxBytes: 0,
  outOfOrderWindowMs: run.outOfOrderWindowMs,
  maxExemplars: 0,
  snapshotBytes: 40_000,
  walCompression: run.compression,
  seriesLimit: 0,
  now: () => 2 ** 45,
  log: (level, message, fields) => say(`L ${level} ${message} ${JSON.stringify(fields)}`),
});
writeFileSync(run.found, new Uint8Array((await foundSamples(db)).buffer));
say("F");

let maintenance: Promise<void> | null = null;
async function maintain(): Promise<void> {
  try {
    enter("cut");
    await db.compactHead();
    enter("compact");
    await db.mergeOverlapping();
    enter("retention");
    await db.applyRetention(() => true);
    enter("snapshot");
    await db.snapshotWhenDue();
  } catch (error) {
    say(`E ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
  enter("append");
}

enter("append");
const stream = new SampleStream(run.seed, run.first);
for (let n = run.first; n < run.first + run.requests; n++) {
  const samples = stream.next();
  say(`B ${n}`);
  const stored = send(db, samples);
  say(`A ${n} ${stored.toString(16)}`);
  if (n % 30 === 0 && maintenance === null) {
    maintenance = maintain().then(() => {
      maintenance = null;
    });
  }
  if (run.pauseMs > 0) await sleep(run.pauseMs);
  else if (n % 4 === 0) await nextTurn();
}
await maintenance;
enter("close");
if (run.seed % 4 === 0) await db.flush();
await db.close();
