import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { afterEach, expect, test } from "vitest";
import { Tsdb } from "./db.ts";
import { walkedRequest } from "./head/test-requests.ts";

const HOUR = 3_600_000;
const MINUTE = 60_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));
const dir = mkdtempSync(path.join(tmpdir(), "torus-aliases-"));
let db: Tsdb | undefined;
afterEach(async () => {
  await db?.close();
  rmSync(dir, { recursive: true, force: true });
});

async function reopen(): Promise<Tsdb> {
  await db?.close();
  db = await Tsdb.open({
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
  });
  return db;
}

function append(to: Tsdb, job: string, time: number): void {
  const request = walkedRequest([{ labels: ["__name__", "up", "job", job], samples: [[time, 1]] }]);
  expect(to.append(request, null).byVerdict[0]).toBe(1);
  request.release();
}

async function samplesOf(from: Tsdb, job: string): Promise<number> {
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "job", job)],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  let samples = 0;
  for await (const batch of from.queryable().selectChunks(select)) {
    for (const { chunks } of batch) {
      for (const { data } of chunks) samples += ((data[0] as number) << 8) | (data[1] as number);
    }
  }
  return samples;
}

test("a series that went and came back keeps its samples over restarts and checkpoints", async () => {
  let now = await reopen();
  let written = 0;
  // `old` goes silent, is collected with the cut, and comes back under another ref while the log names both.
  append(now, "old", START);
  written++;
  for (let minute = 0; minute < 4 * 60; minute++) append(now, "steady", START + minute * MINUTE);
  await now.compactHead();
  for (let minute = 290; minute < 300; minute++) {
    append(now, "old", START + minute * MINUTE);
    append(now, "steady", START + minute * MINUTE);
    written++;
  }
  // Each start begins a segment, so that the next checkpoint covers the one with both refs; the cut that makes it
  // ends before the samples of the second ref.
  for (let restarts = 0; restarts < 5; restarts++) {
    now = await reopen();
    expect(now.replayed.unknownRefs).toBe(0);
    expect(await samplesOf(now, "old")).toBe(written);
    append(now, "steady", START + (310 + restarts) * MINUTE);
  }
  for (let minute = 320; minute < 340; minute++) append(now, "steady", START + minute * MINUTE);
  expect(await now.compactHead()).toHaveLength(1);
  now = await reopen();
  expect(now.replayed.unknownRefs).toBe(0);
  expect(await samplesOf(now, "old")).toBe(written);
});
