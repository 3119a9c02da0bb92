import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Matcher } from "@torus/model";
import { expect, test } from "vitest";
import { BlockReader } from "../block/block-reader.ts";
import { readChunkSnapshot } from "../chunk-snapshot.ts";
import { chunkSampleCount, decodeSamples } from "../chunkenc/chunk-samples.ts";
import { formatValue, seriesNotation } from "../chunkenc/notation.ts";
import { readHeadChunks, writeHeadChunks } from "../chunks-head.ts";
import { DataDirectory, NoDataDirectoryError } from "./data-directory.ts";
import { mergeRuns, runsOfChunks, without } from "./runs.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../../test/golden/tsdb");

function read<T>(file: string): T {
  return JSON.parse(readFileSync(path.join(root, file), "utf8")) as T;
}

type Series = { labels: [string, string][]; samples: unknown[] };
type Db = {
  query_series: Series[];
  chunks_head: { file: number; offset: number; n: number; ooo: boolean; series_ref: number }[];
  exemplars_after_replay: { series: [string, string][]; exemplars: { t: number; v: string }[] }[];
};

const ALL = [new Matcher("=~", "__name__", ".*")];
const FROM = Number.NEGATIVE_INFINITY;
const TO = Number.POSITIVE_INFINITY;

function shown(directory: DataDirectory, withStartTimes: boolean): unknown[] {
  return Array.from(directory.select(ALL, FROM, TO), ({ labels, samples }) =>
    seriesNotation(labels, samples, withStartTimes),
  );
}

/** Sizes and times of all files: what reading must not change. */
function footprint(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const { size, mtimeMs } = statSync(path.join(dir, name));
      return `${name} ${size} ${mtimeMs}`;
    });
}

const databases = read<{ cases: { name: string }[] }>("index-db.json").cases.map(
  ({ name }) => name,
);

test.each(databases)(
  "database %s is read as Prometheus finds it after a start, and not changed",
  (name) => {
    const golden = read<Db>(`db/${name}.json`);
    const dir = path.join(root, "db", name);
    const before = footprint(dir);
    const directory = new DataDirectory(dir);
    expect(shown(directory, name === "start-timestamps")).toEqual(golden.query_series);
    const exemplars = [...(directory.head?.series ?? [])]
      .filter((series) => series.exemplars.length > 0)
      .map((series) => ({
        labels: series.labels,
        exemplars: series.exemplars.map(({ time, value }) => [Number(time), formatValue(value)]),
      }));
    for (const { series, exemplars: want } of golden.exemplars_after_replay) {
      const got = exemplars.find(({ labels }) => labels.join() === series.flat().join());
      expect(got?.exemplars).toEqual(want.map(({ t, v }) => [t, v]));
    }
    expect(footprint(dir)).toEqual(before);
  },
);

test.each(databases)("head chunks of %s are found, and written to the same bytes", (name) => {
  const golden = read<Db>(`db/${name}.json`);
  const dir = path.join(root, "db", name, "chunks_head");
  if (golden.chunks_head.length === 0) return;
  const { chunks, damage } = readHeadChunks(dir);
  expect(damage).toEqual([]);
  expect(
    chunks.map((chunk) => ({
      file: chunk.file,
      offset: chunk.offset,
      n: chunkSampleCount(chunk),
      ooo: chunk.outOfOrder,
      series_ref: chunk.seriesRef,
    })),
  ).toEqual(
    golden.chunks_head.map(({ file, offset, n, ooo, series_ref }) => ({
      file,
      offset,
      n,
      ooo,
      series_ref,
    })),
  );
  const copy = mkdtempSync(path.join(tmpdir(), "chunks-head-"));
  try {
    expect(writeHeadChunks(copy, 1, chunks)).toEqual(chunks.map(({ offset }) => offset));
    const written = readFileSync(path.join(copy, "000001"));
    const original = readFileSync(path.join(dir, "000001"));
    expect(Buffer.compare(written, original.subarray(0, written.length))).toBe(0);
    for (let end = 9; end < written.length; end += 13) {
      writeFileSync(path.join(copy, "000001"), written.subarray(0, end));
      const cut = readHeadChunks(copy);
      const whole = chunks.filter(
        ({ offset }, i) => (chunks[i + 1]?.offset ?? written.length) <= end && offset < end,
      );
      expect(cut.chunks.map(({ offset }) => offset)).toEqual(whole.map(({ offset }) => offset));
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
});

type Blocks = { blocks: { ulid: string; content: { series: Series[] } }[] };
const blockCases = read<{ cases: { name: string }[] }>("index-blocks.json").cases.flatMap(
  ({ name }) =>
    read<Blocks>(`blocks/${name}.json`).blocks.map(
      ({ ulid, content }) => [name, ulid, content] as const,
    ),
);

test.each(blockCases)("block %s/%s holds the series that a querier sees", (name, ulid, content) => {
  const directory = new DataDirectory(path.join(root, "blocks", name, ulid));
  expect(shown(directory, name === "xor2-and-start-timestamps")).toEqual(content.series);
});

test("a range and matchers choose", () => {
  const directory = new DataDirectory(path.join(root, "db/floats-uncompressed"));
  const all = [...directory.select(ALL, FROM, TO)];
  const [first] = all;
  const mint = Number(first?.samples.times[3]);
  const maxt = Number(first?.samples.times[7]);
  const some = [...directory.select([new Matcher("=", "n", "0")], mint, maxt)];
  expect(some.map(({ labels }) => labels)).toEqual([first?.labels]);
  expect([...(some[0]?.samples.times ?? [])]).toEqual([
    ...(first?.samples.times.subarray(3, 8) ?? []),
  ]);
});

test("a directory with neither blocks nor a log is refused by name", () => {
  expect(() => new DataDirectory(path.join(root, "blocks"))).toThrow(NoDataDirectoryError);
  expect(() => new DataDirectory(path.join(root, "nowhere"))).toThrow(/nowhere: no such directory/);
});

test("a memory snapshot holds what the log before it says", () => {
  const dir = path.join(root, "db/memory-snapshot");
  const snapshot = readChunkSnapshot(dir);
  expect(snapshot).toMatchObject({ segment: 0, offset: 32_768, damage: null });
  const golden = read<Db>("db/memory-snapshot.json");
  const got = (snapshot?.series ?? [])
    .map(({ ref, labels, chunk }) => {
      const deleted = snapshot?.tombstones.get(ref) ?? [];
      const samples = mergeRuns(
        runsOfChunks(chunk === null ? [] : [chunk]).map((run) => without(run, deleted, FROM, TO)),
      );
      return seriesNotation(labels, samples, false);
    })
    .sort((a, b) => (JSON.stringify(a.labels) < JSON.stringify(b.labels) ? -1 : 1));
  expect(got).toEqual(golden.query_series);
  expect(snapshot?.exemplars.map(({ time, value }) => [Number(time), formatValue(value)])).toEqual([
    [1_699_999_245_000, "3"],
  ]);
  expect(readChunkSnapshot(path.join(root, "db/torn-tail"))).toBeNull();
});

test("chunks for queries leave out what was deleted of them", async () => {
  const { blocks } = read<Blocks>("blocks/tombstones.json");
  const [{ ulid, content } = { ulid: "", content: { series: [] } }] = blocks;
  const block = new BlockReader(path.join(root, "blocks/tombstones", ulid));
  const got: unknown[] = [];
  const { signal } = new AbortController();
  const select = { mint: FROM, maxt: TO, matchers: ALL, skipChunks: false, limit: 0, signal };
  for await (const batch of block.selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      for (const chunk of chunks) {
        const { times } = decodeSamples(chunk);
        expect([chunk.minTime, chunk.maxTime]).toEqual([Number(times[0]), Number(times.at(-1))]);
      }
      got.push(seriesNotation(labels, mergeRuns(runsOfChunks(chunks)), false));
    }
  }
  expect(got).toEqual(content.series);
});
