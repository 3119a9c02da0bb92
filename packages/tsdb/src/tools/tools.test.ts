import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Labels, labelsFromPairs } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { BlockReader } from "../block/block-reader.ts";
import { formatValue } from "../chunkenc/notation.ts";
import { bitsOf } from "../chunkenc/samples.ts";
import { DataDirectory } from "../data-dir/data-directory.ts";
import { analyzeBlock } from "./analyze.ts";
import { BlockBuilder, ConflictingSampleError } from "./create-blocks.ts";
import { formatOpenMetrics, OpenMetricsError, OpenMetricsReader } from "./openmetrics.ts";
import { Verifier } from "./verify.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../../test/golden/tsdb");
const HOURS_2 = 7_200_000;

const temporary: string[] = [];
function scratch(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "tsdb-tools-"));
  temporary.push(dir);
  return dir;
}
afterEach(() => {
  for (const dir of temporary.splice(0)) rmSync(dir, { recursive: true });
});

function findings(dir: string): string[] {
  const verifier = new Verifier();
  verifier.directory(dir);
  return verifier.findings.map(
    ({ severity, where, what }) => `${severity} ${path.relative(dir, where)}: ${what}`,
  );
}

const goldenBlocks = ["blocks", "downsample"].flatMap((kind) =>
  readdirSync(path.join(root, kind), { recursive: true, encoding: "utf8" })
    .filter((name) => path.basename(name) === "meta.json")
    .map((name) => path.dirname(path.join(kind, name))),
);

test.each(goldenBlocks)("nothing is wrong with %s", (name) => {
  // A downsampled block's directory is named after its resolution.
  const wrong = findings(path.join(root, name)).filter(
    (text) => !/meta.json is of block|no tombstones file|num(Float)?Samples/.test(text),
  );
  expect(wrong).toEqual([]);
});

test.each([
  "floats-uncompressed",
  "ooo-zstd",
  "tombstones-segments-checkpoint",
  "start-timestamps",
])("nothing is wrong with database %s", (name) =>
  expect(findings(path.join(root, "db", name))).toEqual([]),
);

test("a torn log is a warning, a checksum that fails in its middle an error", () => {
  expect(findings(path.join(root, "db/torn-tail")).join()).toMatch(/^warning wal: segment 0 at 6/);
  expect(findings(path.join(root, "db/bad-crc-in-middle")).join()).toMatch(
    /^error wal: segment 0 at \d+: checksum/,
  );
});

const [victim = ""] = goldenBlocks.filter((name) => name.includes("tombstones"));

test.each(["index", "chunks/000001", "tombstones"])(
  "every bit flipped in %s is found, but in padding",
  (file) => {
    const dir = path.join(scratch(), path.basename(victim));
    cpSync(path.join(root, victim), dir, { recursive: true });
    const target = path.join(dir, file);
    const bytes = readFileSync(target);
    const silent: number[] = [];
    for (let at = 0; at < bytes.length; at++) {
      const flipped = Uint8Array.from(bytes);
      flipped[at] = (flipped[at] as number) ^ 0x40;
      writeFileSync(target, flipped);
      if (findings(dir).length === 0) silent.push(at);
    }
    // What nobody reads: zeros up to the next alignment, and those behind a file's version.
    expect(silent.filter((at) => bytes[at] !== 0)).toEqual([]);
    expect(silent.length).toBeLessThan(64);
  },
);

test.each(["index", "chunks/000001", "tombstones"])("every cut of %s is found", (file) => {
  const dir = path.join(scratch(), path.basename(victim));
  cpSync(path.join(root, victim), dir, { recursive: true });
  const target = path.join(dir, file);
  const size = readFileSync(target).length;
  for (let end = size - 1; end >= 0; end -= 3) {
    truncateSync(target, end);
    expect(findings(dir).join()).toContain("error");
  }
});

test("analysis counts what the block holds", () => {
  const found = analyzeBlock(new BlockReader(path.join(root, victim)), 2);
  expect(found).toMatchObject({ series: 4, chunks: 4, samples: 200, labelNames: 2, labelPairs: 5 });
  expect(found.valuesByName).toEqual([
    { name: "n", count: 4 },
    { name: "__name__", count: 1 },
  ]);
  expect(found.seriesByMetric).toEqual([{ name: "del", count: 4 }]);
});

const labelText = fc
  .string({ unit: "binary", minLength: 1, maxLength: 8 })
  .filter((text) => !text.includes("\r"));
const labelSet = fc
  .tuple(labelText, fc.array(fc.tuple(labelText, labelText), { maxLength: 3 }))
  .map(([name, pairs]): Labels => labelsFromPairs([...pairs, ["__name__", name]]));

test("series come back from OpenMetrics text as they were written, names of any characters included", () => {
  fc.assert(
    fc.property(
      labelSet,
      fc.array(fc.tuple(fc.double({ noNaN: true }), fc.integer({ min: -1e12, max: 2e12 })), {
        minLength: 1,
      }),
      (labels, list) => {
        const { text } = formatOpenMetrics(labels, {
          times: BigInt64Array.from(list, ([, t]) => BigInt(t)),
          values: BigUint64Array.from(list, ([v]) => bitsOf(v)),
          startTimes: null,
          histograms: null,
        });
        const reader = new OpenMetricsReader();
        const got = text
          .split("\n")
          .slice(0, -1)
          .map((line) => reader.read(line));
        expect(
          got.map((sample) => [sample?.labels, sample?.time, formatValue(sample?.value ?? 0n)]),
        ).toEqual(list.map(([v, t]) => [labels, t, formatValue(bitsOf(v))]));
        expect(() => reader.end()).toThrow(OpenMetricsError);
        reader.read("# EOF");
        reader.end();
      },
    ),
  );
});

test.each([
  ["a", /no timestamp/],
  ["a 1", /no timestamp/],
  ["a x 1", /not a value: x/],
  ["a 1 x", /not a timestamp: x/],
  ['a{b="c 1 2', /labels have no end/],
  ["a{b} 1 2", /label b has no value/],
  ['a{b="1",b="2"} 1 2', /a label is there twice/],
  ['{b="1"} 1 2', /no metric name/],
  ["a 1 2 3", /more than a value and a timestamp/],
])("the line %s is refused with its number", (line, message) => {
  const reader = new OpenMetricsReader();
  reader.read("# TYPE a gauge");
  expect(() => reader.read(line)).toThrow(message);
  expect(() => new OpenMetricsReader().read(line)).toThrow(/^line 1: /);
});

async function blocksOf(
  dir: string,
  samples: readonly [labels: Labels, time: number, value: number][],
) {
  const builder = new BlockBuilder(HOURS_2);
  for (const [labels, time, value] of samples) builder.add(labels, time, bitsOf(value));
  let clock = 1_700_000_000_000;
  return builder.write(dir, () => clock++);
}

function seeded(series: number, count: number): [Labels, number, number][] {
  const out: [Labels, number, number][] = [];
  let state = 1;
  for (let s = 0; s < series; s++) {
    const labels = labelsFromPairs([
      ["__name__", `m${s % 3}`],
      ["i", String(s)],
      ["ü", 'é\n"\\'],
    ]);
    for (let i = 0; i < count; i++) {
      state = (state * 48_271) % 2_147_483_647;
      out.push([labels, 1_700_000_000_000 + i * 15_000 + s, i % 7 === 0 ? state / 1000 : i]);
    }
  }
  return out;
}

test("samples in any order become blocks of two hours in which nothing is wrong", async () => {
  const dir = scratch();
  const samples = seeded(5, 700);
  const metas = await blocksOf(dir, [...samples].reverse());
  expect(metas.length).toBe(2);
  expect(findings(dir)).toEqual([]);
  const got = [...new DataDirectory(dir).select([], -Infinity, Infinity)];
  expect(got.flatMap(({ samples: { times } }) => [...times]).length).toBe(samples.length);
  await expect(
    blocksOf(dir, [...samples, [samples[0]?.[0] as Labels, samples[0]?.[1] as number, 0.5]]),
  ).rejects.toThrow(ConflictingSampleError);
});

const PROMTOOL = "/usr/bin/promtool";

test.skipIf(!existsSync(PROMTOOL))(
  "promtool's dump of our blocks gives back every float sample",
  async () => {
    const dir = scratch();
    const samples = seeded(20, 600);
    await blocksOf(dir, samples);
    // Its dump wants a whole data directory.
    mkdirSync(path.join(dir, "wal"));
    const { stdout, status, stderr } = spawnSync(PROMTOOL, ["tsdb", "dump", dir], {
      encoding: "utf8",
      maxBuffer: 1 << 26,
    });
    expect([status, stderr]).toEqual([0, ""]);
    const theirs = stdout
      .trim()
      .split("\n")
      .map((line) => {
        const [, i = "", value = "", time = ""] = /i="(\d+)".*\} (\S+) (\d+)$/.exec(line) ?? [];
        return `${i} ${Number(value)} ${time}`;
      });
    const ours = samples.map(
      ([labels, time, value]) => `${labels[labels.indexOf("i") + 1]} ${value} ${time}`,
    );
    expect(theirs.sort()).toEqual(ours.sort());
  },
);

test.skipIf(!existsSync(PROMTOOL))(
  "blocks that promtool makes of our text hold every sample (needs promtool)",
  () => {
    const dir = scratch();
    const bySeries = new Map<Labels, [time: number, value: number][]>();
    for (const [labels, time, value] of seeded(7, 300)) {
      // Its release reads no names beyond the old set of characters.
      const plain = labels.filter((_, i) => !["ü", 'é\n"\\'].includes(labels[i] as string));
      const known = [...bySeries.keys()].find((other) => other.join() === plain.join()) ?? plain;
      bySeries.set(known, [...(bySeries.get(known) ?? []), [time, value]]);
    }
    let text = "";
    for (const [labels, list] of bySeries) {
      text += formatOpenMetrics(labels, {
        times: BigInt64Array.from(list, ([t]) => BigInt(t)),
        values: BigUint64Array.from(list, ([, v]) => bitsOf(v)),
        startTimes: null,
        histograms: null,
      }).text;
    }
    const file = path.join(dir, "in.om");
    writeFileSync(file, `${text}# EOF\n`);
    const out = path.join(dir, "blocks");
    const made = spawnSync(PROMTOOL, ["tsdb", "create-blocks-from", "openmetrics", file, out], {
      encoding: "utf8",
    });
    expect([made.status, made.stderr]).toEqual([0, ""]);
    expect(findings(out).filter((text) => !text.startsWith("warning"))).toEqual([]);
    const got = Array.from(
      new DataDirectory(out).select([], -Infinity, Infinity),
      ({ labels, samples: { times, values } }) => [
        labels.join(),
        Array.from(times, (t, i) => [Number(t), formatValue(values[i] as bigint)]),
      ],
    );
    const want = [...bySeries].map(([labels, list]) => [
      labels.join(),
      list.map(([t, v]) => [t, formatValue(bitsOf(v))]),
    ]);
    const byLabels = (a: readonly unknown[], b: readonly unknown[]) =>
      String(a[0]) < String(b[0]) ? -1 : 1;
    expect(got.sort(byLabels)).toEqual(want.sort(byLabels));
  },
);
