/** Data directories of a real Prometheus opened as our own, and our out-of-order log beside its. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { afterAll, expect, test } from "vitest";
import { formatValue, seriesNotation } from "./chunkenc/notation.ts";
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
    walCompression: "none",
    seriesLimit: 0,
    now: () => 1_700_010_000_000,
    log: (level, message) => said.push(`${level}: ${message}`),
  });
}

type FloatSample = [time: number, value: string];
type Series = { labels: [string, string][]; samples: unknown[] };

/** Of series of floats; start timestamps are not kept in our head. */
function floatsOf(series: readonly Series[]): [labels: string, samples: FloatSample[]][] {
  return series
    .filter(({ samples }) => samples.every((sample) => Array.isArray(sample)))
    .map(({ labels, samples }) => [
      JSON.stringify(labels),
      (samples as FloatSample[]).map(([time, value]) => [time, value]),
    ]);
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
  "ooo-zstd": ["warn: native histograms that came out of order are dropped"],
};

const names = readdirSync(GOLDEN).filter((name) => !name.endsWith(".json"));

test.each(names)(
  "the floats of %s are there after a start, and what is not is said",
  async (name) => {
    const dir = path.join(scratch, name);
    cpSync(path.join(GOLDEN, name), dir, { recursive: true });
    const golden = JSON.parse(readFileSync(path.join(GOLDEN, `${name}.json`), "utf8")) as {
      query_series: Series[];
    };
    const said: string[] = [];
    const db = await openDb(dir, said);
    try {
      expect(said).toEqual(SAID[name] ?? []);
      const got = new Map(floatsOf(await shown(db)));
      const want = floatsOf(golden.query_series);
      expect(want.length).toBeGreaterThan(0);
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

type LoggedFloat = [labels: string, time: number, value: string];

/** Floats of a log in its order, each with the labels of its ref. */
function loggedFloats(dir: string, labelsOf: Map<number, string>): LoggedFloat[][] {
  const out: LoggedFloat[][] = [];
  const damage = readLog(dir, 0, Number.MAX_SAFE_INTEGER, (bytes) => {
    const record = decodeRecord(bytes) as LogRecord;
    if (record.type === 1) {
      for (const { ref, labels } of record.series) labelsOf.set(ref, JSON.stringify(labels));
    }
    if (record.type !== 2) return;
    out.push(
      record.samples.map(({ ref, time, value }) => [
        labelsOf.get(ref) ?? "?",
        Number(time),
        formatValue(value),
      ]),
    );
  });
  expect(damage).toBeNull();
  return out;
}

function requestOf(samples: readonly LoggedFloat[]): TestSeries[] {
  return samples.map(([labels, time, value]) => ({
    labels: JSON.parse(labels) as string[],
    samples: [[time, Number(value)]],
  }));
}

test("what Prometheus was sent out of order is in our out-of-order log as in its own", async () => {
  const golden = path.join(GOLDEN, "ooo-zstd");
  const labelsOf = new Map<number, string>();
  const sent = loggedFloats(path.join(golden, "wal"), labelsOf);
  const late = loggedFloats(path.join(golden, "wbl"), labelsOf);
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
  loggedFloats(path.join(dir, "wal"), ours);
  const written = loggedFloats(path.join(dir, "wbl"), ours);
  expect(written.flat()).toEqual(late.flat());
  expect(written.flat().length).toBeGreaterThan(20);
});
