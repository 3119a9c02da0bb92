/** Series as they are sent, against the chunks that every other reader gets. */

import { cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ByteReader, xxh64 } from "@torus/encoding";
import { type Chunk, type ChunkSelect, Matcher } from "@torus/model";
import fc from "fast-check";
import { afterAll, afterEach, expect, test } from "vitest";
import { decodeSamples, withoutStartTimes } from "./chunkenc/chunk-samples.ts";
import { Tsdb } from "./db.ts";
import { type TestSeries, walkedRequest } from "./head/test-requests.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/tsdb/db");
const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

const scratch = mkdtempSync(path.join(tmpdir(), "torus-encoded-"));
const open: Tsdb[] = [];
afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
});
afterAll(() => rmSync(scratch, { recursive: true }));

async function openDb(dir: string): Promise<Tsdb> {
  const db = await Tsdb.open({
    dir,
    blockDurationMs: 2 * HOUR,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 2 * HOUR,
    maxExemplars: 0,
    startTimes: true,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: () => START + 1000 * HOUR,
    log: () => undefined,
  });
  open.push(db);
  return db;
}

function append(db: Tsdb, series: TestSeries[]): void {
  const request = walkedRequest(series);
  db.append(request, null);
  request.release();
}

/** The chunks of `chunks` fields as StoreAPI's messages define them. */
function parse(fields: Uint8Array): Chunk[] {
  const out: Chunk[] = [];
  for (const reader = new ByteReader(fields); reader.remaining > 0; ) {
    expect(reader.u8()).toBe(0x12);
    const chunk = new ByteReader(reader.lengthPrefixed());
    const numbers = new Map<number, bigint>();
    let raw = new Uint8Array(0);
    while (chunk.remaining > 0) {
      const tag = chunk.u8();
      if (tag === 0x1a) raw = Uint8Array.from(chunk.lengthPrefixed());
      else numbers.set(tag, BigInt.asIntN(64, chunk.uvarintBig()));
    }
    const inner = new ByteReader(raw);
    let type = 0;
    let data = new Uint8Array(0);
    let hash = 0n;
    while (inner.remaining > 0) {
      const tag = inner.u8();
      if (tag === 0x08) type = inner.u8();
      else if (tag === 0x12) data = Uint8Array.from(inner.lengthPrefixed());
      else hash = inner.uvarintBig();
    }
    expect(hash).toBe(xxh64(data));
    out.push({
      minTime: Number(numbers.get(0x08) ?? 0n),
      maxTime: Number(numbers.get(0x10) ?? 0n),
      encoding: (type + 1) as Chunk["encoding"],
      data,
    });
  }
  return out;
}

type Shown = { labels: readonly string[]; chunks: [from: number, to: number, bytes: string][] };
const shown = ({ minTime, maxTime, encoding, data }: Chunk): Shown["chunks"][number] => [
  minTime,
  maxTime,
  `${encoding} ${Buffer.from(data).toString("hex")}`,
];

async function encoded(db: Tsdb, select: ChunkSelect): Promise<Shown[]> {
  const out: Shown[] = [];
  for await (const batch of db.queryable().selectEncoded?.(select) ?? []) {
    for (const { labels, chunks } of batch) {
      out.push({ labels, chunks: chunks.flatMap((run) => parse(run).map(shown)) });
    }
  }
  return out;
}

async function plain(db: Tsdb, select: ChunkSelect): Promise<Shown[]> {
  const out: Shown[] = [];
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      const takesAny = select.startTimes === true || select.anyEncoding === true;
      const wanted = chunks.map((chunk) => (takesAny ? chunk : withoutStartTimes(chunk)));
      out.push({ labels, chunks: wanted.map(shown) });
    }
  }
  return out;
}

function selectOf(mint: number, maxt: number, limit = 0, name = ".*"): ChunkSelect {
  return {
    mint,
    maxt,
    matchers: [new Matcher("=~", "__name__", name)],
    skipChunks: false,
    limit,
    signal: new AbortController().signal,
  };
}

const names = readdirSync(GOLDEN).filter((name) => !name.endsWith(".json"));

test.each(names)("what is sent of %s is what is read of it", async (name) => {
  const dir = path.join(scratch, name);
  cpSync(path.join(GOLDEN, name), dir, { recursive: true });
  const db = await openDb(dir);
  const all = selectOf(0, 2 ** 50);
  const want = await plain(db, all);
  expect(want.length).toBeGreaterThan(0);
  expect(await encoded(db, all)).toEqual(want);
  // What was kept by the first is right for the second.
  expect(await encoded(db, all)).toEqual(want);
  const started = { ...all, startTimes: true };
  expect(await encoded(db, started)).toEqual(await plain(db, started));
});

test("whatever is appended, late or cut: any range and limit gives the same chunks", async () => {
  const dir = path.join(scratch, "random");
  const db = await openDb(dir);
  const seriesOf = (i: number, from: number, count: number, stepMs: number): TestSeries => ({
    labels: ["__name__", i % 3 === 0 ? "up" : "down", "i", String(i)],
    samples: Array.from({ length: count }, (_, n) => {
      // Every fourth series has start timestamps, some of which end in the middle.
      const startTime = i % 4 === 1 && n < 40 + i ? from - i : 0;
      return [from + n * stepMs, Math.sin(n * i), startTime] as const;
    }),
  });
  for (let hour = 0; hour < 9; hour++) {
    const all = Array.from({ length: 40 }, (_, i) =>
      seriesOf(i, START + hour * HOUR + i, i % 7 === hour ? 1 : 120, 29_000),
    );
    append(db, all);
    // Late ones of some series, into what is in the head.
    if (hour % 3 === 2) append(db, [seriesOf(5, START + hour * HOUR - 90_001, 7, 1000)]);
    if (hour === 4 || hour === 6) await db.compactHead();
  }
  append(db, [{ labels: ["__name__", "up", "i", "late"], samples: [[START + 9 * HOUR, 1]] }]);
  append(db, [{ labels: ["__name__", "up", "i", "late"], samples: [[START + 8.5 * HOUR, 2]] }]);
  const offset = fc.integer({ min: -HOUR, max: 10 * HOUR });
  // Encodings, by whether any are taken.
  const seen = [new Set<string | undefined>(), new Set<string | undefined>()];
  await fc.assert(
    fc.asyncProperty(
      offset,
      offset,
      fc.constantFrom(0, 0, 1, 17),
      fc.constantFrom(".*", "up"),
      fc.constantFrom("none", "stored", "wanted"),
      async (a, b, limit, name, starts) => {
        const range = selectOf(START + Math.min(a, b), START + Math.max(a, b), limit, name);
        const [anyEncoding, startTimes] = [starts !== "none", starts === "wanted"];
        const select = { ...range, anyEncoding, startTimes };
        const got = await encoded(db, select);
        expect(got).toEqual(await plain(db, select));
        for (const { chunks } of got) {
          for (const [, , bytes] of chunks) seen[Number(anyEncoding)]?.add(bytes.split(" ")[0]);
        }
      },
    ),
    { numRuns: 60 },
  );
  expect(seen).toEqual([new Set(["1"]), new Set(["1", "4"])]);
});

/** Bits by time, of all chunks of each series; that chunks are in order is checked where it is asked for. */
async function samples(db: Tsdb, select: ChunkSelect): Promise<Map<string, Map<bigint, bigint>>> {
  const out = new Map<string, Map<bigint, bigint>>();
  for await (const batch of db.queryable().selectEncoded?.(select) ?? []) {
    for (const { labels, chunks } of batch) {
      const own = new Map<bigint, bigint>();
      let end = Number.NEGATIVE_INFINITY;
      for (const chunk of chunks.flatMap(parse)) {
        if (select.disjoint === true) expect(chunk.minTime).toBeGreaterThan(end);
        end = chunk.maxTime;
        const { times, values } = decodeSamples(chunk);
        expect([times[0], times.at(-1)]).toEqual([BigInt(chunk.minTime), BigInt(chunk.maxTime)]);
        times.forEach((time, i) => own.set(time, values[i] as bigint));
      }
      out.set(labels.join(), new Map([...own].sort(([a], [b]) => (a < b ? -1 : 1))));
    }
  }
  return out;
}

test("chunks of late samples do not overlap others where that is asked for, and hold the same samples", async () => {
  const db = await openDb(path.join(scratch, "disjoint"));
  const series = (i: number, from: number, count: number, stepMs: number): TestSeries => ({
    labels: ["__name__", "up", "i", String(i)],
    samples: Array.from({ length: count }, (_, n) => [from + n * stepMs, n * i] as const),
  });
  for (let hour = 0; hour < 8; hour++) {
    append(
      db,
      Array.from({ length: 10 }, (_, i) => series(i, START + hour * HOUR, 120, 30_000)),
    );
    // Between the samples that are there, and again over one of them.
    append(db, [series(3, START + hour * HOUR + 15_000, 100, 30_000)]);
    append(db, [series(4, START + hour * HOUR + 7_000, 5, 30_000)]);
    if (hour === 4 || hour === 7) await db.compactHead();
  }
  // In blocks that overlap, too.
  append(db, [series(5, START + 6 * HOUR + 11_000, 50, 30_000)]);
  const all = selectOf(0, 2 ** 50);
  const want = await samples(db, all);
  expect(want.get("__name__,up,i,3")?.size).toBe(8 * 220);
  expect(await samples(db, { ...all, disjoint: true })).toEqual(want);
  const part = selectOf(START + 1.3 * HOUR, START + 6.2 * HOUR);
  const clipped = await samples(db, { ...part, disjoint: true });
  expect([...clipped.keys()]).toEqual([...want.keys()]);
  for (const [key, own] of clipped) {
    for (const [time, bits] of own) expect(want.get(key)?.get(time)).toBe(bits);
  }
  const whole = await encoded(db, selectOf(0, 2 ** 50));
  const disjoint = await encoded(db, { ...all, disjoint: true });
  // What does not overlap goes as it is.
  expect(disjoint[0]).toEqual(whole[0]);
  expect(disjoint[3]).not.toEqual(whole[3]);
});

test("appends and a cut in the middle of a read change nothing of what it gives", async () => {
  const db = await openDb(path.join(scratch, "meanwhile"));
  const seriesAt = (from: number, count: number): TestSeries[] =>
    Array.from({ length: 1500 }, (_, i) => ({
      labels: ["__name__", "x", "i", String(i).padStart(4, "0")],
      samples: Array.from({ length: count }, (_, n) => [from + n * 60_000, i + n] as const),
    }));
  for (let part = 0; part < 4; part++) append(db, seriesAt(START + part * HOUR, 60));
  const select = selectOf(START, START + 4 * HOUR);
  const want = await plain(db, select);
  const got: Shown[] = [];
  let batches = 0;
  let cut: Promise<unknown> = Promise.resolve();
  for await (const batch of db.queryable().selectEncoded?.(select) ?? []) {
    for (const { labels, chunks } of batch) {
      got.push({ labels, chunks: chunks.flatMap((run) => parse(run).map(shown)) });
    }
    if (batches++ === 0) {
      append(db, seriesAt(START + 4 * HOUR, 60));
      cut = db.compactHead();
    }
  }
  await cut;
  expect(batches).toBeGreaterThan(2);
  expect(got).toEqual(want);
  const after = selectOf(START, START + 5 * HOUR);
  expect(await encoded(db, after)).toEqual(await plain(db, after));
});
