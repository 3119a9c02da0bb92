import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { assert, nat, property } from "fast-check";
import { describe, expect, test } from "vitest";
import { ZstdFrameError, ZstdTooLargeError } from "./errors.ts";
import { zstdDecode } from "./frame.ts";

type Case = { name: string; level: string; length: number; sha256: string; frame: string };
const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../test/golden/zstd.json"), "utf8"),
) as { cases: Case[] };
const frames = golden.cases.map(({ frame }) => new Uint8Array(Buffer.from(frame, "hex")));
const MOST = 1 << 20;

describe("a frame of zstd's", () => {
  test.each(golden.cases)("$name, $level", ({ length, sha256, frame }) => {
    const decoded = zstdDecode(Buffer.from(frame, "hex"), length);
    expect(decoded.length).toBe(length);
    expect(createHash("sha256").update(decoded).digest("hex")).toBe(sha256);
  });

  test.each(golden.cases.filter(({ length }) => length > 0))(
    "$name, $level: is refused by its size where less is allowed",
    ({ length, frame }) => {
      expect(() => zstdDecode(Buffer.from(frame, "hex"), length - 1)).toThrow(ZstdTooLargeError);
    },
  );
});

test("several frames are one content, and skipped ones are none", () => {
  const one = frames[1] as Uint8Array;
  const skipped = Buffer.from("542a4d18030000000a0b0c", "hex");
  const whole = zstdDecode(one, MOST);
  const all = zstdDecode(Buffer.concat([one, skipped, one, one]), MOST);
  expect(all).toStrictEqual(new Uint8Array(Buffer.concat([whole, whole, whole])));
});

test.each<[name: string, hex: string, error: RegExp]>([
  ["nothing", "", /no header/],
  ["another magic", "28b52ffe2000010000", /no header/],
  ["a content of 2^56 bytes", "28b52ffde0000000000000000100010000", /of which at most/],
  ["a window of 1 GiB", "28b52ffd00a0010000", /1073741824 bytes, of which at most/],
  [
    "a second frame with a content of 4 GiB",
    "28b52ffd2000010000" + "28b52ffda0ffffffff010000",
    /of which at most/,
  ],
  ["a dictionary", "28b52ffd21050001000061", /dictionary/],
  ["a reserved flag", "28b52ffd2800010000", /reserved/],
  ["a block of no type", "28b52ffd2001070000", /no type/],
  ["less than the header says", "28b52ffd2005010000", /0 bytes where the header says 5/],
  ["a run longer than a block", "28b52ffd0058fbff1f00", /a block of 262143 bytes/],
])("%s is refused: %s", (_, hex, error) => {
  expect(() => zstdDecode(Buffer.from(hex, "hex"), MOST)).toThrow(error);
});

test("a record of Prometheus' log is a frame", () => {
  const log = path.join(
    import.meta.dirname,
    "../../../../test/golden/tsdb/db/ooo-zstd/wal/00000000",
  );
  const page = readFileSync(log);
  let records = 0;
  // u8 type, bit 4 for zstd | u16 length | u32 checksum | the record; a page's rest is zeros.
  for (let at = 0; page[at] !== 0 && at + 7 < 32_768; at += 7 + page.readUInt16BE(at + 1)) {
    if (((page[at] as number) & 0x10) === 0) continue;
    const record = zstdDecode(page.subarray(at + 7, at + 7 + page.readUInt16BE(at + 1)), MOST);
    expect(record[0]).toBeLessThanOrEqual(13);
    records++;
  }
  expect(records).toBeGreaterThan(0);
});

test("every cut of a frame is an error", () => {
  for (const frame of frames) {
    for (let end = 0; end < frame.length; end += Math.ceil(frame.length / 200)) {
      expect(() => zstdDecode(frame.subarray(0, end), MOST)).toThrow(ZstdFrameError);
    }
  }
});

test("whatever is changed in a frame, it decodes to no more than allowed or is refused", () => {
  assert(
    property(nat(), nat(), nat(), nat(255), (which, at, other, value) => {
      const frame = Uint8Array.from(frames[which % frames.length] as Uint8Array);
      frame[at % frame.length] = value;
      frame[other % Math.min(64, frame.length)] = (value * 31) & 0xff;
      try {
        expect(zstdDecode(frame, MOST).length).toBeLessThanOrEqual(MOST);
      } catch (error) {
        expect(error).toBeInstanceOf(ZstdFrameError);
      }
    }),
    { numRuns: 5000 },
  );
});
