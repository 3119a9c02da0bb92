import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding, type ChunkSeries, Matcher } from "@torus/model";
import { afterAll, describe, expect, test } from "vitest";
import { BlockReader } from "./block-reader.ts";
import { IndexDamagedError, IndexReader } from "./index-reader.ts";
import { IndexOrderError, IndexWriter } from "./index-writer.ts";
import { formatBlockMeta, readBlockMeta } from "./meta.ts";
import { deleteBlock, writeBlock } from "./write-block.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden/tsdb");
const scratch = mkdtempSync(path.join(tmpdir(), "torus-block-"));
afterAll(() => rmSync(scratch, { recursive: true }));

type GoldenSeries = { labels: [string, string][]; samples: unknown[] };
type GoldenBlock = {
  symbol_count: number;
  /** Left out where there are many. */
  symbols?: string[];
  index_series: { labels: [string, string][]; chunks?: { offset: number }[] }[];
  postings?: Record<string, Record<string, number[]>>;
  series: GoldenSeries[];
};

const everything = {
  mint: Number.MIN_SAFE_INTEGER,
  maxt: Number.MAX_SAFE_INTEGER,
  matchers: [new Matcher("=~", "__name__", ".*")],
  skipChunks: false,
  limit: 0,
  signal: new AbortController().signal,
};

async function allSeries(reader: BlockReader): Promise<ChunkSeries[]> {
  const out: ChunkSeries[] = [];
  for await (const batch of reader.selectChunks(everything)) out.push(...batch);
  return out;
}

function golden(): [name: string, dir: string, content: GoldenBlock][] {
  const out: [string, string, GoldenBlock][] = [];
  for (const name of readdirSync(path.join(GOLDEN, "blocks"))) {
    if (name.endsWith(".json")) continue;
    const { blocks } = JSON.parse(
      readFileSync(path.join(GOLDEN, `blocks/${name}.json`), "utf8"),
    ) as { blocks: { ulid: string; content: GoldenBlock }[] };
    for (const { ulid, content } of blocks) {
      out.push([`${name} ${ulid}`, path.join(GOLDEN, "blocks", name, ulid), content]);
    }
  }
  return out;
}

describe.each(golden())("the block %s of the real program", (_, dir, content) => {
  test("its index reads as the real program's dump says", () => {
    const index = new BlockReader(dir).index();
    expect(index.symbols).toHaveLength(content.symbol_count);
    expect(index.symbols).toEqual(content.symbols ?? index.symbols);
    const ids = [...index.all()];
    const series = ids.map((id) => index.series(id));
    expect(series.map(({ labels }) => labels)).toEqual(
      content.index_series.map(({ labels }) => labels.flat()),
    );
    expect(series.map(({ chunks }) => chunks.map(({ ref }) => ref % 2 ** 32))).toEqual(
      content.index_series.map(({ chunks }, i) =>
        (chunks ?? series[i]?.chunks.map(({ ref }) => ({ offset: ref % 2 ** 32 })) ?? []).map(
          ({ offset }) => offset,
        ),
      ),
    );
    for (const [name, values] of Object.entries(content.postings ?? {})) {
      for (const [value, ordinals] of Object.entries(values)) {
        expect([...index.postings(name, value)]).toEqual(ordinals.map((n) => ids[n]));
      }
    }
  });

  test("its index, written again, is the same to the byte", async () => {
    const bytes = readFileSync(path.join(dir, "index"));
    const index = new IndexReader(bytes);
    const writer = new IndexWriter();
    for (const id of index.all()) {
      const { labels, chunks } = index.series(id);
      writer.add(labels, chunks);
    }
    const again = path.join(scratch, `index-${path.basename(dir)}`);
    await writer.finish(again);
    // Blocks that were compacted carry no empty symbol; ours always do, as those cut from a head.
    const hasEmptySymbol = index.symbols[0] === "";
    const written = readFileSync(again);
    if (hasEmptySymbol) expect(written.equals(bytes)).toBe(true);
    expect(new IndexReader(written).symbols.filter((s) => s !== "")).toEqual(
      index.symbols.filter((s) => s !== ""),
    );
  });

  test("its meta.json reads and is written as it was", () => {
    expect(formatBlockMeta(readBlockMeta(dir))).toBe(
      readFileSync(path.join(dir, "meta.json"), "utf8"),
    );
  });
});

test("float chunks of a real block decode to its samples", async () => {
  const [, dir, content] = golden().find(([name]) => name.startsWith("floats ")) as never as [
    string,
    string,
    GoldenBlock,
  ];
  const series = await allSeries(new BlockReader(dir));
  const times = new Float64Array(2048);
  const values = new Float64Array(2048);
  const got = series.map(({ labels, chunks }) => ({
    labels,
    times: chunks.flatMap((chunk) => [
      ...times.subarray(0, xorDecodeChunk(chunk.data, times, values)),
    ]),
  }));
  expect(got).toEqual(
    content.series.map(({ labels, samples }) => ({
      labels: labels.flat(),
      times: samples.map((sample) => (sample as [number])[0]),
    })),
  );
});

test("every cut and every flipped bit of an index is reported or changes nothing that is read", () => {
  const [, dir] = golden()[0] as [string, string, GoldenBlock];
  const bytes = readFileSync(path.join(dir, "index"));
  const readAll = (from: Uint8Array) => {
    const index = new IndexReader(from);
    const series = [...index.all()].map((id) => index.series(id));
    const lists = index
      .labelNames()
      .map((name) => [...index.values(name)].map((value) => [...index.postings(name, value)]));
    return JSON.stringify([series, index.symbols, lists]);
  };
  const whole = readAll(bytes);
  for (let cut = 0; cut < bytes.length; cut++) {
    expect(() => readAll(bytes.subarray(0, cut))).toThrow(IndexDamagedError);
  }
  for (let at = 0; at < bytes.length; at++) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] as number) ^ (1 << (at % 8));
    let read = whole;
    try {
      read = readAll(flipped);
    } catch (error) {
      expect(error).toBeInstanceOf(IndexDamagedError);
    }
    expect(read).toBe(whole);
  }
});

test("series out of order, overlapping chunks and falling references are refused", () => {
  const add = (...series: [string, [number, number, number][]][]) => {
    const writer = new IndexWriter();
    for (const [name, chunks] of series) {
      writer.add(
        ["__name__", name],
        chunks.map(([minTime, maxTime, ref]) => ({ minTime, maxTime, ref })),
      );
    }
  };
  expect(() => add(["b", [[0, 1, 8]]], ["a", [[0, 1, 20]]])).toThrow(IndexOrderError);
  expect(() => add(["a", [[0, 1, 8]]], ["a", [[0, 1, 20]]])).toThrow(IndexOrderError);
  expect(() =>
    add([
      "a",
      [
        [0, 5, 8],
        [5, 9, 20],
      ],
    ]),
  ).toThrow(IndexOrderError);
  expect(() =>
    add([
      "a",
      [
        [0, 5, 20],
        [6, 9, 8],
      ],
    ]),
  ).toThrow(IndexOrderError);
});

/** 0 samples at 0 would be no chunk: one sample at `t` with value 1, as an XOR chunk. */
function oneSample(t: number): Uint8Array {
  const bytes = [0, 1];
  let zigzag = BigInt(t) << 1n;
  while (zigzag >= 128n) {
    bytes.push(Number(zigzag & 127n) | 128);
    zigzag >>= 7n;
  }
  bytes.push(Number(zigzag), 0x3f, 0xf0, 0, 0, 0, 0, 0, 0);
  return Uint8Array.from(bytes);
}

function someSeries(count: number, t: number): ChunkSeries[] {
  return Array.from({ length: count }, (_, i) => ({
    labels: [
      "__name__",
      "some_metric",
      "i",
      String(i).padStart(6, "0"),
      "kind",
      i % 2 === 0 ? "even" : "odd",
    ],
    chunks: [{ minTime: t, maxTime: t, encoding: ChunkEncoding.XOR, data: oneSample(t) }],
  }));
}

test("a written block is read back, by matchers, and deleted", async () => {
  const series = someSeries(1000, 5000);
  const meta = await writeBlock(scratch, [series.slice(0, 300), series.slice(300)], {
    minTime: 0,
    maxTime: 7_200_000,
    now: 1_700_000_000_000,
  });
  expect(meta?.stats).toEqual({
    numSamples: 1000,
    numFloatSamples: 1000,
    numHistogramSamples: 0,
    numSeries: 1000,
    numChunks: 1000,
  });
  const dir = path.join(scratch, meta?.ulid ?? "");
  const reader = new BlockReader(dir);
  expect(await allSeries(reader)).toEqual(series);
  const some: ChunkSeries[] = [];
  const matchers = [new Matcher("=", "kind", "odd"), new Matcher("!~", "i", "000[0-8].*")];
  for await (const batch of reader.selectChunks({ ...everything, matchers })) some.push(...batch);
  expect(some.map(({ labels }) => labels[3])).toEqual(
    Array.from({ length: 50 }, (_, i) => String(901 + 2 * i).padStart(6, "0")),
  );
  expect(await reader.labelNames(everything)).toEqual(["__name__", "i", "kind"]);
  expect(await reader.labelValues("kind", everything)).toEqual(["even", "odd"]);
  deleteBlock(dir);
  expect(existsSync(dir)).toBe(false);
});

test("no samples make no block", async () => {
  const before = readdirSync(scratch);
  expect(await writeBlock(scratch, [], { minTime: 0, maxTime: 1, now: 0 })).toBeNull();
  expect(readdirSync(scratch)).toEqual(before);
});

const promtool = spawnSync("promtool", ["--version"]).status === 0;

test.skipIf(!promtool)("promtool lists and analyzes our block (needs promtool)", async () => {
  const dir = path.join(scratch, "data");
  const meta = await writeBlock(dir, [someSeries(500, 1_700_000_000_000)], {
    minTime: 1_699_999_200_000,
    maxTime: 1_700_006_400_000,
    now: 1_700_000_000_000,
  });
  const list = spawnSync("promtool", ["tsdb", "list", dir], { encoding: "utf8" });
  expect(list.stdout).toContain(meta?.ulid);
  expect(list.status).toBe(0);
  const analyze = spawnSync("promtool", ["tsdb", "analyze", dir], { encoding: "utf8" });
  expect(analyze.stderr).toBe("");
  expect(analyze.stdout).toContain("Series: 500");
});
