import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Verdict } from "@torus/kernels";
import {
  type ChunkQueryable,
  CUSTOM_BUCKETS_SCHEMA,
  type Histogram,
  indexesOf,
  Matcher,
  spansOf,
} from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { decodeChunk } from "./chunkenc/chunk-samples.ts";
import { Tsdb } from "./db.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";

const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const dirs: string[] = [];
const open: Tsdb[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-histograms-"));
  dirs.push(dir);
  return dir;
}
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function openDb(dir: string, seriesLimit = 0): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 30 * 60_000,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit,
    now: () => START + 100 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

function append(db: Tsdb, series: readonly TestSeries[]) {
  const request = walkedRequest(series);
  try {
    return db.append(request, null);
  } finally {
    request.release();
  }
}

/** What of a sample is its meaning: a chunk may hold empty buckets and differences where the sender had none. */
function meaning(value: number | Histogram): unknown {
  if (typeof value === "number") return value;
  if (value.sumIsStale) return ["stale", value.isInteger];
  const side = (spans: Histogram["positiveSpans"], counts: Float64Array) =>
    indexesOf(spans)
      .map((index, i) => [index, counts[i]])
      .filter(([, count]) => count !== 0);
  return {
    isInteger: value.isInteger,
    gauge: value.counterResetHint === "gauge",
    schema: value.schema,
    zero: [value.zeroThreshold, value.zeroCount],
    count: value.count,
    sum: value.sum,
    positive: side(value.positiveSpans, value.positiveBuckets),
    negative: side(value.negativeSpans, value.negativeBuckets),
    customValues: [...value.customValues],
  };
}

type Stored = Record<string, [time: number, value: unknown][]>;

async function stored(queryable: ChunkQueryable): Promise<Stored> {
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "h")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  const out: Stored = {};
  for await (const batch of queryable.selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      const samples = (out[labels[3] as string] ??= []);
      for (const chunk of chunks) {
        const { timestamps, values, histograms } = decodeChunk(chunk, 0, 2 ** 50);
        expect([timestamps[0], timestamps.at(-1)]).toEqual([chunk.minTime, chunk.maxTime]);
        timestamps.forEach((time, i) => {
          samples.push([time, meaning(histograms?.[i] ?? (values[i] as number))]);
        });
      }
    }
  }
  return out;
}

function histogram(options: Partial<Histogram> & { buckets?: [number, number][] }): Histogram {
  const { buckets = [], ...rest } = options;
  const counts = Float64Array.from(buckets, ([, count]) => count);
  return {
    isInteger: true,
    counterResetHint: "unknown",
    schema: 2,
    zeroThreshold: 0.001,
    zeroCount: 0,
    count: counts.reduce((sum, count) => sum + count, rest.zeroCount ?? 0),
    sum: 1.5,
    sumIsStale: false,
    positiveSpans: spansOf(buckets.map(([index]) => index)),
    negativeSpans: [],
    positiveBuckets: counts,
    negativeBuckets: new Float64Array(0),
    customValues: new Float64Array(0),
    ...rest,
  };
}

const bucketList = fc
  .uniqueArray(fc.integer({ min: -6, max: 12 }), { maxLength: 6 })
  .chain((indexes) =>
    fc.tuple(
      ...indexes.sort((a, b) => a - b).map((index) => fc.tuple(fc.constant(index), fc.nat(200))),
    ),
  );

const value: fc.Arbitrary<number | Histogram> = fc.oneof(
  fc.double({ noNaN: true }),
  fc.constant(histogram({ sumIsStale: true, sum: Number.NaN })),
  fc.record({ buckets: bucketList, isInteger: fc.boolean(), gauge: fc.boolean() }).map((each) =>
    histogram({
      isInteger: each.isInteger,
      counterResetHint: each.gauge ? "gauge" : "unknown",
      buckets: each.buckets as [number, number][],
    }),
  ),
  fc.tuple(fc.nat(50), fc.nat(50), fc.boolean()).map(([low, high, isInteger]) =>
    histogram({
      isInteger,
      schema: CUSTOM_BUCKETS_SCHEMA,
      zeroThreshold: 0,
      customValues: Float64Array.of(0.5, 5),
      buckets: [
        [0, low],
        [2, high],
      ],
    }),
  ),
);

function seriesOf(job: string, time: number, each: number | Histogram): TestSeries {
  const labels = ["__name__", "h", "job", job];
  if (typeof each === "number") return { labels, samples: [[time, each]] };
  return { labels, samples: [], histograms: [[time, each]] };
}

test("any mix of floats and native histograms is read as it was written: at once, after a start, from blocks", async () => {
  // Runs of one kind, as real series have them, so that chunks fill.
  const run = fc.tuple(value, fc.integer({ min: 1, max: 40 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(run, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 }),
      async (jobs) => {
        const dir = newDir();
        let db = await openDb(dir);
        const expected: Stored = {};
        const samples = jobs.map((runs) => runs.flatMap(([each, n]) => Array(n).fill(each)));
        for (let i = 0; i < Math.max(...samples.map(({ length }) => length)); i++) {
          const time = START + i * 60_000;
          const batch: TestSeries[] = [];
          for (const [j, list] of samples.entries()) {
            if (i >= list.length) continue;
            const first = list[i] as number | Histogram;
            const each =
              typeof first === "number" || first.sumIsStale ? first : { ...first, sum: i };
            batch.push(seriesOf(`j${j}`, time, each));
            (expected[`j${j}`] ??= []).push([time, meaning(each)]);
          }
          append(db, batch);
        }
        expect(await stored(db.queryable())).toEqual(expected);
        await db.close();
        db = await openDb(dir);
        expect(await stored(db.queryable())).toEqual(expected);
        append(db, [seriesOf("later", START + 8 * HOUR, 1)]);
        await db.compactHead();
        const { later, ...rest } = await stored(db.queryable());
        expect(later).toHaveLength(1);
        expect(rest).toEqual(expected);
        await db.close();
      },
    ),
    { numRuns: 25, seed: 4 },
  );
});

test("each histogram gets its verdict, and none spoils its batch", async () => {
  const db = await openDb(newDir());
  const some = histogram({ buckets: [[1, 2]] });
  append(db, [seriesOf("a", START + 5 * HOUR, some), seriesOf("f", START + 5 * HOUR, 1)]);
  const counts = append(db, [
    seriesOf("a", START + 5 * HOUR, some),
    seriesOf("a", START + 5 * HOUR, histogram({ buckets: [[1, 3]] })),
    seriesOf("a", START + 5 * HOUR, 1),
    seriesOf("a", START + 5 * HOUR - 60_000, some),
    seriesOf("a", START, some),
    seriesOf("a", START + 200 * HOUR, some),
    seriesOf("f", START + 5 * HOUR, some),
    seriesOf("b", START + 5 * HOUR, { ...some, count: 7 }),
    { labels: ["job", "x", "__name__", "h"], samples: [], histograms: [[START, some]] },
    seriesOf("b", START + 5 * HOUR, some),
  ]);
  const verdicts = (of: Uint32Array) =>
    Object.fromEntries(
      Object.entries(Verdict)
        .map(([name, verdict]) => [name, of[verdict]] as const)
        .filter(([, count]) => count !== 0),
    );
  expect(verdicts(counts.histograms.byVerdict)).toEqual({
    ACCEPTED: 2,
    DUPLICATE: 1,
    CONFLICT: 2,
    TOO_OLD: 1,
    TOO_FAR_IN_FUTURE: 1,
    INVALID_HISTOGRAM: 1,
    INVALID_LABELS: 1,
  });
  expect(verdicts(counts.byVerdict)).toEqual({ CONFLICT: 1 });
  expect(counts.histograms.invalid).toBe(
    "2 observations found in buckets, but the Count field is 7: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)",
  );
  expect(Object.keys(await stored(db.queryable()))).toEqual(["a", "b", "f"]);
});

test("a series of histograms counts for the limit of series", async () => {
  const db = await openDb(newDir(), 1);
  const some = histogram({ buckets: [[1, 2]] });
  const counts = append(db, [seriesOf("a", START, some), seriesOf("b", START, some)]);
  expect(counts.histograms.byVerdict[Verdict.ACCEPTED]).toBe(1);
  expect(counts.histograms.byVerdict[Verdict.SERIES_LIMIT]).toBe(1);
  expect(counts.newSeries).toBe(1);
});

test("floats that come late to a series of histograms are found", async () => {
  const db = await openDb(newDir());
  const some = histogram({ buckets: [[1, 2]] });
  append(db, [seriesOf("a", START, 1)]);
  append(db, [seriesOf("a", START + HOUR, some)]);
  const { byVerdict } = append(db, [seriesOf("a", START + HOUR - 60_000, 2)]);
  expect(byVerdict[Verdict.ACCEPTED]).toBe(1);
  expect(await stored(db.queryable())).toEqual({
    a: [
      [START, 1],
      [START + HOUR - 60_000, 2],
      [START + HOUR, meaning(some)],
    ],
  });
});
