import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { SERIES_WORDS, SeriesWord, Verdict } from "@torus/kernels";
import { Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import { Tsdb } from "./db.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";

const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-exemplars-"));
  dirs.push(dir);
  return dir;
}

async function openDb(dir: string, maxExemplars = 100): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 100 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

function append(db: Tsdb, ...series: TestSeries[]) {
  const request = walkedRequest(series);
  const { exemplars } = db.append(request, null);
  const verdicts = series.map((_, i) => request.series[i * SERIES_WORDS + SeriesWord.VERDICT]);
  request.release();
  return { ...exemplars, verdicts };
}

function traced(job: string, time: number, trace: string, samples = true): TestSeries {
  return {
    labels: ["__name__", "up", "job", job],
    samples: samples ? [[time, 1]] : [],
    exemplars: [{ labels: ["trace_id", trace], value: 0.25, time }],
  };
}

function shown(db: Tsdb, job = ".*"): [job: string, ...traces: string[]][] {
  return db.head
    .selectExemplars([[new Matcher("=~", "job", job)]], 0, 2 ** 50)
    .map(({ labels, exemplars }) => [
      labels[3] as string,
      ...exemplars.map(({ labels: own, time }) => `${own[1]}@${time - START}`),
    ]);
}

test("exemplars are found by series, and after a kill", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  expect(append(db, traced("b", START, "t1"), traced("a", START + 5, "t2"))).toMatchObject({
    stored: 2,
    verdicts: [Verdict.ACCEPTED, Verdict.ACCEPTED],
  });
  // As Prometheus sends them: a series of their own, without samples.
  expect(append(db, traced("b", START + 7, "t3", false)).stored).toBe(1);
  const want = [
    ["a", "t2@5"],
    ["b", "t1@0", "t3@7"],
  ];
  expect(shown(db)).toEqual(want);
  expect(shown(db, "b")).toEqual([want[1]]);
  const copy = newDir();
  cpSync(dir, copy, { recursive: true, filter: (name) => path.basename(name) !== "lock" });
  const again = await openDb(copy);
  expect(again.replayed.exemplars).toBe(3);
  expect(shown(again)).toEqual(want);
});

test("one that is refused refuses nothing else, and a repeated one is no error", async () => {
  const db = await openDb(newDir());
  append(db, traced("a", START + 10, "t1"));
  expect(append(db, traced("a", START + 10, "t1", false))).toMatchObject({
    stored: 1,
    verdicts: [Verdict.ACCEPTED],
  });
  const mixed = append(
    db,
    { ...traced("a", START + 9, "t0"), samples: [[START + 20, 2]] },
    traced("b", START + 30, "x".repeat(130)),
    traced("unknown", START + 30, "t9", false),
    traced("c", START + 30, "t2"),
  );
  expect(mixed).toEqual({
    stored: 1,
    outOfOrder: 1,
    tooLong: 1,
    invalid: 1,
    verdicts: [Verdict.CONFLICT, Verdict.CONFLICT, Verdict.CONFLICT, Verdict.ACCEPTED],
  });
  expect(db.head.maxTime).toBe(START + 30);
  expect(shown(db)).toEqual([
    ["a", "t1@10"],
    ["c", "t2@30"],
  ]);
  expect(db.head.exemplars).toMatchObject({ count: 2, seriesCount: 2, appended: 2, outOfOrder: 1 });
});

test("where none are kept they are passed over", async () => {
  const db = await openDb(newDir(), 0);
  expect(append(db, traced("a", START, "t1"))).toEqual({
    stored: 0,
    outOfOrder: 0,
    tooLong: 0,
    invalid: 0,
    verdicts: [Verdict.ACCEPTED],
  });
  expect(shown(db)).toEqual([]);
});

test("those of series that go are forgotten, those newer than a checkpoint are not", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, traced("old", START, "t1"));
  for (let hour = 0; hour < 7; hour++) append(db, traced("on", START + hour * HOUR, `h${hour}`));
  await db.flush();
  expect(shown(db)).toEqual([]);
  append(db, traced("on", START + 8 * HOUR, "h8"));
  await db.close();
  open.length = 0;
  const again = await openDb(dir);
  expect(shown(again)).toEqual([["on", `h8@${8 * HOUR}`]]);
});
