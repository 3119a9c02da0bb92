import fc from "fast-check";
import { expect, test } from "vitest";
import { kernel, SLACK_BYTES } from "./index.ts";

test("behind every piece there are bytes to read, also where the memory ends", () => {
  const k = kernel();
  const pieces: number[] = [];
  let grown = 0;
  let before = k.memory.buffer.byteLength;
  // Hashing a series' labels reads up to 15 bytes past them: a piece at the very end of the memory trapped.
  // The smallest pieces reach every place.
  const size = 16;
  for (let i = 0; grown < 2 && i < 1_000_000; i++) {
    const at = k.alloc(size);
    pieces.push(at);
    const now = k.memory.buffer.byteLength;
    if (at + size + SLACK_BYTES > now) expect.fail(`${size} bytes at ${at} of ${now}`);
    if (now !== before) grown++;
    before = now;
  }
  expect(grown).toBe(2);
  for (const at of pieces) k.free(at, size);
});

test("pieces that live at the same time never overlap, whatever comes and goes", () => {
  const k = kernel();
  const inUse = k.exports.arenaBytesInUse();
  const step = fc.tuple(
    fc.oneof(fc.integer({ min: 1, max: 1200 }), fc.integer({ min: 1, max: 40_000 })),
    fc.nat(),
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const live: { at: number; size: number; mark: number }[] = [];
      const check = ({ at, size, mark }: (typeof live)[number]) => {
        expect(at % 16).toBe(0);
        expect(k.bytes[at]).toBe(mark);
        expect(k.bytes[at + size - 1]).toBe(mark);
        expect(k.bytes.subarray(at, at + size).every((byte) => byte === mark)).toBe(true);
        k.free(at, size);
      };
      for (const [i, [size, which, frees]] of steps.entries()) {
        if (frees && live.length > 0) {
          const [piece] = live.splice(which % live.length, 1);
          if (piece !== undefined) check(piece);
        }
        const at = k.alloc(size);
        const mark = i % 251;
        k.bytes.fill(mark, at, at + size);
        live.push({ at, size, mark });
      }
      for (const piece of live) check(piece);
    }),
    { numRuns: 60 },
  );
  expect(k.exports.arenaBytesInUse()).toBe(inUse);
});

test("what pieces of one size leave behind serves those of others", () => {
  const k = kernel();
  const round = (size: number) => {
    const pieces = Array.from({ length: 20_000 }, () => k.alloc(size));
    for (const at of pieces) k.free(at, size);
  };
  round(1088);
  const before = k.memory.buffer.byteLength;
  // Open chunks of many series outgrow their sizes one after the other.
  for (let size = 16; size <= 1088; size += 16) round(size);
  expect(k.memory.buffer.byteLength).toBe(before);
});
