import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { xorDecodeChunk } from "@torus/kernels";
import { type ChunkQueryable, Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import { Tsdb, type TsdbOptions } from "./db.ts";
import { DirectoryLockedError } from "./db-lock.ts";
import { walkedRequest } from "./head/test-requests.ts";

const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));
const PROMTOOL = "/usr/bin/promtool";

const dirs: string[] = [];
const open: Tsdb[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-tsdb-"));
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
    outOfOrderWindowMs: 0,
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

function append(db: Tsdb, time: number, jobs: number, value = time % 1000): void {
  const request = walkedRequest(
    Array.from({ length: jobs }, (_, i) => ({
      labels: ["__name__", "up", "job", `j${i}`],
      samples: [[time, value + i] as const],
    })),
  );
  db.append(request, null);
  request.release();
}

async function countSamples(queryable: ChunkQueryable): Promise<number> {
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  let samples = 0;
  for await (const batch of queryable.selectChunks(select)) {
    for (const { chunks } of batch) {
      for (const chunk of chunks)
        samples += xorDecodeChunk(chunk.data, new Float64Array(500), new Float64Array(500));
    }
  }
  return samples;
}

test("what was appended is there after closing and opening", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  for (let i = 0; i < 300; i++) append(db, START + i * 15_000, 5);
  await db.close();
  const again = await openDb(dir);
  expect(again.replayed).toMatchObject({ series: 5, samples: 1500, unknownRefs: 0 });
  expect(await countSamples(again.queryable())).toBe(1500);
  append(again, START + 300 * 15_000, 6);
  await again.close();
  expect((await openDb(dir)).replayed).toMatchObject({ series: 6, samples: 1506 });
});

test("every cut of the log's end is the end of the log: whole records before it stay, and writing goes on", async () => {
  const dir = newDir();
  const wal = path.join(dir, "wal");
  const segment = path.join(wal, "00000000");
  const db = await openDb(dir);
  for (let i = 0; i < 5; i++) append(db, START + i * 15_000, 3);
  const size = statSync(segment).size;
  await db.close();
  for (let cut = size - 1; cut > size - 60; cut -= 7) {
    for (const name of readdirSync(wal)) if (name !== "00000000") rmSync(path.join(wal, name));
    truncateSync(segment, cut);
    const again = await openDb(dir);
    const { samples } = again.replayed;
    expect(samples).toBeLessThan(15);
    expect(samples % 3).toBe(0);
    append(again, START + HOUR, 3);
    expect(await countSamples(again.queryable())).toBe(samples + 3);
    await again.close();
    const third = await openDb(dir);
    expect(third.replayed.samples).toBe(samples + 3);
    await third.close();
  }
});

test("a second writer is refused, in this process and from another", async () => {
  const dir = newDir();
  await openDb(dir);
  await expect(openDb(dir)).rejects.toThrow(DirectoryLockedError);
  const other = newDir();
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60000)"], { stdio: "ignore" });
  try {
    const stat = readFileSync(`/proc/${child.pid}/stat`, "utf8");
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    writeFileSync(path.join(other, "lock"), `${child.pid} ${started}\n`);
    await expect(openDb(other)).rejects.toThrow(DirectoryLockedError);
  } finally {
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  }
  await openDb(other);
});

test.skipIf(!existsSync(PROMTOOL))(
  "promtool dumps every sample of the data directory",
  async () => {
    const dir = newDir();
    const db = await openDb(dir);
    for (let i = 0; i < 300; i++) append(db, START + i * 15_000, 5, i / 7);
    const text = execFileSync(PROMTOOL, ["tsdb", "dump", dir], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    const lines = text.trim().split("\n");
    expect(lines).toHaveLength(1500);
    expect(
      new Set(lines).has(`{__name__="up", job="j3"} ${299 / 7 + 3} ${START + 299 * 15_000}`),
    ).toBe(true);
  },
);

test("cutting blocks keeps every sample readable once, leaves the rest to the log, and survives reopening", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  let rounds = 0;
  // Seven hours from an uneven start.
  for (let time = START + 17 * 60_000; time < START + 7 * HOUR; time += 60_000, rounds++) {
    append(db, time, 20);
  }
  const blocks = await db.compactHead();
  expect(blocks.map((b) => [b.minTime, b.maxTime, b.stats.numSeries])).toEqual([
    [START, START + 2 * HOUR, 20],
    [START + 2 * HOUR, START + 4 * HOUR, 20],
  ]);
  expect(db.head.minTime).toBe(START + 4 * HOUR);
  expect(await countSamples(db.queryable())).toBe(rounds * 20);
  await db.close();
  const again = await openDb(dir);
  expect(await countSamples(again.queryable())).toBe(rounds * 20);
  expect(again.blocks()).toHaveLength(2);
  const flushed = await again.flush();
  expect(flushed.at(-1)?.maxTime).toBe(START + 7 * HOUR - 60_000 + 1);
  expect(again.head.seriesCount).toBe(0);
  expect(await countSamples(again.queryable())).toBe(rounds * 20);
  append(again, START + 8 * HOUR, 20);
  await again.close();
  const third = await openDb(dir);
  expect(third.replayed).toMatchObject({ series: 20, samples: 20, unknownRefs: 0 });
  expect(await countSamples(third.queryable())).toBe(rounds * 20 + 20);
});

test("a query that runs while a block is cut sees every sample exactly once", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  let samples = 0;
  for (let time = START; time < START + 5 * HOUR; time += 300_000) {
    append(db, time, 2000);
    samples += 2000;
  }
  const cutting = db.compactHead();
  const seen: number[] = [];
  let done = false;
  void cutting.then(() => (done = true));
  while (!done) {
    seen.push(await countSamples(db.queryable()));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await cutting;
  seen.push(await countSamples(db.queryable()));
  expect(new Set(seen)).toEqual(new Set([samples]));
});

test("the log shrinks by checkpoints, and what they keep replays", async () => {
  const dir = newDir();
  let db = await openDb(dir);
  let time = START;
  for (let i = 0; i < 6; i++) {
    for (const end = time + 3 * HOUR; time < end; time += 60_000) append(db, time, 10);
    await db.compactHead();
    await db.close();
    db = await openDb(dir);
  }
  const names = readdirSync(path.join(dir, "wal"));
  expect(names.some((name) => name.startsWith("checkpoint."))).toBe(true);
  expect(names.filter((name) => name.startsWith("checkpoint."))).toHaveLength(1);
  expect(names).not.toContain("00000000");
  expect(db.replayed.unknownRefs).toBe(0);
  expect(await countSamples(db.queryable())).toBe(18 * 60 * 10);
});

test("retention deletes old blocks once they are shipped, and only then", async () => {
  const dir = newDir();
  const db = await openDb(dir, { retentionMs: 4 * HOUR });
  for (let time = START; time < START + 12 * HOUR; time += 300_000) append(db, time, 3);
  const blocks = await db.compactHead();
  expect(blocks).toHaveLength(5);
  expect(await db.applyRetention(() => false)).toEqual([]);
  const first = blocks[0]?.ulid as string;
  expect(await db.applyRetention((ulid) => ulid === first)).toEqual([first]);
  expect(existsSync(path.join(dir, first))).toBe(false);
  expect(await db.applyRetention(() => true)).toEqual(blocks.slice(1, 3).map((b) => b.ulid));
});

test.skipIf(!existsSync(PROMTOOL))("promtool lists, analyses and dumps what was cut", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  let samples = 0;
  for (let time = START; time < START + 7 * HOUR; time += 60_000, samples += 20)
    append(db, time, 20, time / 7);
  const blocks = await db.compactHead();
  const promtool = (...args: string[]) =>
    execFileSync(PROMTOOL, ["tsdb", ...args], { encoding: "utf8", maxBuffer: 1 << 28 });
  expect(promtool("list", dir)).toContain(blocks[0]?.ulid as string);
  expect(promtool("analyze", dir, blocks[0]?.ulid as string)).toMatch(/Series: 20\n/);
  expect(promtool("dump", dir).trim().split("\n")).toHaveLength(samples);
});
