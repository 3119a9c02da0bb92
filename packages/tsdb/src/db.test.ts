import { execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
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
afterEach(() => {
  for (const db of open.splice(0)) db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function openDb(dir: string, options: Partial<TsdbOptions> = {}): Tsdb {
  const db = Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
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
  const db = openDb(dir);
  for (let i = 0; i < 300; i++) append(db, START + i * 15_000, 5);
  db.close();
  const again = openDb(dir);
  expect(again.replayed).toMatchObject({ series: 5, samples: 1500, unknownRefs: 0 });
  expect(await countSamples(again.queryable())).toBe(1500);
  append(again, START + 300 * 15_000, 6);
  again.close();
  expect(openDb(dir).replayed).toMatchObject({ series: 6, samples: 1506 });
});

test("every cut of the log's end is the end of the log: whole records before it stay, and writing goes on", async () => {
  const dir = newDir();
  const db = openDb(dir);
  for (let i = 0; i < 5; i++) append(db, START + i * 15_000, 3);
  const size = (() => {
    const segment = path.join(dir, "wal", "00000000");
    const bytes = statSync(segment).size;
    return bytes;
  })();
  db.close();
  const segment = path.join(dir, "wal", "00000000");
  for (let cut = size - 1; cut > size - 60; cut -= 7) {
    for (const name of readdirSync(path.join(dir, "wal")))
      if (name !== "00000000") rmSync(path.join(dir, "wal", name));
    truncateSync(segment, cut);
    const again = openDb(dir);
    expect(again.replayed.samples).toBeLessThan(15);
    expect(again.replayed.samples % 3).toBe(0);
    append(again, START + HOUR, 3);
    expect(await countSamples(again.queryable())).toBe(again.replayed.samples + 3);
    again.close();
    const third = openDb(dir);
    expect(third.replayed.samples).toBe(again.replayed.samples + 3);
    third.close();
  }
});

test("a second writer is refused, in this process and from another", async () => {
  const dir = newDir();
  openDb(dir);
  expect(() => openDb(dir)).toThrow(DirectoryLockedError);
  const other = newDir();
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60000)"], { stdio: "ignore" });
  try {
    const stat = execFileSync("cat", [`/proc/${child.pid}/stat`], { encoding: "utf8" });
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    writeFileSync(path.join(other, "lock"), `${child.pid} ${started}\n`);
    expect(() => openDb(other)).toThrow(DirectoryLockedError);
  } finally {
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  }
  openDb(other);
});

test.skipIf(!existsSync(PROMTOOL))("promtool dumps every sample of the data directory", () => {
  const dir = newDir();
  const db = openDb(dir);
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
});
