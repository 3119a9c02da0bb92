import { expect, test } from "vitest";
import { growthPercent } from "./heap-growth.ts";

const MIB = 1 << 20;

test.each<[usedMib: number, percent: number]>([
  [1, 25_500],
  [0, 25_500],
  [26, 884],
  [64, 300],
  [127, 101],
  [128, 0],
  [4000, 0],
])("of a heap that may grow to 256 MiB and holds %d, %d percent are let go", (used, percent) =>
  expect(growthPercent(used * MIB, 256 * MIB)).toBe(percent),
);
