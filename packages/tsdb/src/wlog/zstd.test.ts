import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { PAGE_SIZE, PART_HEADER_SIZE, ZSTD_FLAG } from "./segment.ts";
import { ZstdFrameError, zstdDecode } from "./zstd.ts";

/** A record that Prometheus compressed; see test/golden/tsdb/README.md. */
function goldenFrame(): Uint8Array {
  const url = new URL("../../../../test/golden/tsdb/db/ooo-zstd/wal/00000000", import.meta.url);
  const bytes = readFileSync(url);
  for (let at = 0; at < PAGE_SIZE; ) {
    const size = bytes.readUInt16BE(at + 1);
    const from = at + PART_HEADER_SIZE;
    if (((bytes[at] as number) & ZSTD_FLAG) !== 0)
      return new Uint8Array(bytes.subarray(from, from + size));
    at = from + size;
  }
  throw new Error("no compressed record");
}

const frame = goldenFrame();
const whole = zstdDecode(frame, 1 << 20);

test("a frame is taken up to the size allowed, not beyond", () => {
  expect(whole[0]).toBeLessThanOrEqual(13);
  expect(zstdDecode(frame, Math.max(whole.length, 1 << 18))).toEqual(whole);
  expect(() => zstdDecode(frame, whole.length - 1)).toThrow(ZstdFrameError);
});

test("a header that claims more than is allowed is refused before memory is given", () => {
  const huge = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0);
  expect(() => zstdDecode(huge, 1 << 20)).toThrow(/bytes, of which at most 1048576 are taken/);
  const window = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0xa0, 1, 0, 0);
  expect(() => zstdDecode(window, 1 << 20)).toThrow(/1073741824 bytes/);
});

test("every cut of a frame is an error", () => {
  for (let end = 0; end < frame.length; end++) {
    expect(() => zstdDecode(frame.subarray(0, end), 1 << 20)).toThrow(Error);
  }
});
