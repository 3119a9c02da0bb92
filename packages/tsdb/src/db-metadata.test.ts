/** What senders tell of metrics: logged, there again after a start, kept over checkpoints. */

import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Labels } from "@torus/model";
import { afterAll, afterEach, expect, test } from "vitest";
import { Tsdb } from "./db.ts";
import { newestCheckpoint } from "./db-checkpoint.ts";
import { walkedRequest } from "./head/test-requests.ts";
import { familyOf, type NamedMetadata } from "./metric-metadata.ts";
import { readLog } from "./wlog/reader.ts";
import { decodeRecord } from "./wlog/records.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/tsdb/db");
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const scratch = mkdtempSync(path.join(tmpdir(), "torus-metadata-"));
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
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 1000 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

/** A start on what a process killed at this moment leaves. */
function killed(db: Tsdb): Promise<Tsdb> {
  const copy = newDir();
  cpSync(db.dir, copy, { recursive: true, filter: (from) => path.basename(from) !== "lock" });
  return openDb(copy);
}

function append(db: Tsdb, time: number, ...series: Labels[]): void {
  const request = walkedRequest(series.map((labels) => ({ labels, samples: [[time, 1]] })));
  db.append(request, null);
  request.release();
}

const named = (name: string, job = "a"): Labels => ["__name__", name, "job", job];
const told = (metric: string, type: string, help = "", unit = ""): NamedMetadata => ({
  metric,
  type,
  help,
  unit,
});

function known(db: Tsdb): NamedMetadata[] {
  return [...db.metadata.entries()]
    .flatMap(([metric, all]) => all.map(({ type, help, unit }) => ({ metric, type, help, unit })))
    .sort((a, b) => (a.metric < b.metric ? -1 : 1));
}

/** How many series the metadata records of these segments name, and how many there are in the newest checkpoint. */
function logged(db: Tsdb): { inSegments: number; inCheckpoint: number } {
  const wal = path.join(db.dir, "wal");
  const checkpoint = newestCheckpoint(wal);
  const count = (dir: string, first: number): number => {
    let n = 0;
    const damage = readLog(dir, first, Number.MAX_SAFE_INTEGER, (bytes) => {
      const record = decodeRecord(bytes);
      if (record?.type === 6) n += record.metadata.length;
    });
    expect(damage).toBeNull();
    return n;
  };
  return {
    inSegments: count(wal, (checkpoint?.covers ?? -1) + 1),
    inCheckpoint: checkpoint === null ? 0 : count(path.join(wal, checkpoint.name), 0),
  };
}

test("a family's metadata is there after a kill, whichever of its series is here", async () => {
  const db = await openDb(newDir());
  append(
    db,
    START,
    named("up"),
    named("latency_bucket"),
    named("size_sum"),
    named("requests_total"),
    named("build_info"),
    named("queue_gcount"),
  );
  const all = [
    told("build", "info", "Which build."),
    told("latency", "histogram", "How long.", "seconds"),
    told("queue", "gaugehistogram"),
    told("requests", "counter", "How many: ü\nin words."),
    told("size", "summary", "How large.", "bytes"),
    told("up", "gauge", "Whether it answers."),
  ];
  db.noteMetadata(all);
  db.noteMetadata(all);
  expect(logged(db)).toEqual({ inSegments: all.length, inCheckpoint: 0 });
  let again = await killed(db);
  expect(known(again)).toEqual(all);
  again.noteMetadata(all);
  again = await killed(again);
  expect(known(again)).toEqual(all);
  expect(logged(again).inSegments).toBe(all.length);
});

test("what is told of a metric without a series is logged when it has one", async () => {
  const db = await openDb(newDir());
  db.noteMetadata([told("late", "gauge", "x")]);
  expect(known(db)).toHaveLength(1);
  expect(known(await killed(db))).toEqual([]);
  append(db, START, named("late"));
  db.noteMetadata([told("late", "gauge", "x"), told("later", "gauge", "y")]);
  expect(known(await killed(db))).toEqual([told("late", "gauge", "x")]);
  append(db, START, named("later"));
  await db.compactHead();
  expect(known(await killed(db))).toEqual([
    told("late", "gauge", "x"),
    told("later", "gauge", "y"),
  ]);
});

test("different things told of a metric are kept, the newest ten", async () => {
  const db = await openDb(newDir());
  append(db, START, named("up"));
  for (let i = 0; i < 14; i++) db.noteMetadata([told("up", "gauge", `help ${i}`)]);
  const helps = Array.from({ length: 10 }, (_, i) => `help ${i + 4}`);
  expect(known(db).map(({ help }) => help)).toEqual(helps);
  expect(known(await killed(db)).map(({ help }) => help)).toEqual(helps);
  db.noteMetadata([told("up", "gauge", "x".repeat(5000)), told("", "gauge", "of nothing")]);
  expect(known(db)).toHaveLength(10);
});

test("checkpoints keep metadata once, though the series that it was logged for is gone", async () => {
  const db = await openDb(newDir());
  append(db, START, named("up", "gone"), named("gone"));
  db.noteMetadata([told("up", "gauge", "kept"), told("gone", "gauge", "goes with its series")]);
  let checkpoints = 0;
  for (let hour = 0; hour < 24; hour++) {
    for (let minute = 0; minute < 60; minute += 10) {
      append(db, START + hour * HOUR + minute * MINUTE, named("up", "stays"));
    }
    await db.compactHead();
    const names = readdirSync(path.join(db.dir, "wal"));
    checkpoints += names.some((name) => name.startsWith("checkpoint.")) ? 1 : 0;
    expect(known(await killed(db))).toContainEqual(told("up", "gauge", "kept"));
  }
  expect(checkpoints).toBeGreaterThan(3);
  expect(db.head.seriesCount).toBe(1);
  const { inSegments, inCheckpoint } = logged(db);
  expect(inCheckpoint).toBe(0);
  expect(inSegments).toBeGreaterThan(0);
  // A segment that is not covered yet may have it from the checkpoint before.
  expect(inSegments).toBeLessThan(6);
  expect(known(await killed(db))).toEqual([told("up", "gauge", "kept")]);
});

test("metadata in the log of a Prometheus is taken over", async () => {
  const dir = newDir();
  cpSync(path.join(GOLDEN, "mixed-snappy"), dir, { recursive: true });
  const db = await openDb(dir);
  expect(known(db)).toEqual([
    told("c_total", "counter", "Number of requests.", "requests"),
    told("c_total", "counter", 'Changed help: "ü"\nline 2'),
    told("g", "gauge", "A gauge."),
    told("int_hist", "histogram", "", "seconds"),
  ]);
});

test("a series' name tells the family where the type composes families of several", () => {
  expect(familyOf("latency_bucket", "histogram")).toBe("latency");
  expect(familyOf("latency_count", "summary")).toBe("latency");
  expect(familyOf("latency_bucket", "summary")).toBe("latency_bucket");
  expect(familyOf("queue_gsum", "gaugehistogram")).toBe("queue");
  expect(familyOf("requests_total", "counter")).toBe("requests_total");
  expect(familyOf("native", "histogram")).toBe("native");
});
