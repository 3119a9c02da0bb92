import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { kernel } from "@torus/kernels";
import { labelsFromObject, Matcher, type SeriesColumns, type SeriesSelect } from "@torus/model";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChunkFileDamagedError } from "../block/chunk-segments.ts";
import { toModelHistogram } from "../chunkenc/stored-histogram.ts";
import { BlockBuilder } from "../tools/create-blocks.ts";
import { DataDirectory } from "./data-directory.ts";
import { DirectoryColumns } from "./directory-columns.ts";

const golden = path.join(import.meta.dirname, "../../../../test/golden/tsdb");
const directories = ["db", "blocks"].flatMap((kind) =>
  readdirSync(path.join(golden, kind))
    .filter((name) => !name.endsWith(".json"))
    .map((name) => path.join(golden, kind, name)),
);
const scratch = mkdtempSync(path.join(tmpdir(), "torus-columns-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const everything = new Matcher("=~", "__name__", ".*");

function selectOf(mint: number, maxt: number, more: Partial<SeriesSelect> = {}): SeriesSelect {
  return {
    mint,
    maxt,
    matchers: [everything],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
    hints: { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false },
    onWarning: () => undefined,
    ...more,
  };
}

/** Of one series what a comparison shows. */
function shown(series: SeriesColumns) {
  const { labels, timestamps, values, histograms, startTimestamps } = series;
  const isFloat = (i: number) => histograms?.[i] === undefined;
  const copy = new Float64Array(values.length);
  copy.set(values);
  const bits = new BigUint64Array(copy.buffer);
  return {
    labels,
    times: [...timestamps],
    bits: Array.from(bits, (each, i) => (isFloat(i) ? each : 0n)),
    histograms: histograms?.some((each) => each !== undefined) === true ? [...histograms] : null,
    startTimestamps: startTimestamps === null ? null : [...startTimestamps],
  };
}

async function inColumns(data: DirectoryColumns, select: SeriesSelect) {
  const out: ReturnType<typeof shown>[] = [];
  for await (const batch of data.select(select)) out.push(...batch.map(shown));
  return out;
}

function oneByOne(data: DataDirectory, mint: number, maxt: number) {
  return [...data.select([everything], mint, maxt)].map(({ labels, samples }) => {
    const { times, values, histograms, startTimes } = samples;
    return {
      labels,
      times: Array.from(times, Number),
      bits: Array.from(values, (each, i) => (histograms?.[i] === undefined ? each : 0n)),
      histograms:
        histograms === null
          ? null
          : Array.from(times, (_, i) => {
              const histogram = histograms[i];
              return histogram === undefined ? undefined : toModelHistogram(histogram);
            }),
      startTimestamps: startTimes === null ? null : Array.from(startTimes, Number),
    };
  });
}

test.each(directories.map((dir) => [path.relative(golden, dir), dir]))(
  "%s has the same samples in columns as one by one",
  async (_, dir) => {
    const directory = new DataDirectory(dir);
    const data = new DirectoryColumns(directory);
    const all = oneByOne(directory, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    expect(all.length).toBeGreaterThan(0);
    const times = all.flatMap((series) => series.times).sort((a, b) => a - b);
    const first = times[0] as number;
    const last = times.at(-1) as number;
    const middle = times[times.length >> 1] as number;
    for (const [mint, maxt] of [
      [first, last],
      [first + 1, last - 1],
      [middle, last],
      [first, middle],
      [middle, middle],
      [last + 1, last + 1e6],
    ] as const) {
      expect(await inColumns(data, selectOf(mint, maxt))).toEqual(oneByOne(directory, mint, maxt));
    }
  },
);

const START_MS = 1_700_006_400_000;
const built = path.join(scratch, "built");

beforeAll(async () => {
  const builder = new BlockBuilder(7_200_000);
  for (let s = 0; s < 50; s++) {
    for (let n = 0; n < 600; n++) {
      builder.add(
        labelsFromObject({ __name__: "x", s: String(s).padStart(2, "0") }),
        START_MS + n * 30_000,
        BigInt(n * s) << 40n,
      );
    }
  }
  await builder.write(built, Date.now);
});

test("a day of samples is there whole at the first reading", async () => {
  const dir = path.join(scratch, "day");
  const builder = new BlockBuilder(7_200_000);
  const times = Array.from({ length: 5760 }, (_, n) => START_MS + n * 15_000);
  for (const time of times) builder.add(["__name__", "x"], time, BigInt(time));
  await builder.write(dir, Date.now);
  const data = new DirectoryColumns(new DataDirectory(dir));
  const [series] = await inColumns(data, selectOf(0, 2e12));
  expect(series).toMatchObject({ times, bits: times.map(BigInt) });
});

test("series of several blocks are one, in label order, as many as are wanted", async () => {
  const data = new DirectoryColumns(new DataDirectory(built));
  const whole = await inColumns(data, selectOf(0, 2e12));
  expect(whole.map(({ labels }) => labels[3])).toEqual(
    Array.from({ length: 50 }, (_, s) => String(s).padStart(2, "0")),
  );
  expect(whole[7]?.times).toEqual(Array.from({ length: 600 }, (_, n) => START_MS + n * 30_000));
  const some = await inColumns(data, selectOf(0, 2e12, { limit: 20 }));
  expect(some).toEqual(whole.slice(0, 20));
  const named = await inColumns(data, selectOf(0, 2e12, { skipChunks: true }));
  expect(named.map(({ labels, times }) => [labels, times])).toEqual(
    whole.map(({ labels }) => [labels, []]),
  );
});

test("a scan gives the kernel's memory back, also when nobody reads it to its end", async () => {
  const data = new DirectoryColumns(new DataDirectory(built));
  await inColumns(data, selectOf(0, 2e12));
  const before = kernel().exports.arenaBytesInUse();
  for (let i = 0; i < 3; i++) {
    for await (const batch of data.select(selectOf(0, 2e12))) {
      expect(batch.length).toBeGreaterThan(0);
      break;
    }
  }
  expect(kernel().exports.arenaBytesInUse()).toBe(before);
});

test("a chunk that was changed on disk is told with its place", async () => {
  const copy = path.join(scratch, "damaged");
  cpSync(built, copy, { recursive: true });
  const [block = ""] = readdirSync(copy).sort();
  const file = path.join(copy, block, "chunks", "000001");
  const bytes = readFileSync(file);
  bytes[5000] = (bytes[5000] as number) ^ 1;
  writeFileSync(file, bytes);
  const data = new DirectoryColumns(new DataDirectory(copy));
  await expect(inColumns(data, selectOf(0, 2e12))).rejects.toThrow(ChunkFileDamagedError);
});
