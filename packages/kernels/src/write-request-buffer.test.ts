import fc from "fast-check";
import * as snappyjs from "snappyjs";
import { expect, test } from "vitest";
import {
  outline,
  SERIES_WORDS,
  SeriesWord,
  SnappyCorruptError,
  setWriteBufferLimit,
  WriteBuffersExhaustedError,
  WriteRequestBuffer,
  WriteRequestMalformedError,
  writeBufferBytesInUse,
} from "./index.ts";
import { walkWriteRequest } from "./twins/write-request.ts";

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}
const message = (field: number, body: Uint8Array | number[]) => [
  ...varint(BigInt(field * 8 + 2)),
  ...varint(BigInt(body.length)),
  ...body,
];
const label = ([name, value]: readonly [Uint8Array, Uint8Array]) =>
  message(1, [...message(1, name), ...message(2, value)]);
const sample = ([time, bits]: readonly [bigint, bigint]) => {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setBigUint64(0, bits, true);
  return message(2, [0x09, ...value, 0x10, ...varint(time)]);
};

const anyText = fc.oneof(
  fc.string({ maxLength: 20 }).map(bytesOf),
  fc.string({ unit: "binary", maxLength: 5 }).map(bytesOf),
  fc.constantFrom("__name__", "job", "instance", "up").map(bytesOf),
  fc.uint8Array({ maxLength: 300 }),
);
const anyField = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(anyText, anyText).map(label) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      )
      .map(sample),
  },
  { weight: 1, arbitrary: fc.constant(message(3, message(1, [1, 2]))) },
  { weight: 1, arbitrary: fc.constant(message(4, [0x08, 1])) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      [0x30, 5],
      [0x2d, 1, 2, 3, 4],
      [0x31, 1, 2, 3, 4, 5, 6, 7, 8],
      message(2, []),
      message(1, []),
      message(1, message(1, [])),
      [0x8a, 0x00, 0x00],
      [0x0a, 0x80, 0x00],
    ),
  },
);
const anyBody = fc
  .array(
    fc.oneof(
      {
        weight: 8,
        arbitrary: fc.array(anyField, { maxLength: 8 }).map((f) => message(1, f.flat())),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom([0x10, 1], message(4, []), message(2, bytesOf("t"))),
      },
    ),
    { maxLength: 5 },
  )
  .map((parts) => Uint8Array.from(parts.flat()));

/** What twin and kernel make of a body: null for malformed, else one row a series. */
function walkBoth(body: Uint8Array, tenant: Uint8Array): { twin: unknown; kernel: unknown } {
  const want = walkWriteRequest(body, tenant);
  const request = WriteRequestBuffer.acquire();
  try {
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    let count: number;
    try {
      count = request.walk(tenant);
    } catch (error) {
      if (!(error instanceof WriteRequestMalformedError)) throw error;
      return { twin: want, kernel: null };
    }
    const words = request.series;
    const rows = Array.from({ length: count }, (_, i) => {
      const at = i * SERIES_WORDS;
      return [
        (words[at + SeriesWord.START] as number) - request.bodyStart,
        words[at + SeriesWord.LENGTH],
        words[at + SeriesWord.HASH_LOW],
        words[at + SeriesWord.HASH_HIGH],
        (words[at + SeriesWord.FLAGS] as number) & 0xff,
        words[at + SeriesWord.SAMPLES],
      ];
    });
    const twin = want?.map((series) => [
      series.start,
      series.length,
      Number(series.hash & 0xffffffffn),
      Number(series.hash >> 32n),
      series.flags,
      series.samples.length,
    ]);
    return { twin: twin ?? null, kernel: rows };
  } finally {
    request.release();
  }
}

test("the walk and its plain twin agree on any body", () =>
  fc.assert(
    fc.property(anyBody, anyText, (body, tenant) => {
      const { twin, kernel } = walkBoth(body, tenant);
      expect(kernel).toEqual(twin);
    }),
    { numRuns: 1500 },
  ));

test("they agree on every cut of a body", () =>
  fc.assert(
    fc.property(anyBody, (body) => {
      for (let cut = 0; cut < body.length; cut++) {
        const { twin, kernel } = walkBoth(body.slice(0, cut), bytesOf("t"));
        expect(kernel).toEqual(twin);
      }
    }),
    { numRuns: 15 },
  ));

test("they agree on mutated bodies", () =>
  fc.assert(
    fc.property(
      anyBody,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      (body, mutations) => {
        const mutated = body.slice();
        if (mutated.length === 0) return;
        for (const [at, byte] of mutations) mutated[at % mutated.length] = byte;
        const { twin, kernel } = walkBoth(mutated, bytesOf("tenant"));
        expect(kernel).toEqual(twin);
      },
    ),
    { numRuns: 3000 },
  ));

test("a table that is too small is grown and the walk goes on", () => {
  const one = message(1, label([bytesOf("__name__"), bytesOf("up")]));
  const body = Uint8Array.from(Array.from({ length: 6000 }, () => one).flat());
  const { twin, kernel } = walkBoth(body, bytesOf("t"));
  expect(kernel).toEqual(twin);
});

test("a snappy body is decoded and its ranges can be copied out", () => {
  const field = message(1, [...label([bytesOf("__name__"), bytesOf("up")]), ...sample([5n, 1n])]);
  const body = Uint8Array.from([...field, ...field]);
  const block = snappyjs.compress(body);
  const request = WriteRequestBuffer.acquire();
  request.reserve(block.length).set(block);
  expect(request.decompress(block.length, 1000)).toBe(body.length);
  expect(request.walk(bytesOf("t"))).toBe(2);
  expect([...request.seriesBytes(1)]).toEqual(field);
  request.release();
});

test("a claimed length over the limit is refused before decoding, and so is one that cannot be true", () => {
  const request = WriteRequestBuffer.acquire();
  const block = Uint8Array.from([0xff, 0xff, 0xff, 0x7f, 0, 65]);
  request.reserve(block.length).set(block);
  expect(() => request.decompress(block.length, 1000)).toThrow(
    expect.objectContaining({
      name: "BodyTooLargeError",
      claimed: 0x0fffffff,
      limit: 1000,
    }),
  );
  expect(() => request.decompress(block.length, 0x7fffffff)).toThrow(SnappyCorruptError);
  request.release();
});

test("the outline of a thanos.WriteRequest names tenants and copy, and each part can be walked", () => {
  const series = message(1, label([bytesOf("__name__"), bytesOf("up")]));
  const body = Uint8Array.from([
    ...message(4, [...series, ...message(2, bytesOf("a"))]),
    0x18,
    2,
    ...message(4, [...message(2, bytesOf("b")), ...series, ...series]),
  ]);
  const request = WriteRequestBuffer.acquire();
  request.reserve(body.length).set(body);
  request.useRaw(body.length);
  const found = outline(request);
  expect(found).toMatchObject({ tenant: "", replica: 2, hasSeries: false });
  expect(
    found.parts.map((p) => [p.tenant, request.walkRange(p.start, p.length, bytesOf(p.tenant))]),
  ).toEqual([
    ["a", 1],
    ["b", 2],
  ]);
  expect(request.count).toBe(3);
  request.release();
});

test("requests in flight are bounded, and releasing makes room again", () => {
  const before = writeBufferBytesInUse();
  setWriteBufferLimit(before + (32 << 20));
  const request = WriteRequestBuffer.acquire();
  request.reserve(20 << 20);
  const other = WriteRequestBuffer.acquire();
  expect(() => other.reserve(20 << 20)).toThrow(WriteBuffersExhaustedError);
  request.release();
  other.reserve(20 << 20);
  other.release();
  setWriteBufferLimit(1 << 30);
});
