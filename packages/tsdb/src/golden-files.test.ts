/**
 * Every file that Prometheus and Thanos wrote for us (test/golden/tsdb) is read here by the reader of its kind, and
 * those of a kind that we write are written again: to the same bytes, or where compression and map order are free, to
 * the same content. A file of no known kind fails; so does one that the provided originals have and the copies have not.
 */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ChunkEncoding } from "@torus/model";
import { afterAll, describe, expect, test } from "vitest";
import { BlockReader } from "./block/block-reader.ts";
import { ChunkSegmentReader, ChunkSegmentWriter } from "./block/chunk-segments.ts";
import { formatBlockMeta, readBlockMeta } from "./block/meta.ts";
import { readTombstones, writeTombstones } from "./block/tombstones.ts";
import { readChunkSnapshot } from "./chunk-snapshot.ts";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import { readHeadChunks, writeHeadChunks } from "./chunks-head.ts";
import { readSegment } from "./wlog/reader.ts";
import { decodeRecord } from "./wlog/records.ts";
import { LogWriter } from "./wlog/writer.ts";

const ROOT = path.join(import.meta.dirname, "../../..");
const GOLDEN = path.join(ROOT, "test/golden/tsdb");
const PROVIDED = path.join(ROOT, "../shared/golden/tsdb");

const scratch = mkdtempSync(path.join(tmpdir(), "torus-golden-"));
afterAll(() => rmSync(scratch, { recursive: true }));
let made = 0;
const newDir = (): string => path.join(scratch, String(made++));

function filesOf(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(path.join(dir, name)).isFile())
    .sort();
}

/** Logs that are damaged on purpose, and where. */
const DAMAGED = /^db\/(torn-tail|bad-crc-in-middle)\//;

function readIndex(file: string): void {
  const index = new BlockReader(path.dirname(file)).index();
  const ids = index.all();
  let listed = 0;
  for (const name of index.labelNames()) {
    for (const value of index.values(name)) listed += index.postings(name, value).length;
  }
  let pairs = 0;
  for (const id of ids) pairs += index.series(id).labels.length / 2;
  expect(ids.length).toBeGreaterThan(0);
  expect(listed).toBe(pairs);
}

/** All chunks of all of the block's files are read, and written again to the same files. */
function readChunks(file: string): void {
  const dir = path.dirname(file);
  const block = new BlockReader(path.dirname(dir));
  const index = block.index();
  const reader = new ChunkSegmentReader(dir);
  const number = Number(path.basename(file)) - 1;
  const again = newDir();
  const writer = new ChunkSegmentWriter(again);
  let chunks = 0;
  try {
    for (const id of index.all()) {
      for (const { ref } of index.series(id).chunks) {
        if (Math.floor(ref / 2 ** 32) !== number) continue;
        const { encoding, data } = reader.read(ref);
        if (encoding !== ChunkEncoding.AGGREGATE) {
          expect(decodeSamples({ encoding, data }).times.length).toBeGreaterThan(0);
        }
        expect(writer.write(encoding, data)).toBe(ref % 2 ** 32);
        chunks++;
      }
    }
    writer.finish();
  } finally {
    reader.close();
  }
  expect(chunks).toBeGreaterThan(0);
  expect(readFileSync(path.join(again, "000001")).equals(readFileSync(file))).toBe(true);
}

function readMeta(file: string): void {
  const meta = readBlockMeta(path.dirname(file));
  // What Thanos adds is the block package's to write.
  if (!("thanos" in meta)) expect(formatBlockMeta(meta)).toBe(readFileSync(file, "utf8"));
}

function readStones(file: string): void {
  const stones = readTombstones(path.dirname(file));
  const again = newDir();
  writeTombstonesInto(again, stones);
  expect(readTombstones(again)).toEqual(stones);
  expect(statSync(path.join(again, "tombstones")).size).toBeLessThanOrEqual(statSync(file).size);
}

function writeTombstonesInto(dir: string, stones: ReturnType<typeof readTombstones>): void {
  new ChunkSegmentWriter(dir).abandon();
  writeTombstones(dir, stones);
}

function readLogSegment(file: string): void {
  const bytes = readFileSync(file);
  const records: Uint8Array[] = [];
  let compressed = false;
  const damage = readSegment(bytes, 0, (record, { offset }) => {
    expect(decodeRecord(record)).not.toBeNull();
    records.push(Uint8Array.from(record));
    compressed ||= ((bytes[offset] as number) & 24) !== 0;
  });
  expect(damage !== null).toBe(DAMAGED.test(path.relative(GOLDEN, file)));
  for (const compression of ["none", "snappy"] as const) {
    const again = newDir();
    const writer = new LogWriter(again, { compression });
    for (const record of records) writer.log([record]);
    writer.close();
    const written = readFileSync(path.join(again, "00000000"));
    const read: Uint8Array[] = [];
    expect(readSegment(written, 0, (record) => read.push(Uint8Array.from(record)))).toBeNull();
    expect(read).toEqual(records);
    if (
      compression === "none" &&
      !compressed &&
      damage === null &&
      written.length === bytes.length
    ) {
      expect(written.equals(bytes)).toBe(true);
    }
  }
}

function readSnapshot(file: string): void {
  const snapshot = readChunkSnapshot(path.dirname(path.dirname(file)));
  expect(snapshot?.damage).toBeNull();
  expect(snapshot?.series.length).toBeGreaterThan(0);
}

function readMapped(file: string): void {
  const dir = path.dirname(file);
  const { chunks, damage } = readHeadChunks(dir);
  expect(damage).toEqual([]);
  const mine = chunks.filter((chunk) => chunk.file === Number(path.basename(file)));
  for (const chunk of mine) expect(decodeSamples(chunk).times.length).toBeGreaterThan(0);
  const again = newDir();
  new ChunkSegmentWriter(again).abandon();
  writeHeadChunks(again, 1, mine);
  const written = readFileSync(path.join(again, "000001"));
  const original = readFileSync(file);
  expect(written.equals(original.subarray(0, written.length))).toBe(true);
  expect(original.subarray(written.length).every((byte) => byte === 0)).toBe(true);
}

/** Test sources that name a top-level golden file, or the folder of a case. */
const sources = filesOf(path.join(ROOT, "packages"))
  .filter((name) => /src\/.*\.test\.ts$/.test(name) && !name.includes("golden-files"))
  .map((name) => readFileSync(path.join(ROOT, "packages", name), "utf8"));

function readByTests(file: string): void {
  const name = path.relative(GOLDEN, file).replace(/\.json$/, "");
  const [kind, ...rest] = name.split("/");
  if (rest.length === 0) {
    expect(
      sources.some((text) => text.includes(`${name}.json`) || text.includes(`"${name}"`)),
    ).toBe(true);
    return;
  }
  const index = JSON.parse(readFileSync(path.join(GOLDEN, `index-${kind}.json`), "utf8")) as {
    cases: { name: string }[];
  };
  expect(index.cases.map((each) => each.name)).toContain(rest.join("/"));
  expect(
    sources.some((text) => text.includes(`index-${kind}.json`) || text.includes(`tsdb/${kind}`)),
  ).toBe(true);
}

function readCaseIndex(file: string): void {
  const kind = /index-(\w+)\.json$/.exec(file)?.[1] ?? "";
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: { name: string }[] };
  const there = readdirSync(path.join(GOLDEN, kind)).filter((name) => name.endsWith(".json"));
  expect(cases.map(({ name }) => `${name}.json`).sort()).toEqual(there.sort());
}

const KINDS: readonly (readonly [kind: string, pattern: RegExp, read: (file: string) => void])[] = [
  ["description", /^README\.md$/, () => undefined],
  ["list of cases", /^index-\w+\.json$/, readCaseIndex],
  ["case", /\.json$/, readByTests],
  ["segment of a log", /\/(wal|wbl|wal\/checkpoint\.\d+)\/\d{8}$/, readLogSegment],
  ["snapshot", /\/chunk_snapshot\.\d+\.\d+\/\d{8}$/, readSnapshot],
  ["head chunks", /\/chunks_head\/\d{6}$/, readMapped],
  ["chunks", /\/chunks\/\d{6}$/, readChunks],
  ["index", /\/index$/, readIndex],
  ["tombstones", /\/tombstones$/, readStones],
];

function kindOf(name: string): (typeof KINDS)[number] | undefined {
  if (name.endsWith("/meta.json")) return ["meta.json", /meta/, readMeta];
  return KINDS.find(([, pattern]) => pattern.test(name));
}

describe("golden file", () => {
  test.each(filesOf(GOLDEN).map((name) => [name]))("%s", (name) => {
    const kind = kindOf(name);
    expect(kind, "a file of no known kind").toBeDefined();
    kind?.[2](path.join(GOLDEN, name));
  });
});

test.skipIf(!existsSync(PROVIDED))(
  "the copies are all of the provided files (../shared), to the byte",
  () => {
    const names = filesOf(PROVIDED);
    expect(filesOf(GOLDEN)).toEqual(names);
    for (const name of names) {
      const same = readFileSync(path.join(GOLDEN, name)).equals(
        readFileSync(path.join(PROVIDED, name)),
      );
      expect(same, name).toBe(true);
    }
  },
);
