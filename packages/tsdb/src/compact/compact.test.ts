import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Chunk } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { BlockReader } from "../block/block-reader.ts";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import { encodeSamples } from "../chunkenc/encode-samples.ts";
import { seriesNotation } from "../chunkenc/notation.ts";
import { bitsOf } from "../chunkenc/samples.ts";
import { blockDirectories, DataDirectory } from "../data-dir/data-directory.ts";
import { Verifier } from "../tools/verify.ts";
import { compactBlocks, DownsampledBlockError, mergeChunks, overlappingBlocks } from "./compact.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../../test/golden/tsdb");

const temporary: string[] = [];
function scratch(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "compact-"));
  temporary.push(dir);
  return dir;
}
afterEach(() => {
  for (const dir of temporary.splice(0)) rmSync(dir, { recursive: true });
});

function shown(dir: string, withStartTimes = false): unknown[] {
  return Array.from(new DataDirectory(dir).select([], -Infinity, Infinity), ({ labels, samples }) =>
    seriesNotation(labels, samples, withStartTimes),
  );
}

function errors(dir: string): unknown[] {
  const verifier = new Verifier();
  verifier.directory(dir);
  return verifier.findings;
}

const readers = (dir: string) => blockDirectories(dir).map((block) => new BlockReader(block));

test("blocks of samples out of order become the block that Prometheus makes of them", async () => {
  const blocks = readers(path.join(root, "blocks/ooo-overlapping"));
  expect(overlappingBlocks(blocks).length).toBe(2);
  const dir = scratch();
  const meta = await compactBlocks(dir, blocks, 1_700_000_000_000);
  const golden = JSON.parse(
    readFileSync(path.join(root, "blocks/ooo-vertically-compacted.json"), "utf8"),
  ) as {
    blocks: { content: { meta: { stats: unknown }; series: unknown[] } }[];
  };
  const [want] = golden.blocks;
  expect(shown(dir)).toEqual(want?.content.series);
  expect(meta?.stats.numSamples).toBe(289);
  expect(meta?.compaction.level).toBe(2);
  const ulids = blocks.map((block) => block.meta.ulid).sort();
  expect(meta?.compaction.sources).toEqual(ulids);
  expect(meta?.compaction.parents?.map(({ ulid }) => ulid).sort()).toEqual(ulids);
  expect(errors(dir)).toEqual([]);
});

test.each(["floats", "negative-time", "tombstones", "histograms", "xor2-and-start-timestamps"])(
  "blocks of %s as one hold what they held, without what was deleted",
  async (name) => {
    const source = path.join(root, "blocks", name);
    const dir = scratch();
    const withStartTimes = name.startsWith("xor2");
    const meta = await compactBlocks(dir, readers(source), 1_700_000_000_000);
    expect(shown(dir, withStartTimes)).toEqual(shown(source, withStartTimes));
    expect(meta?.stats.numTombstones).toBeUndefined();
    expect(errors(dir)).toEqual([]);
  },
);

test("a downsampled block is refused", async () => {
  const name = readdirSync(path.join(root, "downsample")).find((dir) =>
    dir.startsWith("floats-5m-"),
  );
  const block = new BlockReader(path.join(root, "downsample", name ?? ""));
  const dir = scratch();
  await expect(compactBlocks(dir, [block], 1_700_000_000_000)).rejects.toThrow(
    DownsampledBlockError,
  );
  expect(readdirSync(dir)).toEqual([]);
});

test("of chunks that overlap in any way every time comes once, with a value that one of them has", () => {
  const list = fc.uniqueArray(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(fc.array(list, { minLength: 1, maxLength: 5 }), (lists) => {
      const chunks: Chunk[] = [];
      const want = new Map<number, Set<bigint>>();
      for (const [i, times] of lists.entries()) {
        times.sort((a, b) => a - b);
        const values = BigUint64Array.from(times, (t) => bitsOf(t + i / 10));
        const [chunk] = encodeSamples(
          { times: BigInt64Array.from(times, BigInt), values, startTimes: null, histograms: null },
          false,
        );
        chunks.push(chunk as Chunk);
        for (const [k, t] of times.entries()) {
          want.set(t, (want.get(t) ?? new Set()).add(values[k] as bigint));
        }
      }
      const merged = mergeChunks(chunks);
      let last = -1;
      let count = 0;
      for (const chunk of merged) {
        expect(chunk.minTime).toBeGreaterThan(last);
        last = chunk.maxTime;
        const { times, values } = decodeSamples(chunk);
        for (const [k, t] of times.entries()) {
          expect(want.get(Number(t))).toContain(values[k]);
          count++;
        }
      }
      expect(count).toBe(want.size);
    }),
  );
});
