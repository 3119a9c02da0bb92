import { expect, test } from "vitest";
import { kernel, SLACK_BYTES } from "./index.ts";

test("behind every piece there are bytes to read, also where the memory ends", () => {
  const k = kernel();
  const pieces: [at: number, size: number][] = [];
  let grown = 0;
  let before = k.memory.buffer.byteLength;
  // Hashing a series' labels reads up to 15 bytes past them: a piece at the very end of the memory trapped.
  for (let i = 0; grown < 3 && i < 100_000; i++) {
    const size = 16 * (1 + (i % 60));
    const at = k.alloc(size);
    pieces.push([at, size]);
    const now = k.memory.buffer.byteLength;
    if (at + size + SLACK_BYTES > now) expect.fail(`${size} bytes at ${at} of ${now}`);
    if (now !== before) grown++;
    before = now;
  }
  expect(grown).toBe(3);
  for (const [at, size] of pieces) k.free(at, size);
});
