/** Requests that say the same in other bytes: fields in another order, lengths written long, unknown fields. */

import { WriteRequestBuffer } from "@torus/kernels";
import { afterEach, expect, test } from "vitest";
import { Head } from "./head.ts";

const START = 1_700_000_000_000;

const heads: Head[] = [];
afterEach(() => {
  for (const head of heads.splice(0)) head.close();
});

function newHead(): Head {
  const options = { chunkRangeMs: 7_200_000, seriesLimit: 0, now: () => START };
  const head = new Head(
    { log: () => undefined },
    { log: () => undefined },
    { ...options, outOfOrderWindowMs: 0, maxExemplars: 0 },
  );
  heads.push(head);
  return head;
}

const text = (value: string) => [...Buffer.from(value)];
const long = (length: number) => [(length & 127) | 128, length >> 7];
const field = (number: number, body: number[]) => [
  number * 8 + 2,
  ...(body.length < 128 ? [body.length] : long(body.length)),
  ...body,
];
/** A length in two bytes where one would do. */
const padded = (number: number, body: number[]) => [number * 8 + 2, ...long(body.length), ...body];

const time = [0x80, 0xd0, 0xac, 0xf3, 0xbc, 0x31];
const sample = [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, ...time];
const swapped = [16, ...time, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
const name = field(1, [...field(1, text("__name__")), ...field(2, text("up"))]);
const job = field(1, [...field(1, text("job")), ...field(2, text("a"))]);

function append(head: Head, fields: number[]): number[] {
  const body = Uint8Array.from(field(1, fields));
  const request = WriteRequestBuffer.acquire();
  try {
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    request.walk(null);
    return [...head.append(request, null).byVerdict];
  } finally {
    request.release();
  }
}

test.each<[name: string, fields: number[]]>([
  ["the usual bytes", [...name, ...job, ...field(2, sample)]],
  ["the sample before the labels", [...field(2, sample), ...name, ...job]],
  ["the sample between the labels", [...name, ...field(2, sample), ...job]],
  ["a label's length written long", [...padded(1, name.slice(2)), ...job, ...field(2, sample)]],
  ["the sample's length written long", [...name, ...job, ...padded(2, sample)]],
  ["the timestamp before the value", [...name, ...job, ...field(2, swapped)]],
  [
    "a value before its name",
    [...name, ...field(1, [...field(2, text("a")), ...field(1, text("job"))]), ...field(2, sample)],
  ],
  [
    "a name given twice",
    [
      ...name,
      ...field(1, [...field(1, text("x")), ...field(1, text("job")), ...field(2, text("a"))]),
      ...field(2, sample),
    ],
  ],
  ["an unknown field", [...name, 0x30, 5, ...job, ...field(2, sample)]],
  [
    "a tag written long",
    [0x8a, 0x00, name.length - 2, ...name.slice(2), ...job, ...field(2, sample)],
  ],
])("%s: the same series, the same sample", (_, fields) => {
  const head = newHead();
  expect(append(head, [...name, ...job, ...field(2, sample)])).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(append(head, fields)).toEqual([0, 1, 0, 0, 0, 0, 0, 0, 0]);
  expect(head.seriesCount).toBe(1);
  // And the other way round: the first to come decides nothing.
  const other = newHead();
  expect(append(other, fields)).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(append(other, [...name, ...job, ...field(2, sample)])).toEqual([
    0, 1, 0, 0, 0, 0, 0, 0, 0,
  ]);
});

test("names and values of any length make a series and find it again", () => {
  const head = newHead();
  for (const length of [1, 15, 16, 17, 127, 128, 129, 300, 16_383, 16_384, 70_000]) {
    const value = Array.from({ length }, (_, i) => 97 + (i % 26));
    const size = (n: number): number[] =>
      n < 128 ? [n] : n < 16_384 ? long(n) : [(n & 127) | 128, ((n >> 7) & 127) | 128, n >> 14];
    const sized = (number: number, body: number[]) => [
      number * 8 + 2,
      ...size(body.length),
      ...body,
    ];
    const fields = [...sized(1, [...sized(1, text("l")), ...sized(2, value)]), ...sized(2, sample)];
    const body = Uint8Array.from(sized(1, fields));
    const request = WriteRequestBuffer.acquire();
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    request.walk(null);
    expect(head.append(request, null).byVerdict[0]).toBe(1);
    expect(head.append(request, null).byVerdict[1]).toBe(1);
    request.release();
  }
  expect(head.seriesCount).toBe(11);
});
