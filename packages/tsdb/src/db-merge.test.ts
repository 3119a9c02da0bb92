import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Verdict } from "@torus/kernels";
import { labelValue, Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import { Tsdb } from "./db.ts";
import { type TestSample, walkedRequest } from "./head/test-requests.ts";
import { StoredBlocks } from "./stored-blocks.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-merge-"));
  dirs.push(dir);
  return dir;
}
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function openDb(dir: string, log: string[] = []): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 12 * HOUR,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 100 * HOUR,
    log: (_level, message) => log.push(message),
  });
  open.push(db);
  return db;
}

function append(db: Tsdb, job: string, samples: readonly TestSample[]): void {
  const request = walkedRequest([
    { labels: ["__name__", "up", "job", job], samples: [...samples] },
  ]);
  const counts = db.append(request, null);
  expect(counts.byVerdict[Verdict.ACCEPTED]).toBe(samples.length);
  request.release();
}

/** Every `step` minutes from `from` until before `to`, in minutes; the value tells the minute. */
function minutes(from: number, to: number, step: number): TestSample[] {
  return Array.from({ length: (to - from) / step }, (_, i) => {
    const minute = from + i * step;
    return [START + minute * MINUTE, minute];
  });
}

/** What a read gives, `job minute`, by time in each series; with a hook behind its first series. */
async function read(db: Tsdb, afterFirst?: () => Promise<void>): Promise<string[]> {
  const out: string[] = [];
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  let first = true;
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      const times = chunks.flatMap((chunk) => [...decodeSamples(chunk).times].map(Number));
      for (const time of times.sort((a, b) => a - b)) {
        out.push(`${labelValue(labels, "job")} ${(time - START) / MINUTE}`);
      }
    }
    if (first) await afterFirst?.();
    first = false;
  }
  return out;
}

const expected = (job: string) => minutes(0, 480, 1).map(([, minute]) => `${job} ${minute}`);

/** Eight hours in blocks of two, of which every second minute came when its block was cut already. */
async function withOverlaps(dir: string, log: string[]): Promise<Tsdb> {
  const db = await openDb(dir, log);
  append(db, "a", minutes(0, 480, 2));
  append(db, "b", minutes(0, 480, 1));
  await db.compactHead();
  append(db, "a", minutes(1, 361, 2));
  append(db, "a", minutes(480, 602, 2));
  append(db, "b", minutes(480, 602, 2));
  await db.compactHead();
  append(db, "a", minutes(361, 481, 2));
  return db;
}

const blockDirs = (dir: string) => readdirSync(dir).filter((name) => /^[0-9A-Z]{26}$/.test(name));
const ofFirst480 = (all: string[]) => all.filter((each) => Number(each.split(" ")[1]) < 480);

test("blocks that late samples left beside others become one each, which has all samples once", async () => {
  const dir = newDir();
  const log: string[] = [];
  const db = await withOverlaps(dir, log);
  const before = db.blocks();
  expect(before.length).toBeGreaterThanOrEqual(6);
  const held = await read(db);
  const written = await db.mergeOverlapping();
  expect(written.length).toBeGreaterThanOrEqual(3);
  for (const { compaction } of written) {
    expect(compaction.level).toBe(2);
    expect(compaction.parents?.length).toBe(2);
  }
  const after = db.blocks();
  for (const [i, block] of after.entries()) {
    expect(block.minTime).toBeGreaterThanOrEqual(after[i - 1]?.maxTime ?? 0);
  }
  expect(blockDirs(dir).sort()).toEqual(after.map(({ ulid }) => ulid).sort());
  expect(log.filter((line) => line === "overlapping blocks merged").length).toBe(written.length);
  expect(await read(db)).toEqual(held);
  expect(ofFirst480(held)).toEqual([...expected("a"), ...expected("b")]);
  expect(await db.mergeOverlapping()).toEqual([]);
  await db.close();
  expect(await read(await openDb(dir))).toEqual(held);
});

test("after a kill between the merged block and the deletion of its sources these go", async () => {
  const dir = newDir();
  const db = await withOverlaps(dir, []);
  await db.compactHead();
  const sources = newDir();
  for (const ulid of blockDirs(dir)) {
    cpSync(path.join(dir, ulid), path.join(sources, ulid), { recursive: true });
  }
  const held = await read(db);
  await db.mergeOverlapping();
  await db.close();
  const left = blockDirs(dir);
  cpSync(sources, dir, { recursive: true });
  expect(blockDirs(dir).length).toBeGreaterThan(left.length);
  const idle = new StoredBlocks(dir, () => undefined);
  expect(
    idle
      .blocks()
      .map(({ ulid }) => ulid)
      .sort(),
  ).toEqual(left);
  const again = await openDb(dir);
  expect(blockDirs(dir)).toEqual(left);
  expect(await read(again)).toEqual(held);
  expect(await again.mergeOverlapping()).toEqual([]);
});

test("a read that began before the merge ends with the blocks it began with", async () => {
  const dir = newDir();
  const db = await withOverlaps(dir, []);
  const held = await read(db);
  let merging: Promise<unknown> | undefined;
  const during = await read(db, async () => {
    merging = db.mergeOverlapping();
    for (let turn = 0; blockDirs(dir).length < 7 && turn < 2000; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
  expect(during).toEqual(held);
  await merging;
  expect(await read(db)).toEqual(held);
  for (const ulid of blockDirs(dir)) expect(existsSync(path.join(dir, ulid, "index"))).toBe(true);
});
