import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Histogram, Matcher, spansOf } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { decodeChunk } from "./chunkenc/chunk-samples.ts";
import { Tsdb, type TsdbOptions } from "./db.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";
import { Verifier } from "./tools/verify.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-snapshot-"));
  dirs.push(dir);
  return dir;
}
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function openDb(
  dir: string,
  log: string[] = [],
  options: Partial<TsdbOptions> = {},
): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 30 * MINUTE,
    maxExemplars: 4000,
    // Always due, at a stop and between.
    snapshotBytes: 1,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 1000 * HOUR,
    log: (_level, message) => log.push(message),
    ...options,
  });
  open.push(db);
  return db;
}

function append(db: Tsdb, series: readonly TestSeries[]): void {
  const request = walkedRequest(series);
  db.append(request, null);
  request.release();
}

const named = (job: string) => ["__name__", "up", "job", job];

/** A directory as a kill at this moment leaves it. */
function killedCopy(dir: string, snapshots: boolean): string {
  const copy = newDir();
  const keep = (from: string): boolean =>
    path.basename(from) !== "lock" && (snapshots || !from.includes("head_snapshot."));
  cpSync(dir, copy, { recursive: true, filter: keep });
  return copy;
}

const snapshotsOf = (dir: string) =>
  readdirSync(dir).filter((name) => name.startsWith("head_snapshot."));

/** All that a start has to bring back, in no order that an implementation could choose. */
async function contents(db: Tsdb): Promise<unknown> {
  const samples = new Map<string, string>();
  const bits = new DataView(new ArrayBuffer(8));
  const text = (value: number, histogram: Histogram | undefined): string => {
    bits.setFloat64(0, value);
    if (histogram === undefined) return bits.getBigUint64(0).toString(16);
    return JSON.stringify({
      ...histogram,
      counterResetHint: "",
      sum: bits.getBigUint64(0).toString(16),
    });
  };
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      for (const chunk of chunks) {
        const { timestamps, values, histograms } = decodeChunk(chunk, 0, 2 ** 50);
        timestamps.forEach((time, i) => {
          const key = `${labels[3]} ${time}`;
          expect(samples.has(key), key).toBe(false);
          samples.set(key, text(values[i] as number, histograms?.[i]));
        });
      }
    }
  }
  const { head } = db;
  return {
    samples: [...samples].map(([key, each]) => `${key} ${each}`).sort(),
    times: [db.minTime, db.maxTime, head.minTime, head.maxTime, head.minValidTime],
    series: head.seriesCount,
    // Those of a series that was collected and came back are there again after a start from the log.
    exemplars: head
      .selectExemplars([[new Matcher("=~", "job", ".*")]], head.minValidTime, 2 ** 50)
      .map(({ labels, exemplars }) => [labels[3], ...exemplars.map(({ time }) => time)]),
    metadata: db.metadata
      .all()
      .filter(({ isLogged }) => isLogged)
      .map(({ help }) => help)
      .sort(),
  };
}

function histogram(count: number, isInteger: boolean): Histogram {
  return {
    isInteger,
    counterResetHint: "unknown",
    schema: 1,
    zeroThreshold: 0.001,
    zeroCount: count % 3,
    count: count + (count % 3),
    sum: count / 4,
    sumIsStale: false,
    positiveSpans: spansOf([count % 5]),
    negativeSpans: [],
    positiveBuckets: Float64Array.of(count),
    negativeBuckets: new Float64Array(0),
    customValues: new Float64Array(0),
  };
}

const STALE = new DataView(BigInt64Array.of(0x7ff0000000000002n).buffer).getFloat64(0, true);

const ACTIONS = ["cut", "snapshot", "restart", "kill", "metadata"] as const;
type Step =
  | { do: "floats" | "integers" | "histograms" | "late"; series: number[]; n: number }
  | { do: "stale"; series: number[] }
  | { do: "wait"; minutes: number }
  | { do: (typeof ACTIONS)[number] };

const series = fc.uniqueArray(fc.nat(12), { minLength: 1, maxLength: 6 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("floats" as const, "floats", "histograms", "integers", "late"),
      series,
      n: fc.integer({ min: 1, max: 60 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("stale" as const), series }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      minutes: fc.integer({ min: 5, max: 130 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom(...ACTIONS),
    }),
  },
);

test("after any history a start with a snapshot has what one without has, and what was there", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
      let dir = newDir();
      let db = await openDb(dir);
      let time = START;
      let count = 0;
      for (const each of steps) {
        if (each.do === "wait") time += each.minutes * MINUTE;
        else if (each.do === "cut") await db.compactHead();
        else if (each.do === "snapshot") await db.snapshotWhenDue();
        else if (each.do === "metadata") {
          // Without a series it would not be logged.
          if (db.head.seriesCount === 0) continue;
          const help = `Told ${count++}.`;
          db.noteMetadata([{ metric: "up", type: "gauge", help, unit: "" }]);
        } else if (each.do === "restart") {
          await db.close();
          db = await openDb(dir);
        } else if (each.do === "kill") {
          dir = killedCopy(dir, true);
          await db.close();
          db = await openDb(dir);
        } else if ("series" in each && !("n" in each)) {
          time += MINUTE;
          append(
            db,
            each.series.map((n) => ({ labels: named(`s${n}`), samples: [[time, STALE]] })),
          );
        } else if ("n" in each) {
          for (let i = 0; i < each.n; i++) {
            time += MINUTE / 4;
            const at = each.do === "late" ? time - 10 * MINUTE + i : time;
            const value = (count++ * 37) % 101;
            append(
              db,
              each.series.map((n): TestSeries => {
                const labels = named(`s${n}`);
                if (each.do === "histograms" || each.do === "integers") {
                  const isInteger = each.do === "integers";
                  return { labels, samples: [], histograms: [[at, histogram(value, isInteger)]] };
                }
                const own = { labels: ["trace_id", `t${count}`], value, time: at };
                return { labels, samples: [[at, value + n / 8]], exemplars: i % 20 ? [] : [own] };
              }),
            );
          }
        }
      }
      const before = await contents(db);
      const ofLog = await openDb(killedCopy(dir, false), [], { snapshotBytes: 0 });
      const ofSnapshot = await openDb(killedCopy(dir, true));
      await db.close();
      const again = await openDb(dir);
      for (const other of [ofLog, ofSnapshot, again]) {
        expect(other.replayed.unknownRefs).toBe(0);
        expect(await contents(other)).toEqual(before);
      }
      // What comes next is judged and appended as it would have been.
      const next = Array.from(
        { length: 8 },
        (_, n): TestSeries => ({
          labels: named(`s${n}`),
          samples: [
            [time, 1],
            [time + MINUTE, n],
          ],
        }),
      );
      for (const each of [ofLog, ofSnapshot, again]) append(each, next);
      const after = await contents(ofLog);
      expect(await contents(ofSnapshot)).toEqual(after);
      expect(await contents(again)).toEqual(after);
      for (const each of open.splice(0)) await each.close();
    }),
    { numRuns: 60, endOnFailure: true },
  );
}, 120_000);

async function written(dir: string, log: string[] = []): Promise<Tsdb> {
  const db = await openDb(dir, log);
  for (let i = 0; i < 300; i++) {
    append(
      db,
      Array.from({ length: 20 }, (_, n) => ({
        labels: named(`s${n}`),
        samples: [[START + i * 15_000, i * n]] as const,
      })),
    );
  }
  return db;
}

test("a start with a snapshot reads no older segment of the log", async () => {
  const dir = newDir();
  const log: string[] = [];
  const db = await written(dir, log);
  const before = await contents(db);
  await db.close();
  expect(log).toContain("snapshot of the head written");
  expect(snapshotsOf(dir)).toHaveLength(1);
  const again = await openDb(dir, log);
  expect(log.at(-1)).toBe("head is restored from a snapshot");
  expect(again.replayed).toMatchObject({ series: 20, samples: 0 });
  expect(await contents(again)).toEqual(before);
});

test("of several snapshots the newest stays, and with the log behind it is all there is", async () => {
  const dir = newDir();
  const db = await written(dir);
  await db.snapshotWhenDue();
  for (let i = 300; i < 320; i++) {
    append(db, [{ labels: named("s1"), samples: [[START + i * 15_000, i]] }]);
  }
  append(db, [{ labels: named("new"), samples: [[START + 400 * 15_000, 5]] }]);
  const before = await contents(db);
  const killed = await openDb(killedCopy(dir, true));
  expect(killed.replayed).toMatchObject({ series: 21, samples: 21 });
  expect(await contents(killed)).toEqual(before);
  await killed.close();
  expect(snapshotsOf(killed.dir)).toHaveLength(1);
});

test("every damaged byte and every cut of a snapshot leads to a start from the log", async () => {
  const dir = newDir();
  const db = await written(dir);
  const before = await contents(db);
  await db.close();
  const [name = ""] = snapshotsOf(dir);
  const parts = readdirSync(path.join(dir, name));
  expect(parts.length).toBeGreaterThanOrEqual(3);
  for (let seed = 0; seed < 40; seed++) {
    const copy = killedCopy(dir, true);
    const part = path.join(copy, name, parts[seed % parts.length] as string);
    const bytes = readFileSync(part);
    // Behind the record, up to the end of the page, there are zeros.
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
    const at = Math.floor((((seed * 7919) % 1009) / 1009) * used);
    if (seed % 4 === 0) rmSync(part);
    else if (seed % 4 === 1) truncateSync(part, at);
    else {
      bytes[at] = (bytes[at] as number) ^ (1 << (seed % 8));
      writeFileSync(part, bytes);
    }
    const what = `${seed}: byte ${at} of ${part}`;
    if (seed % 4 > 1) {
      const verifier = new Verifier();
      verifier.directory(copy);
      const found = verifier.findings.map(({ severity, where }) => [severity, where]);
      expect(found, what).toEqual([["warning", path.join(copy, name)]]);
    }
    const log: string[] = [];
    const again = await openDb(copy, log, { snapshotBytes: 0 });
    expect(log, what).toContain("snapshot of the head cannot be used; the whole log is read");
    expect(await contents(again), what).toEqual(before);
    expect(snapshotsOf(copy)).toEqual([]);
    await again.close();
  }
});

test("a snapshot of other blocks' length, of another log or behind a checkpoint is not used", async () => {
  const dir = newDir();
  const db = await written(dir);
  const before = await contents(db);
  await db.close();
  const [name = ""] = snapshotsOf(dir);

  const log: string[] = [];
  const other = await openDb(killedCopy(dir, true), log, { blockDurationMs: HOUR });
  expect(log).toContain("snapshot of the head cannot be used; the whole log is read");
  expect(await contents(other)).toEqual(before);

  // The segment that it names is missing: the log was removed, and began anew.
  const removed = killedCopy(dir, true);
  rmSync(path.join(removed, "wal"), { recursive: true });
  const empty = await openDb(removed);
  expect(empty.head.seriesCount).toBe(0);
  expect(snapshotsOf(removed)).toEqual([]);

  // An unfinished one goes.
  const unfinished = killedCopy(dir, true);
  renameSync(path.join(unfinished, name), path.join(unfinished, `${name}.tmp`));
  expect(await contents(await openDb(unfinished))).toEqual(before);
  expect(existsSync(path.join(unfinished, `${name}.tmp`))).toBe(false);
});

test("what is in blocks since comes from these and not from the snapshot", async () => {
  const dir = newDir();
  const db = await written(dir);
  await db.snapshotWhenDue();
  const kept = killedCopy(dir, true);
  for (let i = 300; i < 1000; i++) {
    append(db, [{ labels: named("s1"), samples: [[START + i * 15_000, i]] }]);
  }
  expect((await db.compactHead()).length).toBeGreaterThan(0);
  const before = await contents(db);
  // As if the process had been killed before the checkpoint: the snapshot is still of use.
  for (const each of snapshotsOf(dir)) rmSync(path.join(dir, each), { recursive: true });
  const copy = killedCopy(dir, true);
  rmSync(path.join(copy, "wal"), { recursive: true });
  cpSync(path.join(dir, "wal"), path.join(copy, "wal"), { recursive: true });
  for (const each of snapshotsOf(kept)) {
    cpSync(path.join(kept, each), path.join(copy, each), { recursive: true });
  }
  const log: string[] = [];
  const again = await openDb(copy, log);
  expect(log).toContain("head is restored from a snapshot");
  expect(await contents(again)).toEqual(before);
});

test("no snapshot is written where the log is short, nor without being asked for", async () => {
  const dir = newDir();
  const db = await openDb(dir, [], { snapshotBytes: 64 << 20 });
  append(db, [{ labels: named("a"), samples: [[START, 1]] }]);
  await db.snapshotWhenDue();
  await db.close();
  expect(snapshotsOf(dir)).toEqual([]);
  const never = await openDb(dir, [], { snapshotBytes: 0 });
  await never.close();
  expect(snapshotsOf(dir)).toEqual([]);
});
