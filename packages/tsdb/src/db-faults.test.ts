/**
 * A disk that is full or broken at one operation of a database's life, for every operation that it does, by kind of
 * operation, part of the directory, and what the system answers. Whatever fails, what was acknowledged is there, before
 * and after a restart, once; the database goes on when the disk is well again; no file stays open.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type FaultCase, type FaultOutcome, PHASES } from "./db-faults-run.ts";
import { bundleUnderTest } from "./faults/bundle.ts";
import type { Kind, Place } from "./faults/plan.ts";

/** What Linux answers for each, where the disk is full or broken, or the process has too many files. */
const CODES: Readonly<Record<Kind, readonly string[]>> = {
  open: ["EIO", "EMFILE"],
  create: ["ENOSPC", "EMFILE"],
  close: ["EIO"],
  read: ["EIO"],
  write: ["ENOSPC", "EIO"],
  fsync: ["EIO"],
  truncate: ["EIO"],
  rename: ["EIO"],
  unlink: ["EIO"],
  mkdir: ["ENOSPC"],
  rmdir: ["EIO"],
};
const FULL_DISK: readonly Kind[] = ["write", "create", "mkdir"];
/** A start and a stop do without: they say so, and fail no call. */
const SNAPSHOT_FAILED = /^warn: (no snapshot of the head|snapshot of the head cannot be used)/;
const FULL_DISKS = 24;

let work = "";
let program = "";
let without: FaultOutcome | undefined;
let trace: FaultOutcome["trace"] = [];

function run(dir: string, cases: readonly FaultCase[] | null): FaultOutcome[] {
  const args = [program, path.join(work, dir)];
  if (cases !== null) {
    const file = path.join(work, `${dir}.json`);
    writeFileSync(file, JSON.stringify(cases));
    args.push(file);
  }
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 120_000,
    maxBuffer: 1 << 28,
  });
  if (status !== 0)
    throw new Error(`the runner ended with ${status}: ${stderr}\n${stdout.slice(-2000)}`);
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as FaultOutcome);
}

beforeAll(() => {
  work = mkdtempSync(path.join(tmpdir(), "torus-faults-"));
  program = bundleUnderTest(
    path.join(import.meta.dirname, "db-faults-runner.ts"),
    path.join(work, "program"),
  );
  without = run("trace", null)[0];
  trace = without?.trace ?? [];
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** For each phase, kind and place the first time it is done and the last, among those of its kind and place. */
function moments(): { name: string; kind: Kind; place: Place; nth: number }[] {
  const counts = new Map<string, number>();
  const first = new Map<string, { kind: Kind; place: Place; nth: number }>();
  const last = new Map<string, { kind: Kind; place: Place; nth: number }>();
  for (const { kind, place, phase } of trace) {
    const nth = (counts.get(`${kind} ${place}`) ?? 0) + 1;
    counts.set(`${kind} ${place}`, nth);
    const key = `${PHASES[phase]}: ${kind} ${place}`;
    if (!first.has(key)) first.set(key, { kind, place, nth });
    last.set(key, { kind, place, nth });
  }
  return [...first, ...last]
    .map(([key, moment]) => ({ name: `${key} ${moment.nth}`, ...moment }))
    .filter(({ name }, i, all) => all.findIndex((other) => other.name === name) === i);
}

/** What went wrong, with what the database answered and said. */
function wrongIn(outcomes: readonly FaultOutcome[]): object[] {
  return outcomes
    .filter(({ problems }) => problems.length > 0)
    .map(({ name, errors, said, problems }) => ({
      name,
      errors,
      said,
      problems: problems.slice(0, 3),
    }));
}

test("the life goes through every kind of operation at every part of the directory", () => {
  expect(without).toMatchObject({ errors: [], problems: [] });
  const seen = new Set(trace.map(({ kind, place }) => `${kind} ${place}`));
  for (const each of [
    "wal",
    "wbl",
    "checkpoint",
    "block chunks",
    "block index",
    "block meta",
    "snapshot",
  ]) {
    for (const kind of ["create", "write", "fsync"]) expect(seen).toContain(`${kind} ${each}`);
  }
  const rest = ["rename checkpoint", "rename block directory", "rename snapshot"];
  for (const each of [...rest, "unlink wal", "unlink wbl", "unlink snapshot"]) {
    expect(seen).toContain(each);
  }
});

test("one operation that fails loses nothing", () => {
  const cases = moments().flatMap(({ name, kind, place, nth }) =>
    CODES[kind].map(
      (code): FaultCase => ({
        name: `${name} ${code}`.replaceAll(/[: ]+/g, "-"),
        plan: { kinds: [kind], places: [place], nth, action: "fail", code },
      }),
    ),
  );
  const outcomes = run("once", cases);
  expect(wrongIn(outcomes)).toEqual([]);
  // That the last page of a log cannot be filled, when it is closed, is none of an error, nor is a second name of the
  // lock that stays.
  const silent = outcomes
    .filter(({ errors }) => errors.length === 0)
    .filter(({ said }) => !said.some((line) => SNAPSHOT_FAILED.test(line)))
    .filter(
      ({ name }) =>
        !/^close-write-(wal|wbl|snapshot)-|^cut-write-checkpoint-|^snapshot-write-snapshot-|^open-unlink-lock-/.test(
          name,
        ),
    );
  expect(silent.map(({ name }) => name)).toEqual([]);
  expect(outcomes.filter(({ hits }) => hits === 0).map(({ name }) => name)).toEqual([]);
}, 120_000);

test("a part of the directory that fails from a moment on loses nothing, and is taken up again when it is well", () => {
  const cases = moments()
    .filter(({ kind }) => kind === "write" || kind === "fsync" || kind === "rename")
    .map(
      ({ name, kind, place, nth }): FaultCase => ({
        name: `${name} on`.replaceAll(/[: ]+/g, "-"),
        // What cuts a failed write off fails too.
        plan: {
          kinds: kind === "write" ? ["write", "truncate"] : [kind],
          places: [place],
          nth,
          action: "fail on",
          code: "EIO",
        },
      }),
    );
  expect(wrongIn(run("on", cases))).toEqual([]);
}, 120_000);

test("a disk that is full from any moment on loses nothing, and is taken up again when there is room", () => {
  // Not the last ones: a page of the log that cannot be filled at a close is none of an error.
  const close = PHASES.indexOf("close");
  const growing = trace.filter(({ kind, phase }) => FULL_DISK.includes(kind) && phase !== close);
  const cases = Array.from(
    { length: FULL_DISKS },
    (_, i): FaultCase => ({
      name: `full-${i}`,
      plan: {
        kinds: FULL_DISK,
        places: "all",
        nth: 1 + Math.floor((i * growing.length) / FULL_DISKS),
        action: "fail on",
        code: "ENOSPC",
      },
    }),
  );
  const outcomes = run("full", cases);
  expect(wrongIn(outcomes)).toEqual([]);
  const silent = outcomes.filter(({ errors }) => !errors.some((text) => text.includes("ENOSPC")));
  expect(silent.map(({ name }) => name)).toEqual([]);
}, 120_000);
