/** Data directories of a real Prometheus opened as our own, and our out-of-order log beside its. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { afterAll, expect, test } from "vitest";
import { seriesNotation } from "./chunkenc/notation.ts";
import { doubleOf } from "./chunkenc/samples.ts";
import { type StoredHistogram, toModelHistogram } from "./chunkenc/stored-histogram.ts";
import { mergeRuns, runsOfChunks } from "./data-dir/runs.ts";
import { Tsdb } from "./db.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";
import { readLog } from "./wlog/reader.ts";
import { decodeRecord, type LogRecord } from "./wlog/records.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/tsdb/db");
const scratch = mkdtempSync(path.join(tmpdir(), "torus-golden-db-"));
afterAll(() => rmSync(scratch, { recursive: true }));

function openDb(dir: string, said: string[]): Promise<Tsdb> {
  return Tsdb.open({
    dir,
    blockDurationMs: 7_200_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 7_200_000,
    maxExemplars: 1000,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: () => 1_700_010_000_000,
    log: (level, message) => said.push(`${level}: ${message}`),
  });
}

type Series = { labels: [string, string][]; samples: unknown[] };

/** By labels; start timestamps are not kept in our head. */
function samplesOf(series: readonly Series[]): Map<string, unknown[]> {
  const withoutStart = (sample: unknown): unknown => {
    if (Array.isArray(sample)) return sample.slice(0, 2);
    const { st: _, ...rest } = sample as { st?: number };
    return rest;
  };
  return new Map(
    series.map(({ labels, samples }) => [JSON.stringify(labels), samples.map(withoutStart)]),
  );
}

async function shown(db: Tsdb): Promise<Series[]> {
  const out: Series[] = [];
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=~", "__name__", ".*")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      out.push(seriesNotation(labels, mergeRuns(runsOfChunks(chunks)), false) as Series);
    }
  }
  return out;
}

type ShownExemplars = {
  exemplars: { labels: [string, string][]; t: number; v: string }[];
  series: [string, string][];
};

function exemplarsIn(db: Tsdb): ShownExemplars[] {
  const pairs = (labels: readonly string[]): [string, string][] =>
    labels.flatMap((name, i) => (i % 2 === 0 ? [[name, labels[i + 1] as string]] : []));
  const any = [[new Matcher("=~", "__name__", ".*")]];
  return db.head.selectExemplars(any, 0, 2 ** 50).map(({ labels, exemplars }) => ({
    exemplars: exemplars.map((each) => ({
      labels: pairs(each.labels),
      t: each.time,
      v: String(each.value),
    })),
    series: pairs(labels),
  }));
}

const DELETIONS =
  "warn: deletions in the log are not carried out: what they deleted is there again";
/** What the start has to say; nothing of the others. */
const SAID: Readonly<Record<string, string[]>> = {
  "bad-crc-in-middle": [
    "error: write-ahead log is damaged; everything behind the damage is dropped",
  ],
  "torn-tail": ["info: write-ahead log ends inside a record; the end is cut"],
  "memory-snapshot": [DELETIONS],
  "tombstones-segments-checkpoint": [DELETIONS],
};

const names = readdirSync(GOLDEN).filter((name) => !name.endsWith(".json"));

test.each(names)(
  "the samples of %s are there after a start, and what is not is said",
  async (name) => {
    const dir = path.join(scratch, name);
    cpSync(path.join(GOLDEN, name), dir, { recursive: true });
    const golden = JSON.parse(readFileSync(path.join(GOLDEN, `${name}.json`), "utf8")) as {
      query_series: Series[];
      exemplars_after_replay?: ShownExemplars[];
    };
    const said: string[] = [];
    const db = await openDb(dir, said);
    try {
      expect(said).toEqual(SAID[name] ?? []);
      expect(exemplarsIn(db)).toEqual(golden.exemplars_after_replay ?? []);
      const got = samplesOf(await shown(db));
      const want = samplesOf(golden.query_series);
      expect(want.size).toBeGreaterThan(0);
      for (const [labels, samples] of want) {
        // Where deletions are in the log, more is there than Prometheus shows.
        const found = got.get(labels) ?? [];
        if (said.includes(DELETIONS)) expect(found).toEqual(expect.arrayContaining(samples));
        else expect(found).toEqual(samples);
      }
    } finally {
      await db.close();
    }
  },
);

type Logged = { labels: string; time: number; value: bigint | StoredHistogram };

/** Samples of a log in its order, each with the labels of its ref. */
function loggedSamples(dir: string, labelsOf: Map<number, string>): Logged[][] {
  const out: Logged[][] = [];
  const damage = readLog(dir, 0, Number.MAX_SAFE_INTEGER, (bytes) => {
    const record = decodeRecord(bytes) as LogRecord;
    if (record.type === 1) {
      for (const { ref, labels } of record.series) labelsOf.set(ref, JSON.stringify(labels));
    }
    if (!("samples" in record)) return;
    out.push(
      record.samples.map((sample) => ({
        labels: labelsOf.get(sample.ref) ?? "?",
        time: Number(sample.time),
        value: "histogram" in sample ? sample.histogram : sample.value,
      })),
    );
  });
  expect(damage).toBeNull();
  return out;
}

function requestOf(samples: readonly Logged[]): TestSeries[] {
  return samples.map(({ labels: json, time, value }) => {
    const labels = JSON.parse(json) as string[];
    return typeof value === "bigint"
      ? { labels, samples: [[time, doubleOf(value)]] }
      : { labels, samples: [], histograms: [[time, toModelHistogram(value)]] };
  });
}

test("what Prometheus was sent out of order is in our out-of-order log as in its own", async () => {
  const golden = path.join(GOLDEN, "ooo-zstd");
  const labelsOf = new Map<number, string>();
  const sent = loggedSamples(path.join(golden, "wal"), labelsOf);
  const late = loggedSamples(path.join(golden, "wbl"), labelsOf).flat();
  const dir = path.join(scratch, "ours");
  const db = await openDb(dir, []);
  // Prometheus has what came out of order in both logs, so its first one is what it was sent.
  for (const samples of sent) {
    const request = walkedRequest(requestOf(samples));
    db.append(request, null);
    request.release();
  }
  await db.close();
  const ours = new Map<number, string>();
  loggedSamples(path.join(dir, "wal"), ours);
  const written = loggedSamples(path.join(dir, "wbl"), ours).flat();
  expect(written).toEqual(late);
  expect(written.filter(({ value }) => typeof value === "bigint").length).toBeGreaterThan(20);
  expect(written.filter(({ value }) => typeof value !== "bigint").length).toBeGreaterThan(4);
});
