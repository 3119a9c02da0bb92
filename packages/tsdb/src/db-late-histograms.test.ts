/** Native histograms that come out of order, inside the window: stored, logged, read, and cut into blocks. */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Verdict } from "@torus/kernels";
import { type Histogram, Matcher } from "@torus/model";
import fc from "fast-check";
import { afterAll, afterEach, expect, test } from "vitest";
import { bucketIndexes } from "./chunkenc/histogram-layout.ts";
import { bitsOf, STALE_BITS } from "./chunkenc/samples.ts";
import { mergeRuns, runsOfChunks } from "./data-dir/runs.ts";
import { Tsdb } from "./db.ts";
import { MAX_LATE_ROOM } from "./head/late-samples.ts";
import { walkedRequest } from "./head/test-requests.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));
const LABELS = ["__name__", "h", "job", "a"];

const scratch = mkdtempSync(path.join(tmpdir(), "torus-late-histograms-"));
let dirs = 0;
const newDir = (): string => path.join(scratch, String(dirs++));
const open: Tsdb[] = [];
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function openDb(dir: string): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 3 * HOUR,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 100 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

/** What a process killed at this moment leaves: the files, without a close. */
function killedCopy(dir: string): string {
  const copy = newDir();
  cpSync(dir, copy, { recursive: true, filter: (from) => path.basename(from) !== "lock" });
  return copy;
}

type Value = number | Histogram;
type Sample = readonly [time: number, value: Value];

function append(db: Tsdb, ...samples: Sample[]) {
  const request = walkedRequest(
    samples.map(([time, value]) =>
      typeof value === "number"
        ? { labels: LABELS, samples: [[time, value]] }
        : { labels: LABELS, samples: [], histograms: [[time, value]] },
    ),
  );
  try {
    return db.append(request, null);
  } finally {
    request.release();
  }
}

function histogram(buckets: readonly number[], more: Partial<Histogram> = {}): Histogram {
  return {
    isInteger: true,
    counterResetHint: "unknown",
    schema: 2,
    zeroThreshold: 0.001,
    zeroCount: 0,
    count: buckets.reduce((sum, count) => sum + count, 0),
    sum: 1.5,
    sumIsStale: false,
    positiveSpans: [{ offset: 1, length: buckets.length }],
    negativeSpans: [],
    positiveBuckets: Float64Array.from(buckets),
    negativeBuckets: new Float64Array(0),
    customValues: new Float64Array(0),
    ...more,
  };
}

/** What a sample means: a chunk may hold empty buckets where the sender had none. */
function meaning(value: Value): unknown {
  if (typeof value === "number") return bitsOf(value);
  if (value.sumIsStale) return "stale";
  const { isInteger, sum, count, positiveBuckets, counterResetHint } = value;
  const buckets = [...positiveBuckets].map((each, i) => [1 + i, each]);
  const gauge = counterResetHint === "gauge";
  return { isInteger, gauge, sum, count, buckets: buckets.filter(([, each]) => each !== 0) };
}

async function read(db: Tsdb): Promise<[time: number, value: unknown][]> {
  const out: [number, unknown][] = [];
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "h")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { chunks } of batch) {
      const runs = runsOfChunks(chunks);
      const all = mergeRuns(runs);
      // Each sample is in one chunk only.
      expect(all.times.length).toBe(runs.reduce((sum, { times }) => sum + times.length, 0));
      for (let i = 0; i < all.times.length; i++) {
        const stored = all.histograms?.[i];
        const time = Number(all.times[i]);
        if (stored === undefined) out.push([time, all.values[i]]);
        else if (stored.sum === STALE_BITS) out.push([time, "stale"]);
        else {
          let before = 0n;
          const buckets = bucketIndexes(stored.layout.positiveSpans).map((index, j) => {
            before = (stored.float ? 0n : before) + (stored.positive[j] as bigint);
            const bits = BigUint64Array.of(BigInt.asUintN(64, before));
            const count = stored.float ? (new Float64Array(bits.buffer)[0] as number) : before;
            return [index, Number(count)] as const;
          });
          const [sum = 0, count = 0] = new Float64Array(
            BigUint64Array.of(stored.sum, stored.count).buffer,
          );
          out.push([
            time,
            {
              isInteger: !stored.float,
              gauge: stored.hint === "gauge",
              sum,
              count: stored.float ? count : Number(stored.count),
              buckets: buckets.filter(([, each]) => each !== 0),
            },
          ]);
        }
      }
    }
  }
  return out;
}

const minute = (n: number): number => START + n * MINUTE;

const value: fc.Arbitrary<Value> = fc.oneof(
  fc.double({ noNaN: true }),
  fc
    .tuple(
      fc.array(fc.nat(30), { maxLength: 5 }),
      fc.boolean(),
      fc.constantFrom("unknown", "gauge", "reset", "not_reset"),
    )
    .map(([buckets, isInteger, counterResetHint]) =>
      histogram(buckets, {
        isInteger,
        counterResetHint: counterResetHint as Histogram["counterResetHint"],
      }),
    ),
  fc.constant(histogram([], { sumIsStale: true, sum: Number.NaN })),
);

test("floats and histograms in any order are read in theirs: at once, after a kill, from blocks", async () => {
  // Runs of one value, so that chunks fill; how many minutes late each sample is.
  const run = fc.tuple(value, fc.integer({ min: 1, max: 40 }), fc.nat(90));
  await fc.assert(
    fc.asyncProperty(fc.array(run, { minLength: 2, maxLength: 12 }), async (runs) => {
      const dir = newDir();
      let db = await openDb(dir);
      const samples = runs
        .flatMap(([each, n, late]) => Array.from({ length: n }, () => [each, late] as const))
        .map(([each, late], n) => {
          const isFloat = typeof each === "number" || each.sumIsStale;
          return { time: minute(n), late, value: isFloat ? each : { ...each, sum: n } };
        });
      const sent = samples.toSorted((a, b) => a.time + a.late * MINUTE - b.time - b.late * MINUTE);
      for (let i = 0; i < sent.length; i += 7) {
        const batch = sent.slice(i, i + 7).map(({ time, value: each }) => [time, each] as const);
        const { byVerdict, histograms } = append(db, ...batch);
        const accepted =
          (byVerdict[Verdict.ACCEPTED] as number) +
          (histograms.byVerdict[Verdict.ACCEPTED] as number);
        expect(accepted).toBe(batch.length);
      }
      const expected = samples.map(({ time, value: each }) => [time, meaning(each)]);
      expect(await read(db)).toEqual(expected);
      for (let starts = 0; starts < 2; starts++) {
        db = await openDb(killedCopy(db.dir));
        expect(await read(db)).toEqual(expected);
      }
      append(db, [minute(700), 7]);
      await db.compactHead();
      expect(await read(db)).toEqual([...expected, [minute(700), bitsOf(7)]]);
      await db.flush();
      expect([db.head.late.count, db.head.late.room, db.head.seriesCount]).toEqual([0, 0, 0]);
      expect(await read(db)).toEqual([...expected, [minute(700), bitsOf(7)]]);
      for (const each of open.splice(0)) await each.close();
    }),
    { numRuns: 20, seed: 6 },
  );
}, 60_000);

test("a late histogram that is there already is a duplicate, another one of its time a conflict, wherever the first is", async () => {
  const db = await openDb(newDir());
  append(db, [minute(0), histogram([1])], [minute(2), histogram([1, 0, 4])]);
  append(db, [minute(4), 5], [minute(10), histogram([9])]);
  const verdicts = (...samples: Sample[]) => {
    const { byVerdict, histograms } = append(db, ...samples);
    return [byVerdict, histograms.byVerdict].map((counts) => ({
      accepted: counts[Verdict.ACCEPTED],
      duplicate: counts[Verdict.DUPLICATE],
      conflict: counts[Verdict.CONFLICT],
    }));
  };
  const none = { accepted: 0, duplicate: 0, conflict: 0 };
  // In the chunk the first one has the buckets of the second, empty.
  expect(verdicts([minute(0), histogram([1])], [minute(2), histogram([1, 0, 5])])).toEqual([
    none,
    { ...none, duplicate: 1, conflict: 1 },
  ]);
  expect(verdicts([minute(4), histogram([5])], [minute(2), 1])).toEqual([
    { ...none, conflict: 1 },
    { ...none, conflict: 1 },
  ]);
  expect(
    verdicts([minute(6), histogram([1])], [minute(6), histogram([2])], [minute(6), 1]),
  ).toEqual([
    { ...none, conflict: 1 },
    { ...none, accepted: 1, conflict: 1 },
  ]);
  expect(verdicts([minute(6), histogram([1, 0])], [minute(7), histogram([2])])).toEqual([
    none,
    { ...none, accepted: 1, duplicate: 1 },
  ]);
  expect([db.head.lateAppended, db.head.lateHistogramsAppended]).toEqual([0, 2]);
  expect((await read(db)).map(([time]) => (time - START) / MINUTE)).toEqual([0, 2, 4, 6, 7, 10]);
});

test("late histograms that are in a block already are not there twice, when a kill left them in their log too", async () => {
  const dir = newDir();
  const db = await openDb(dir);
  for (let n = 0; n < 240; n++) {
    if (n % 10 !== 3) append(db, [minute(n), histogram([n, 1])]);
    if (n % 10 === 9) append(db, [minute(n - 6), histogram([n - 6, 1])]);
  }
  const before = await read(db);
  const log = killedCopy(dir);
  await db.compactHead();
  const copy = killedCopy(dir);
  rmSync(path.join(copy, "wbl"), { recursive: true });
  cpSync(path.join(log, "wbl"), path.join(copy, "wbl"), { recursive: true });
  const again = await openDb(copy);
  expect(again.head.late.count).toBe(12);
  expect(await read(again)).toEqual(before);
  await again.flush();
  expect(await read(again)).toEqual(before);
});

test("late histograms fill the same room as floats, by what they take", async () => {
  const db = await openDb(newDir());
  append(db, [minute(60), 1]);
  const buckets = 1 << 18;
  const wide = histogram(Array.from({ length: buckets }, () => 1));
  const fit = Math.floor(MAX_LATE_ROOM / (buckets / 2 + 64));
  let accepted = 0;
  for (let n = 0; n < fit + 2; n++) {
    const { histograms } = append(db, [minute(n), wide]);
    accepted += histograms.byVerdict[Verdict.ACCEPTED] as number;
    const refused = histograms.byVerdict[Verdict.OUT_OF_ORDER];
    expect(refused).toBe(n < fit ? 0 : 1);
  }
  expect(accepted).toBe(fit);
  expect(db.head.late.room).toBeLessThanOrEqual(MAX_LATE_ROOM);
  expect(append(db, [minute(55), 3]).byVerdict[Verdict.ACCEPTED]).toBe(1);
});
