import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BitReader,
  BitWriter,
  ByteReader,
  ByteWriter,
  ChunkTruncatedError,
  decodeSnappyFrames,
  decodeUtf8,
  encodeSnappyFrames,
  SnappyFrameError,
  TruncatedError,
  VarintOverflowError,
} from "./index.ts";

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

describe("bytes", () => {
  test("every 64-bit varint comes back", () =>
    fc.assert(
      fc.property(int64, uint64, (signed, unsigned) => {
        const writer = new ByteWriter(1);
        writer.varintBig(signed);
        writer.uvarintBig(unsigned);
        const reader = new ByteReader(writer.copy());
        expect(reader.varintBig()).toBe(signed);
        expect(reader.uvarintBig()).toBe(unsigned);
        const again = new ByteReader(writer.copy());
        expect(again.varint()).toBe(Number(signed));
        // Beyond 2^53 a number is near the value, not at it.
        const near = again.uvarint();
        expect(Math.abs(near - Number(unsigned))).toBeLessThanOrEqual(Number(unsigned) * 2 ** -51);
        if (unsigned <= Number.MAX_SAFE_INTEGER) expect(near).toBe(Number(unsigned));
      }),
    ));

  test("safe integers are written alike as numbers and as big integers", () =>
    fc.assert(
      fc.property(fc.integer({ min: -(2 ** 52), max: 2 ** 52 }), (value) => {
        const a = new ByteWriter();
        const b = new ByteWriter();
        a.varint(value);
        a.uvarint(Math.abs(value));
        a.i64(value);
        b.varintBig(BigInt(value));
        b.uvarintBig(BigInt(Math.abs(value)));
        b.u64Big(BigInt(value));
        expect(a.copy()).toEqual(b.copy());
        expect(new ByteReader(a.copy(), a.length - 8).i64()).toBe(value);
      }),
    ));

  test("a cut is reported, whatever was cut", () =>
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), uint64, fc.nat(), (text, number, cut) => {
        const writer = new ByteWriter();
        writer.string(text);
        writer.uvarintBig(number);
        writer.u64Big(number);
        const bytes = writer.copy();
        const read = (end: number) => {
          const reader = new ByteReader(bytes, 0, end);
          return [reader.string(), reader.uvarintBig(), reader.u64Big()];
        };
        expect(read(bytes.length)).toEqual([text, number, number]);
        expect(() => read(cut % bytes.length)).toThrow(TruncatedError);
      }),
    ));

  test("a varint of more than 64 bits is refused", () => {
    const bytes = new Uint8Array(11).fill(0xff);
    expect(() => new ByteReader(bytes).uvarint()).toThrow(VarintOverflowError);
    expect(() => new ByteReader(bytes).uvarintBig()).toThrow(VarintOverflowError);
  });

  test("a NaN keeps its payload", () => {
    const bytes = Uint8Array.from([0x7f, 0xf0, 0, 0, 0, 0, 0, 2]);
    const column = new Float64Array(1);
    new ByteReader(bytes).f64Into(column, 0);
    const writer = new ByteWriter();
    writer.f64From(column, 0);
    expect(writer.copy()).toEqual(bytes);
  });

  test("text in shared memory is decoded as elsewhere", () =>
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        const plain = new TextEncoder().encode(text);
        const shared = new Uint8Array(new SharedArrayBuffer(plain.length));
        shared.set(plain);
        expect(decodeUtf8(shared)).toBe(text);
        expect(decodeUtf8(plain)).toBe(text);
      }),
    ));
});

describe("bits", () => {
  test("whatever widths are written come back", () =>
    fc.assert(
      fc.property(fc.array(fc.tuple(uint64, fc.integer({ min: 0, max: 64 }))), (fields) => {
        const writer = new BitWriter(1);
        for (const [value, width] of fields) writer.bitsBig(value, width);
        const reader = new BitReader(writer.written);
        for (const [value, width] of fields) {
          expect(reader.bitsBig(width)).toBe(BigInt.asUintN(width, value));
        }
        expect(() => reader.bits(9)).toThrow(ChunkTruncatedError);
      }),
    ));

  test("varints at any bit position come back", () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 7 }), int64, (skew, value) => {
        const writer = new BitWriter();
        writer.bits(0, skew);
        writer.varintBig(value);
        const reader = new BitReader(writer.written, skew);
        expect(reader.varintBig()).toBe(value);
      }),
    ));
});

describe("snappy frames", () => {
  const body = fc.uint8Array({ maxLength: 300_000 }).map((seed) => {
    const out = new Uint8Array(seed.length * 3);
    for (let i = 0; i < 3; i++) out.set(seed, i * seed.length);
    return out;
  });

  test("what is framed comes back, and every cut and flipped bit is reported", () =>
    fc.assert(
      fc.property(body, fc.nat(), (bytes, at) => {
        const stream = encodeSnappyFrames(bytes);
        expect(Buffer.compare(decodeSnappyFrames(stream, bytes.length), bytes)).toBe(0);
        if (bytes.length === 0) return;
        expect(() => decodeSnappyFrames(stream, bytes.length - 1)).toThrow(Error);
        const torn = stream.slice(0, 11 + (at % (stream.length - 11)));
        expect(() => decodeSnappyFrames(torn, bytes.length)).toThrow(Error);
        const flipped = stream.slice();
        const hit = at % stream.length;
        flipped[hit] = (flipped[hit] as number) ^ 0x80;
        // A chunk type above 7f is skippable, so its bytes may go missing; they never come out changed.
        let decoded: Uint8Array | undefined;
        try {
          decoded = decodeSnappyFrames(flipped, bytes.length);
        } catch {
          return;
        }
        expect(decoded.length).toBeLessThan(bytes.length);
      }),
      { numRuns: 30 },
    ));

  test("a stream without its identifier is refused", () => {
    expect(() => decodeSnappyFrames(Uint8Array.of(1, 4, 0, 0, 0, 0, 0, 0), 10)).toThrow(
      SnappyFrameError,
    );
  });
});
