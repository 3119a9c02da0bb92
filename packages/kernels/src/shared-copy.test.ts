import fc from "fast-check";
import { expect, test } from "vitest";
import { copyShared } from "./shared-copy.ts";

const SIZE = 200_000;
const place = fc.nat(20);

test("what is copied is what was there, wherever both begin, and nothing else changes", () =>
  fc.assert(
    fc.property(
      fc.boolean(),
      place,
      place,
      place,
      fc.nat(150_000),
      (toShared, a, b, at, length) => {
        const plain = new Uint8Array(SIZE);
        const shared = new Uint8Array(new SharedArrayBuffer(SIZE));
        const [to, from] = toShared ? [shared, plain] : [plain, shared];
        for (let i = 0; i < SIZE; i++) from[i] = (i * 31 + (i >> 8)) & 0xff;
        copyShared(to.subarray(a), from.subarray(b, b + length), at);
        const want = Buffer.alloc(SIZE);
        want.set(from.subarray(b, b + length), a + at);
        expect(want.equals(Uint8Array.from(to))).toBe(true);
      },
    ),
    { numRuns: 60 },
  ));

test("what does not fit is refused", () =>
  expect(() => copyShared(new Uint8Array(999), new Uint8Array(1000).subarray(1), 1)).toThrow(
    RangeError,
  ));
