/** A walk that tries a head's series first finds in any request what one finds that checks every label. */

import { kernel, SERIES_WORDS, WriteRequestBuffer } from "@torus/kernels";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { Head } from "./head.ts";

const START = 1_700_000_000_000;
const DETAIL_WORDS = 4;

const heads: Head[] = [];
afterEach(() => {
  for (const head of heads.splice(0)) head.close();
});

function newHead(): Head {
  const head = new Head(
    { log: () => undefined },
    { log: () => undefined },
    {
      chunkRangeMs: 7_200_000,
      seriesLimit: 0,
      now: () => START,
      outOfOrderWindowMs: 0,
      maxExemplars: 0,
    },
  );
  heads.push(head);
  return head;
}

const varint = (value: number): number[] =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(Math.floor(value / 128))];
const field = (number: number, body: readonly number[]) => [
  number * 8 + 2,
  ...varint(body.length),
  ...body,
];
const text = (value: string) => [...Buffer.from(value)];
const label = (name: string, value: readonly number[]) =>
  field(1, [...field(1, text(name)), ...field(2, value)]);
const sample = (n: number) => {
  const bits = new Uint8Array(Float64Array.of(n).buffer);
  return field(2, [9, ...bits, 16, ...varint(START + n)]);
};

/** A label, or what a walk has to look at closely: odd forms, wrong text, fields in another place. */
const part = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(
        fc.constantFrom("__name__", "a", "job", "z"),
        fc.constantFrom("up", "x", "a long value"),
      )
      .map(([name, value]) => label(name, text(value))),
  },
  { weight: 1, arbitrary: fc.constant(label("bad", [0xff, 0xfe])) },
  { weight: 1, arbitrary: fc.constant(label("empty", [])) },
  { weight: 1, arbitrary: fc.constant(label("umlaut", text("ü"))) },
  // A tag in two bytes.
  { weight: 1, arbitrary: fc.constant([0x8a, 0x00, ...label("tag", text("long")).slice(1)]) },
  { weight: 1, arbitrary: fc.constant(field(9, [1, 2, 3])) },
  { weight: 3, arbitrary: fc.nat(50).map(sample) },
  { weight: 1, arbitrary: fc.constant(field(3, [])) },
  { weight: 1, arbitrary: fc.constant(field(4, [])) },
);
const plain = fc
  .tuple(fc.nat(30), fc.nat(3))
  .map(([job, n]) => [
    ...label("__name__", text("up")),
    ...label("job", text(`j${job}`)),
    ...sample(n),
  ]);
const series = fc.oneof(
  { weight: 3, arbitrary: plain },
  { weight: 2, arbitrary: fc.array(part, { maxLength: 6 }).map((parts) => parts.flat()) },
);
const body = fc
  .array(series, { maxLength: 40 })
  .map((all) => Uint8Array.from(all.flatMap((each) => field(1, each))));

function walked(bytes: Uint8Array, head: number, use: (request: WriteRequestBuffer) => void): void {
  const request = WriteRequestBuffer.acquire();
  try {
    request.reserve(bytes.length).set(bytes);
    request.useRaw(bytes.length);
    request.walk(null, head);
    use(request);
  } finally {
    request.release();
  }
}

/** All that a walk writes, places counted from the body's beginning. */
function tables(request: WriteRequestBuffer): number[][] {
  const { words } = kernel();
  return Array.from({ length: request.count }, (_, i) => {
    const table = [...request.series.subarray(i * SERIES_WORDS, (i + 1) * SERIES_WORDS)];
    const at = (request.detailAddress >>> 2) + i * DETAIL_WORDS;
    const detail = [...words.subarray(at, at + DETAIL_WORDS)];
    const from = request.bodyStart;
    const [start, ...rest] = table;
    const [labels = 0, length = 0, behind = 0, end = 0] = detail;
    return [(start as number) - from, ...rest, labels - from, length, behind - from, end - from];
  });
}

test("with a head and without, a walk finds the same", () => {
  fc.assert(
    fc.property(fc.array(body, { minLength: 1, maxLength: 6 }), (bodies) => {
      const head = newHead();
      // Twice, so that every series that is stored at all is known, and followed by the one that followed it.
      for (const bytes of [...bodies, ...bodies]) {
        let want: number[][] = [];
        walked(bytes, 0, (request) => {
          want = tables(request);
        });
        walked(bytes, head.address, (request) => {
          expect(tables(request)).toEqual(want);
          head.append(request, null);
        });
      }
      head.close();
    }),
    { numRuns: 300 },
  );
});

test("a request of known series in their order, and one of others, are walked to the end", () => {
  const head = newHead();
  const all = (from: number, to: number, n: number) =>
    Uint8Array.from(
      Array.from({ length: to - from }, (_, i) =>
        field(1, [
          ...label("__name__", text("up")),
          ...label("job", text(`j${from + i}`)),
          ...sample(n),
        ]),
      ).flat(),
    );
  for (const [from, to, n] of [
    [0, 500, 0],
    [0, 500, 1],
    [1000, 3000, 1],
    [250, 750, 2],
  ] as const) {
    walked(all(from, to, n), head.address, (request) => {
      expect(request.count).toBe(to - from);
      expect(head.append(request, null).byVerdict[0]).toBe(to - from);
    });
  }
  expect(head.seriesCount).toBe(2750);
  head.close();
  expect(head.address).toBe(0);
});
