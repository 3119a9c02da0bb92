/** Golden: what a real Thanos receiver uploaded (test/golden/thanos). */

import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MarkKind } from "./marks.ts";
import { formatMark, MARK_FILES, parseMark } from "./marks.ts";
import type { BlockMeta, ThanosMeta } from "./meta.ts";
import {
  BlockMetaError,
  externalLabels,
  formatUploadedMeta,
  formatUploadTime,
  parseBlockMeta,
  uploadTimeMs,
} from "./meta.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/thanos");
const ULID = "01M82YC7QKENRYZN3NA7W8CVT8";
const golden = (name: string) => readFileSync(path.join(GOLDEN, "bucket", ULID, name));

test("the uploaded meta.json is read and written back byte for byte", () => {
  const meta = parseBlockMeta(golden("meta.json"));
  expect(formatUploadedMeta(meta as BlockMeta & { thanos: ThanosMeta })).toBe(
    golden("meta.json").toString(),
  );
  expect(externalLabels(meta)).toEqual([
    "region",
    "eu",
    "replica",
    "r0",
    "tenant_id",
    "default-tenant",
  ]);
  expect(uploadTimeMs(meta)).toBe(Date.UTC(2026, 10, 23, 0, 54, 57, 570));
});

test("the local meta.json has no thanos part", () => {
  const meta = parseBlockMeta(readFileSync(path.join(GOLDEN, "local-meta.json")));
  expect(meta).toMatchObject({ ulid: ULID, minTime: 1700000000000, stats: { numSamples: 623 } });
  expect(meta.thanos).toBeUndefined();
  expect(externalLabels(meta)).toEqual([]);
});

test.each<[kind: MarkKind, reason: string]>([
  ["deletion", ""],
  ["no-compact", "manual"],
  ["no-downsample", "manual"],
])("the %s mark is read and written back byte for byte", (kind, reason) => {
  const body = golden(MARK_FILES[kind]);
  const mark = parseMark(kind, body);
  expect(mark).toEqual({ id: ULID, details: 'why "é"', reason, timeSeconds: 1795395315 });
  expect(formatMark(kind, mark)).toBe(body.toString());
});

test("strings are escaped as Go escapes them", () => {
  const mark = { id: ULID, details: "<a> & b\u2028", reason: "", timeSeconds: 1 };
  expect(formatMark("deletion", mark)).toBe(
    `{"id":"${ULID}","version":1,"details":"\\u003ca\\u003e \\u0026 b\\u2028","deletion_time":1}`,
  );
});

test.each([
  [Date.UTC(2026, 0, 2, 3, 4, 5, 670), "2026-01-02T03:04:05.67Z"],
  [Date.UTC(2026, 0, 2, 3, 4, 50, 0), "2026-01-02T03:04:50Z"],
  [Date.UTC(2026, 0, 2, 3, 4, 0, 1), "2026-01-02T03:04:00.001Z"],
])("%d is written %s", (time, text) => {
  expect(formatUploadTime(time)).toBe(text);
});

describe("a meta.json that cannot be right is refused with what is wrong", () => {
  const valid = JSON.parse(golden("meta.json").toString()) as Record<string, unknown>;
  const thanos = valid["thanos"] as Record<string, unknown>;
  test.each<[name: string, text: string, message: RegExp]>([
    ["no JSON", "{", /meta\.json: /],
    ["a list", "[]", /it is \[\], not an object/],
    ["version 2", JSON.stringify({ ...valid, version: 2 }), /version is 2, not 1/],
    ["no version", JSON.stringify({ ...valid, version: undefined }), /version is missing/],
    ["a bad ULID", JSON.stringify({ ...valid, ulid: "../x" }), /not a ULID/],
    ["a time that is text", JSON.stringify({ ...valid, minTime: "1" }), /minTime is "1"/],
    ["times in reverse", JSON.stringify({ ...valid, minTime: 1, maxTime: 0 }), /above maxTime/],
    [
      "thanos version 2",
      JSON.stringify({ ...valid, thanos: { ...thanos, version: 2 } }),
      /thanos\.version/,
    ],
    [
      "a label that is a number",
      JSON.stringify({ ...valid, thanos: { ...thanos, labels: { a: 1 } } }),
      /thanos\.labels\.a is 1/,
    ],
    [
      "a file outside the block",
      JSON.stringify({ ...valid, thanos: { ...thanos, files: [{ rel_path: "../x" }] } }),
      /no path inside the block/,
    ],
    [
      "a negative size",
      JSON.stringify({
        ...valid,
        thanos: { ...thanos, files: [{ rel_path: "x", size_bytes: -1 }] },
      }),
      /below 0/,
    ],
  ])("%s", (_, text, message) => {
    expect(() => parseBlockMeta(text)).toThrow(message);
    expect(() => parseBlockMeta(text)).toThrow(BlockMetaError);
  });
});

test("whatever JSON it is, it is read or refused as a BlockMetaError", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      try {
        parseBlockMeta(text);
      } catch (error) {
        expect(error).toBeInstanceOf(BlockMetaError);
      }
    }),
  );
});
