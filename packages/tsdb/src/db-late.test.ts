import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { SERIES_WORDS, SeriesWord, Verdict, WriteRequestBuffer } from "@torus/kernels";
import { Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import { bitsOf, STALE_BITS } from "./chunkenc/samples.ts";
import { Tsdb, type TsdbOptions } from "./db.ts";
import type { AppendCounts } from "./head/append.ts";
import { encodeWriteRequest, type TestSample, walkedRequest } from "./head/test-requests.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-late-"));
  dirs.push(dir);
  return dir;
}
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function openDb(dir: string, options: Partial<TsdbOptions> = {}): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 30 * MINUTE,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 100 * HOUR,
    log: () => undefined,
    ...options,
  });
  open.push(db);
  return db;
}

function append(
  db: Tsdb,
  job: string,
  ...samples: TestSample[]
): AppendCounts & { table: number[] } {
  const request = walkedRequest([{ labels: ["__name__", "up", "job", job], samples }]);
  const counts = db.append(request, null);
  const table = [...request.series.subarray(SeriesWord.VERDICT, SERIES_WORDS)];
  request.release();
  return { ...counts, table };
}

/** Bits by time, of every series; a time that a series has twice in what is read fails. */
async function read(db: Tsdb, job: string): Promise<Map<number, bigint>> {
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "job", job)],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  const out: [number, bigint][] = [];
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { chunks } of batch) {
      for (const chunk of chunks) {
        const { times, values } = decodeSamples(chunk);
        for (let i = 0; i < times.length; i++) out.push([Number(times[i]), values[i] as bigint]);
      }
    }
  }
  const found = new Map(out.sort((a, b) => a[0] - b[0]));
  expect(found.size).toBe(out.length);
  return found;
}

/** What a process killed at this moment leaves: the files, without a close. */
function killedCopy(dir: string): string {
  const copy = newDir();
  cpSync(dir, copy, { recursive: true, filter: (from) => path.basename(from) !== "lock" });
  return copy;
}

const minutes = (from: number, to: number, value = 0): TestSample[] =>
  Array.from({ length: to - from }, (_, i) => [START + (from + i) * MINUTE, value + from + i]);

test("a late sample inside the window is stored, read, and there again after a kill", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, "a", [START + 60 * MINUTE, 1]);
  expect(existsSync(path.join(dir, "wbl"))).toBe(false);
  const counts = append(db, "a", ...minutes(30, 60));
  expect(counts.byVerdict[Verdict.ACCEPTED]).toBe(30);
  expect(db.head.lateAppended).toBe(30);
  expect(counts.table).toEqual([0, 0]);
  const all = await read(db, "a");
  expect([...all.keys()]).toEqual(minutes(30, 61).map(([time]) => time));
  const again = await openDb(killedCopy(dir));
  expect(again.replayed).toMatchObject({ samples: 1, lateSamples: 30, unknownRefs: 0 });
  expect(await read(again, "a")).toEqual(all);
  append(again, "a", [START + 31.5 * MINUTE, 5]);
  const third = await openDb(killedCopy(again.dir));
  expect((await read(third, "a")).size).toBe(32);
});

test("before the window and with no window late samples are refused", async () => {
  const db = await openDb(newDir());
  append(db, "a", [START + 60 * MINUTE, 1]);
  const counts = append(db, "a", [START + 30 * MINUTE - 1, 1], [START + 30 * MINUTE, 1]);
  expect(counts.byVerdict[Verdict.ACCEPTED]).toBe(1);
  expect(counts.byVerdict[Verdict.OUT_OF_ORDER]).toBe(1);
  expect(counts.table).toEqual([Verdict.OUT_OF_ORDER, 1]);
  const strict = await openDb(newDir(), { outOfOrderWindowMs: 0 });
  append(strict, "a", [START + 60 * MINUTE, 1]);
  expect(append(strict, "a", [START + 59 * MINUTE, 1]).byVerdict[Verdict.OUT_OF_ORDER]).toBe(1);
});

test("a repeated late sample is a duplicate, with another value a conflict, wherever the first one is", async () => {
  const db = await openDb(newDir());
  append(db, "a", ...minutes(0, 20), [START + 25 * MINUTE, 25]);
  const inChunk = append(db, "a", [START + 3 * MINUTE, 3], [START + 4 * MINUTE, 9]);
  expect([...inChunk.byVerdict.subarray(0, 6)]).toEqual([0, 1, 0, 0, 0, 1]);
  append(db, "a", [START + 22 * MINUTE, 22]);
  const kept = append(db, "a", [START + 22 * MINUTE, 22], [START + 22 * MINUTE, 23]);
  expect([...kept.byVerdict.subarray(0, 6)]).toEqual([0, 1, 0, 0, 0, 1]);
  const inRequest = append(db, "a", [START + 23 * MINUTE, 1], [START + 23 * MINUTE, 2]);
  expect([...inRequest.byVerdict.subarray(0, 6)]).toEqual([1, 0, 0, 0, 0, 1]);
  expect((await read(db, "a")).get(START + 4 * MINUTE)).toBe(bitsOf(4));
});

test("a cut merges late samples into the block, and their log keeps only the rest", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  for (let minute = 0; minute < 240; minute++) {
    if (minute % 10 !== 3) append(db, "a", ...minutes(minute, minute + 1));
    if (minute % 10 === 9) append(db, "a", ...minutes(minute - 6, minute - 5));
  }
  append(db, "a", [START + 235 * MINUTE + 1, Number.NaN]);
  const before = await read(db, "a");
  expect(before.size).toBe(241);
  const [block] = await db.compactHead();
  expect(block?.stats).toMatchObject({ numSamples: 120, numSeries: 1 });
  expect(db.blocks()).toHaveLength(1);
  expect(await read(db, "a")).toEqual(before);
  const again = await openDb(killedCopy(dir));
  expect(again.replayed.lateSamples).toBe(13);
  expect(await read(again, "a")).toEqual(before);
  await again.flush();
  expect(again.head.late.count).toBe(0);
  expect(again.head.seriesCount).toBe(0);
  expect(await read(again, "a")).toEqual(before);
});

test("late samples that are in a block already are not there twice, when a kill left them in their log too", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  for (let minute = 0; minute < 240; minute++) {
    if (minute % 10 !== 3) append(db, "a", ...minutes(minute, minute + 1));
    if (minute % 10 === 9) append(db, "a", ...minutes(minute - 6, minute - 5));
  }
  const before = await read(db, "a");
  const log = killedCopy(dir);
  await db.compactHead();
  const copy = killedCopy(dir);
  rmSync(path.join(copy, "wbl"), { recursive: true });
  cpSync(path.join(log, "wbl"), path.join(copy, "wbl"), { recursive: true });
  const again = await openDb(copy);
  expect(again.head.late.count).toBe(12);
  expect(await read(again, "a")).toEqual(before);
  await again.flush();
  expect(await read(again, "a")).toEqual(before);
  const third = await openDb(killedCopy(copy));
  expect(third.replayed.lateSamples).toBe(0);
});

test("late samples of a range that is cut go to a block of their own", async () => {
  const dir = newDir();
  const db = await openDb(dir, { outOfOrderWindowMs: 3 * HOUR });
  append(db, "a", ...minutes(0, 200));
  append(db, "gone", ...minutes(10, 12));
  await db.compactHead();
  expect(db.head.seriesCount).toBe(1);
  append(db, "a", [START + 90.5 * MINUTE, 7]);
  append(db, "fresh", [START + 91 * MINUTE, 8]);
  const again = await openDb(killedCopy(dir), { outOfOrderWindowMs: 3 * HOUR });
  for (const each of [db, again]) {
    expect((await read(each, "a")).size).toBe(201);
    expect([...(await read(each, "fresh")).values()]).toEqual([bitsOf(8)]);
    const blocks = await each.flush();
    expect(blocks.map(({ compaction }) => compaction.hints)).toContainEqual(["from-out-of-order"]);
    expect((await read(each, "a")).size).toBe(201);
    expect((await read(each, "fresh")).size).toBe(1);
    expect(each.head.seriesCount).toBe(0);
  }
});

test("the bits of a late value stay, those of the staleness marker too", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, "a", [START + MINUTE, 1], [START + 3 * MINUTE, 1]);
  const late = [START + 2 * MINUTE, 1] as const;
  const body = encodeWriteRequest([{ labels: ["__name__", "up", "job", "a"], samples: [late] }]);
  // As a number the marker would not reach the request: its bits are put into the encoded one.
  const one = Buffer.from(new Float64Array([1]).buffer);
  new DataView(body.buffer, body.byteOffset).setBigUint64(
    Buffer.from(body).indexOf(one),
    STALE_BITS,
    true,
  );
  const request = WriteRequestBuffer.acquire();
  request.reserve(body.length).set(body);
  request.useRaw(body.length);
  request.walk(null);
  expect(db.append(request, null).byVerdict[Verdict.ACCEPTED]).toBe(1);
  request.release();
  expect((await read(db, "a")).get(START + 2 * MINUTE)).toBe(STALE_BITS);
  const again = await openDb(killedCopy(dir));
  await again.flush();
  expect((await read(again, "a")).get(START + 2 * MINUTE)).toBe(STALE_BITS);
});
