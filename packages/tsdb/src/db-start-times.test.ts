/** Start timestamps from the request to the block: what was sent is what head, log, checkpoint and blocks give back. */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { kernel } from "@torus/kernels";
import { ChunkEncoding, type ChunkSelect, type Histogram, labelValue, Matcher } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import { doubleOf, type StoredSamples } from "./chunkenc/samples.ts";
import { DataDirectory } from "./data-dir/data-directory.ts";
import { Tsdb } from "./db.ts";
import { Head } from "./head/head.ts";
import { RecordMalformedError } from "./head/replay.ts";
import { StartRuns, StartRunsMalformedError } from "./head/start-runs.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";
import { readLog } from "./wlog/reader.ts";
import { decodeRecord, encodeRecord } from "./wlog/records.ts";

const HOUR = 3_600_000;
const MINUTE = 60_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-start-times-"));
  dirs.push(dir);
  return dir;
}

async function openDb(dir: string, startTimes = true, snapshotBytes = 0): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 2 * HOUR,
    maxExemplars: 0,
    startTimes,
    snapshotBytes,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 100 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

/** What a kill leaves. */
function killedCopy(dir: string): string {
  const copy = newDir();
  cpSync(dir, copy, { recursive: true, filter: (name) => path.basename(name) !== "lock" });
  return copy;
}

function append(db: Tsdb, series: readonly TestSeries[]): void {
  const request = walkedRequest(series);
  try {
    const { byVerdict, histograms } = db.append(request, null);
    expect([...byVerdict.slice(1), ...histograms.byVerdict.slice(1)].filter(Boolean)).toEqual([]);
  } finally {
    request.release();
  }
}

/** Of a histogram the value is its sum. */
type ShownSample = [time: number, startTime: number, value: number];
type Shown = Record<string, ShownSample[]>;

function shown({ times, startTimes, values }: StoredSamples): ShownSample[] {
  return Array.from(times, (time, i) => [
    Number(time),
    Number(startTimes?.[i] ?? 0n),
    doubleOf(values[i] as bigint),
  ]);
}

/** What a reader gets that asks for start timestamps. */
async function read(db: Tsdb, wanted: Partial<ChunkSelect> = {}): Promise<Shown> {
  const select: ChunkSelect = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    startTimes: true,
    signal: new AbortController().signal,
    ...wanted,
  };
  const out: Shown = {};
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      const samples = new Map<number, ShownSample>();
      for (const chunk of chunks) {
        for (const sample of shown(decodeSamples(chunk))) samples.set(sample[0], sample);
      }
      out[labelValue(labels, "job")] = [...samples.values()].sort(([a], [b]) => a - b);
    }
  }
  return out;
}

/** What `tools tsdb dump` shows of the directory. */
function dumped(dir: string): Shown {
  const out: Shown = {};
  for (const { labels, samples } of new DataDirectory(dir).select([], 0, 2 ** 50)) {
    out[labelValue(labels, "job")] = shown(samples);
  }
  return out;
}

const labels = (job: string) => ["__name__", "up", "job", job];
const series = (job: string, ...samples: TestSeries["samples"]): TestSeries => ({
  labels: labels(job),
  samples,
});

function histogram(count: number): Histogram {
  return {
    isInteger: true,
    counterResetHint: "unknown",
    schema: 1,
    zeroThreshold: 0,
    zeroCount: 0,
    count,
    sum: count,
    sumIsStale: false,
    positiveSpans: [{ offset: 0, length: 1 }],
    negativeSpans: [],
    positiveBuckets: Float64Array.of(count),
    negativeBuckets: new Float64Array(0),
    customValues: new Float64Array(0),
  };
}

type Step =
  | { kind: "append"; minutes: number; rows: { job: number; startTime: number }[] }
  | { kind: "late"; minutes: number; job: number; startTime: number }
  | { kind: "kill" | "stop" | "compact" };

const anyStart = fc.constantFrom(0, 0, START - 5 * HOUR, START + 1, START + 2, 2 ** 53 - 1, -1);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      minutes: fc.integer({ min: 1, max: 25 }),
      rows: fc.uniqueArray(
        fc.record({ job: fc.integer({ min: 0, max: 4 }), startTime: anyStart }),
        { selector: ({ job }) => job, minLength: 1 },
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("late" as const),
      minutes: fc.integer({ min: 1, max: 50 }),
      job: fc.integer({ min: 0, max: 4 }),
      startTime: anyStart,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("kill", "stop", "compact") }) },
);

test("whatever start timestamps come, they are there after restarts, checkpoints and cuts", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 30, maxLength: 90 }), async (steps) => {
      let dir = newDir();
      let db = await openDb(dir, true, 1);
      const want: Record<string, Map<number, ShownSample>> = {};
      const note = (job: string, time: number, startTime: number, value: number) => {
        (want[job] ??= new Map()).set(time, [time, startTime, value]);
      };
      const expected = (): Shown =>
        Object.fromEntries(
          Object.entries(want).map(([job, samples]) => [
            job,
            [...samples.values()].sort(([a], [b]) => a - b),
          ]),
        );
      let now = START;
      for (const step of steps) {
        if (step.kind === "append") {
          now += step.minutes * MINUTE;
          // Job 4 is one of histograms; kinds do not mix here.
          const all = step.rows.map(({ job, startTime }): TestSeries => {
            const count = (now - START) / MINUTE;
            const value = job < 4 ? Math.sin(now + job) : count;
            note(`j${job}`, now, startTime, value);
            if (job < 4) return series(`j${job}`, [now, value, startTime]);
            return {
              labels: labels("j4"),
              samples: [],
              histograms: [[now, histogram(count), startTime]],
            };
          });
          append(db, all);
        } else if (step.kind === "late") {
          const time = now - step.minutes * MINUTE + 1;
          const job = `j${Math.min(step.job, 3)}`;
          if (time <= db.head.minValidTime || want[job]?.has(time) === true) continue;
          if (time < START) continue;
          note(job, time, step.startTime, 7);
          append(db, [series(job, [time, 7, step.startTime])]);
        } else if (step.kind === "compact") await db.compactHead();
        else {
          const copy = step.kind === "kill" ? killedCopy(dir) : dir;
          await db.close();
          dir = copy;
          db = await openDb(dir, true, 1);
        }
      }
      expect(await read(db)).toEqual(expected());
      await db.flush();
      expect(await read(db)).toEqual(expected());
      expect(dumped(killedCopy(dir))).toEqual(expected());
      await db.close();
    }),
    { numRuns: 25 },
  );
}, 60_000);

test("chunks of any length go on behind a start", async () => {
  let dir = newDir();
  let db = await openDb(dir);
  const want: Shown = { a: [], b: [] };
  for (let n = 0; n < 400; n++) {
    const time = START + n * 15_000;
    const startTime = START - 1 - (n > 250 ? n : 0);
    want["a"]?.push([time, startTime, Math.sin(n)]);
    want["b"]?.push([time, 0, Math.cos(n)]);
    append(db, [series("a", [time, Math.sin(n), startTime]), series("b", [time, Math.cos(n)])]);
    if (n % 45 !== 44) continue;
    const copy = killedCopy(dir);
    await db.close();
    dir = copy;
    db = await openDb(dir);
    expect(await read(db)).toEqual(want);
  }
  await db.flush();
  expect(await read(db)).toEqual(want);
});

test("records of type 11 that are cut or changed anywhere end as malformed, or name no series", () => {
  const log = { log: () => undefined };
  const head = new Head(log, log, {
    chunkRangeMs: 2 * HOUR,
    seriesLimit: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    startTimes: true,
    now: () => START + HOUR,
  });
  const samples = Array.from({ length: 20 }, (_, i) => ({
    ref: 1 + (i % 3),
    time: BigInt(START + i),
    startTime: BigInt(i % 4 === 0 ? 0 : START - (i % 5)),
    value: BigInt(i),
  }));
  const whole = encodeRecord({ type: 11, base: { ref: 1, time: BigInt(START) }, samples });
  const named = [1, 2, 3].map((ref) => ({ ref, labels: labels(`j${ref}`) }));
  const replay = head.beginReplay(START + HOUR);
  replay.record(encodeRecord({ type: 1, series: named }));
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.integer({ min: 0, max: 255 }), (cut, at, byte) => {
      const record = whole.slice(0, cut % 2 === 0 ? whole.length : 1 + (cut % (whole.length - 1)));
      if (record.length > 1) record[1 + (at % (record.length - 1))] = byte;
      let plain: ReturnType<typeof decodeRecord> | Error;
      try {
        plain = decodeRecord(record);
      } catch (error) {
        plain = error as Error;
      }
      if (plain instanceof Error) {
        // Refs and times have more than 64 bits only in the plain code.
        if (!/2\^53|overflow|too large/.test(plain.message)) {
          expect(() => replay.record(record)).toThrow(RecordMalformedError);
        }
      } else expect(() => replay.record(record)).not.toThrow();
    }),
    { numRuns: 2000 },
  );
  replay.end();
  head.close();
});

function logRecords(dir: string): Uint8Array[] {
  const out: Uint8Array[] = [];
  const damage = readLog(path.join(dir, "wal"), 0, 1000, (record) => out.push(record.slice()));
  expect(damage).toBeNull();
  return out;
}

const samplesOf = (records: readonly Uint8Array[]) => records.filter(([type]) => type !== 1);

test("a request with start timestamps is logged as a record of type 11, one without as ever", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, [series("a", [START, 1]), series("b", [START, 2])]);
  append(db, [
    series("a", [START + 1, 1], [START + 2, 1.5, START - 1]),
    series("b", [START + 1, 2, START - 1], [START + 2, 2, START - 7]),
    series("c", [START + 1, 3]),
  ]);
  append(db, [series("c", [START + 2, 1])]);
  // What ends a start timestamp has to be in such a record as well.
  append(db, [series("b", [START + 3, 1])]);
  await db.close();
  const records = samplesOf(logRecords(dir));
  expect(records.map(([type]) => type)).toEqual([2, 11, 2, 11]);
  for (const record of records) {
    const decoded = decodeRecord(record);
    if (decoded === null) throw new Error("not decoded");
    expect(Buffer.from(encodeRecord(decoded))).toEqual(Buffer.from(record));
  }
  const again = await openDb(dir);
  const want = {
    a: [
      [START, 0, 1],
      [START + 1, 0, 1],
      [START + 2, START - 1, 1.5],
    ],
    b: [
      [START, 0, 2],
      [START + 1, START - 1, 2],
      [START + 2, START - 7, 2],
      [START + 3, 0, 1],
    ],
    c: [
      [START + 1, 0, 3],
      [START + 2, 0, 1],
    ],
  };
  expect(await read(again)).toEqual(want);
  expect(dumped(killedCopy(dir))).toEqual(want);
  // Nobody who does not ask gets an encoding that StoreAPI has no number for.
  const encodings = new Set<number>();
  const plain = { startTimes: false, matchers: [], mint: 0, maxt: 2 ** 50, skipChunks: false };
  const { signal } = new AbortController();
  for await (const batch of again.queryable().selectChunks({ ...plain, limit: 0, signal })) {
    for (const { chunks } of batch) for (const { encoding } of chunks) encodings.add(encoding);
  }
  expect([...encodings]).toEqual([ChunkEncoding.XOR]);
});

test("only chunks with a start timestamp are written as XOR2", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, [series("a", [START, 1]), series("b", [START, 2, START - 1])]);
  append(db, [series("a", [START + 1, 1]), series("b", [START + 1, 2])]);
  const [meta] = await db.flush();
  const block = new DataDirectory(dir).blocks.find(({ meta: { ulid } }) => ulid === meta?.ulid);
  const found = [...(block?.rawSeries([], 0, 2 ** 50) ?? [])].map(({ labels: own, chunks }) => [
    labelValue(own, "job"),
    chunks.map(({ encoding }) => encoding),
  ]);
  expect(found).toEqual([
    ["a", [ChunkEncoding.XOR]],
    ["b", [ChunkEncoding.XOR2]],
  ]);
});

test("start timestamps are dropped where they are not to be kept, and what follows is not taken for theirs", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  append(db, [series("a", [START, 1, START - 1])]);
  await db.close();
  const off = await openDb(dir, false);
  append(off, [series("a", [START + 1, 1, START - 1], [START + 2, 1, START - 1])]);
  expect(await read(off)).toEqual({ a: [START, START + 1, START + 2].map((time) => [time, 0, 1]) });
  await off.close();
  expect(samplesOf(logRecords(dir)).map(([type]) => type)).toEqual([11, 2]);
  const on = await openDb(dir);
  const want = [
    [START, START - 1, 1],
    [START + 1, 0, 1],
    [START + 2, 0, 1],
  ];
  expect(await read(on)).toEqual({ a: want });
  append(on, [series("a", [START + 3, 1, START - 1])]);
  expect(await read(on)).toEqual({ a: [...want, [START + 3, START - 1, 1]] });
});

test("after a log that could not be written the start timestamps are those of before", async () => {
  const log = {
    isFailing: false,
    log: () => {
      if (log.isFailing) throw new Error("ENOSPC");
    },
  };
  const head = new Head(log, log, {
    chunkRangeMs: 2 * HOUR,
    seriesLimit: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    startTimes: true,
    now: () => START + HOUR,
  });
  const send = (...all: TestSeries[]) => {
    const request = walkedRequest(all);
    try {
      head.append(request, null);
    } finally {
      request.release();
    }
  };
  send(series("a", [START, 1, START - 1]), series("b", [START, 1]));
  log.isFailing = true;
  const failing = [series("a", [START + 1, 1]), series("b", [START + 1, 1, START - 9])];
  expect(() => send(...failing)).toThrow("ENOSPC");
  log.isFailing = false;
  // Both go on as if the failed request had not been: b's without one begins nothing, a's ends its own.
  send(series("b", [START + 2, 1]));
  send(series("a", [START + 2, 1]));
  expect([...(head.starts?.entries() ?? [])]).toEqual([[1, [START, START - 1, START + 2, 0]]]);
  head.close();
});

test("above the bound the oldest of a series are forgotten, and nothing false is left", () => {
  const k = kernel();
  // A series record, of which only ref and flags are looked at.
  const record = k.alloc(64);
  const at = (ref: number) => {
    k.words[(record + 12) >>> 2] = ref;
    return record;
  };
  const runs = new StartRuns(k, 3);
  for (let i = 0; i < 5; i++) runs.note(at(1), START + i, i + 1);
  runs.note(at(2), START, 9);
  expect(runs.count).toBe(3);
  expect(runs.forgotten).toBe(3);
  expect(runs.within(1, 0, Infinity)).toEqual([START + 2, 3, START + 3, 4, START + 4, 5]);
  expect(runs.within(2, 0, Infinity)).toBeNull();
  expect(runs.within(1, START + 3, START + 4)).toEqual([START + 3, 4]);
  runs.truncate(1, START + 4);
  expect(runs.within(1, 0, Infinity)).toEqual([START + 4, 5]);
  const [part = new Uint8Array(0)] = runs.parts();
  const again = new StartRuns(k, 3);
  again.restore(part, (ref) => (ref === 1 ? record : 0));
  expect([...again.entries()]).toEqual([[1, [START + 4, 5]]]);
  expect(again.count).toBe(1);
  for (let end = 1; end < part.length; end++) {
    expect(() => new StartRuns(k).restore(part.subarray(0, end), () => record)).toThrow(
      StartRunsMalformedError,
    );
  }
  runs.forget(1);
  expect([runs.count, runs.size]).toEqual([0, 0]);
  k.free(record, 64);
});
