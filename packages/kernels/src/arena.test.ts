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
