import { bench, describe } from "vitest";
import { copyShared } from "./shared-copy.ts";

const shared = new Uint8Array(new SharedArrayBuffer(1 << 20));
const plain = new Uint8Array(1 << 20);
const LENGTH = 500_000;
const odd = plain.subarray(5, 5 + LENGTH);
const even = plain.subarray(0, LENGTH);

describe("500 KB into shared memory", () => {
  bench("set, lying alike", () => shared.set(even));
  bench("set, not lying alike", () => shared.set(odd));
  bench("copyShared, not lying alike", () => copyShared(shared, odd));
});

describe("500 KB out of shared memory", () => {
  bench("set, not lying alike", () => odd.set(shared.subarray(0, LENGTH)));
  bench("copyShared, not lying alike", () => copyShared(odd, shared.subarray(0, LENGTH)));
});
