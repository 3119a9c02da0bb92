import { expect, test } from "vitest";
import type { BucketBlock } from "./bucket-block.ts";
import type { ServedBlock } from "./gateway.ts";
import { blocksFor } from "./resolution.ts";

function block(
  name: string,
  mint: number,
  maxt: number,
  resolutionMs: number,
  replica = "a",
): ServedBlock {
  // The choice looks at times and labels only.
  const queryable = {} as BucketBlock;
  return { ulid: name, labels: ["replica", replica], mint, maxt, resolutionMs, queryable };
}

const RAW = [
  block("r0", 0, 9, 0),
  block("r1", 10, 19, 0),
  block("r2", 20, 29, 0),
  block("r3", 30, 39, 0),
];
const FIVE = [block("f0", 0, 19, 300_000)];
const HOUR = [block("h1", 10, 19, 3_600_000)];
const ALL = [...RAW, ...FIVE, ...HOUR].sort((a, b) => a.mint - b.mint);

test.each<[name: string, mint: number, maxt: number, max: number, chosen: string[]]>([
  ["raw samples only", 0, 39, 0, ["r0", "r1", "r2", "r3"]],
  ["five minutes, raw where they are missing", 0, 39, 300_000, ["f0", "r2", "r3"]],
  ["an hour, then five minutes, then raw", 0, 39, 3_600_000, ["f0", "h1", "r2", "r3"]],
  ["only what overlaps", 12, 15, 3_600_000, ["h1"]],
  ["the last millisecond of one block and the first of the next", 19, 20, 0, ["r1", "r2"]],
  ["nothing beyond the data", 40, 50, 3_600_000, []],
])("%s", (_, mint, maxt, max, chosen) => {
  expect(blocksFor(ALL, mint, maxt, max).map(({ ulid }) => ulid)).toEqual(chosen);
});

test("other external labels are other data", () => {
  const others = [block("b", 0, 39, 0, "b"), ...ALL];
  expect(blocksFor(others, 0, 39, 300_000).map(({ ulid }) => ulid)).toEqual([
    "b",
    "f0",
    "r2",
    "r3",
  ]);
});

test("a finer block that fills two gaps is taken once", () => {
  const wide = block("w", 0, 39, 0);
  const blocks = [wide, block("x", 5, 9, 300_000), block("y", 20, 24, 300_000)];
  expect(blocksFor(blocks, 0, 39, 300_000).map(({ ulid }) => ulid)).toEqual(["w", "x", "y"]);
});
