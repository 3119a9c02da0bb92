import { readFileSync } from "node:fs";
import { BitReader, BitWriter, ChunkTruncatedError } from "@torus/encoding";
import type { ChunkEncoding } from "@torus/model";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeSamples } from "./chunk-samples.ts";
import { decodeHistograms, type HistogramEncoding, readHistogramHeader } from "./histogram.ts";
import { HistogramAppender } from "./histogram-appender.ts";
import {
  readCustomBound,
  readZeroThreshold,
  writeCustomBound,
  writeZeroThreshold,
} from "./histogram-layout.ts";
import {
  histogramFromNotation,
  parseValue,
  sampleNotation,
  type WrittenHistogram,
} from "./notation.ts";
import { doubleOf } from "./samples.ts";
import { readVarbitInt, readVarbitUint, writeVarbitInt, writeVarbitUint } from "./varbit.ts";
import { decodeXor, XorAppender } from "./xor.ts";
import { ChunkMalformedError } from "./xor-window.ts";
import { decodeXor2, Xor2Appender } from "./xor2.ts";

/** Written by Prometheus' tsdb/chunkenc; see test/golden/tsdb/README.md. */
function golden<T>(name: string): T[] {
  const url = new URL(`../../../../test/golden/tsdb/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { cases: T[] }).cases;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"));

type Primitive = { kind: string; value: string | string[]; hex: string };

const primitives: Record<
  string,
  [write: (out: BitWriter, v: string) => void, read: (r: BitReader) => bigint | number]
> = {
  varbit_int: [(out, v) => writeVarbitInt(out, BigInt(v)), readVarbitInt],
  varbit_uint: [(out, v) => writeVarbitUint(out, BigInt(v)), readVarbitUint],
  varbit_int_list: [(out, v) => writeVarbitInt(out, BigInt(v)), readVarbitInt],
  zero_threshold: [(out, v) => writeZeroThreshold(out, doubleOf(parseValue(v))), readZeroThreshold],
  custom_bound: [(out, v) => writeCustomBound(out, doubleOf(parseValue(v))), readCustomBound],
};

test.each(golden<Primitive>("chunks-primitives").map((c) => [c.kind, c] as const))(
  "%s is written and read as Prometheus does: $1.value",
  (kind, c) => {
    const [write, read] = primitives[kind] as (typeof primitives)[string];
    const values = Array.isArray(c.value) ? c.value : [c.value];
    const out = new BitWriter();
    for (const value of values) write(out, value);
    expect(hex(out.written)).toBe(c.hex);
    const reader = new BitReader(bytesOf(c.hex));
    for (const value of values) {
      const got = read(reader);
      if (typeof got === "bigint") expect(got).toBe(BigInt(value));
      else expect(got).toBe(doubleOf(parseValue(value)));
    }
  },
);

type FloatCase = {
  name: string;
  encoding: "XOR" | "XOR2";
  hex: string;
  samples: [time: string, value: string, startTime?: string][];
  reopen_before_sample?: number;
};

test.each(golden<FloatCase>("chunks-float").map((c) => [c.name, c] as const))("%s", (_, c) => {
  let xor = new XorAppender();
  let xor2 = new Xor2Appender();
  for (const [i, [t, v, st = "0"]] of c.samples.entries()) {
    if (i === c.reopen_before_sample) {
      if (c.encoding === "XOR") xor = XorAppender.resume(xor.bytes());
      else xor2 = Xor2Appender.resume(xor2.bytes());
    }
    if (c.encoding === "XOR") xor.append(BigInt(t), parseValue(v));
    else xor2.append(BigInt(t), parseValue(v), BigInt(st));
  }
  expect(hex(c.encoding === "XOR" ? xor.bytes() : xor2.bytes())).toBe(c.hex);
  const read = c.encoding === "XOR" ? decodeXor(bytesOf(c.hex)) : decodeXor2(bytesOf(c.hex));
  expect([...read.times]).toEqual(c.samples.map(([t]) => BigInt(t)));
  expect([...read.values]).toEqual(c.samples.map(([, v]) => parseValue(v)));
  if (read.startTimes !== null) {
    expect([...read.startTimes]).toEqual(c.samples.map(([, , st = "0"]) => BigInt(st)));
  }
});

type HistogramSample = {
  t: string;
  st?: string;
  h?: WrittenHistogram;
  fh?: WrittenHistogram;
  cut_before?: boolean;
};
type HistogramCase = {
  name: string;
  encoding_byte: HistogramEncoding;
  samples: HistogramSample[];
  chunks: {
    hex: string;
    n: number;
    recoded_times: number;
    read_back: { t: string; hint?: string; h?: WrittenHistogram; fh?: WrittenHistogram }[];
  }[];
};
const histogramCases = golden<HistogramCase>("chunks-histogram");

test.each(histogramCases.map((c) => [c.name, c] as const))("%s", (_, c) => {
  const appender = new HistogramAppender(c.encoding_byte);
  for (const { t, st = "0", h, fh, cut_before } of c.samples) {
    const written = (h ?? fh) as WrittenHistogram;
    appender.append(BigInt(t), BigInt(st), histogramFromNotation(written), cut_before ?? false);
  }
  const chunks = appender.chunks();
  expect(chunks.map(({ data, count, recodedTimes }) => [hex(data), count, recodedTimes])).toEqual(
    c.chunks.map((chunk) => [chunk.hex, chunk.n, chunk.recoded_times]),
  );
  let next = 0;
  for (const chunk of c.chunks) {
    const read = decodeHistograms(bytesOf(chunk.hex), c.encoding_byte);
    for (const [i, want] of chunk.read_back.entries()) {
      const sample = c.samples[next++] as HistogramSample;
      const got = sampleNotation(read, i, false);
      if (Array.isArray(got)) throw new Error("a float");
      const wantHistogram = want.h ?? want.fh ?? { ...(sample.h ?? sample.fh), hint: want.hint };
      expect(got.h ?? got.fh).toEqual(wantHistogram);
      expect(String(read.times[i])).toBe(want.t);
      if (read.startTimes !== null) expect(String(read.startTimes[i])).toBe(sample.st);
    }
  }
});

describe("cuts", () => {
  test("every cut of a golden histogram chunk is reported, none is read past its end", () => {
    for (const c of histogramCases) {
      for (const { hex: text } of c.chunks) {
        const chunk = bytesOf(text);
        for (let end = 0; end < chunk.length; end++) {
          expect(() => decodeHistograms(chunk.subarray(0, end), c.encoding_byte)).toThrow(
            ChunkTruncatedError,
          );
        }
      }
    }
  });

  test("every cut of a golden float chunk is reported, none is read past its end", () => {
    for (const c of golden<FloatCase>("chunks-float")) {
      const chunk = bytesOf(c.hex);
      const decode = c.encoding === "XOR" ? decodeXor : decodeXor2;
      for (let end = 0; end < chunk.length; end++) {
        expect(() => decode(chunk.subarray(0, end))).toThrow(ChunkTruncatedError);
      }
    }
  });
});

test("a chunk that claims more buckets than chunks have is refused before they get memory", () => {
  const out = new BitWriter();
  out.bits(0xffff, 16);
  out.bits(0, 8);
  writeZeroThreshold(out, 0);
  writeVarbitInt(out, 0n);
  writeVarbitUint(out, 1n);
  writeVarbitUint(out, 1n << 20n);
  writeVarbitInt(out, 0n);
  writeVarbitUint(out, 0n);
  const chunk = new Uint8Array(1 << 20);
  chunk.set(out.written);
  expect(() => decodeHistograms(chunk, 2)).toThrow("65535 samples of 1048576 buckets");
});

test("bytes of any kind are samples or an error", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 3, 4, 5, 6),
      fc.uint8Array({ maxLength: 120 }),
      (encoding, data) => {
        try {
          decodeSamples({ encoding: encoding as ChunkEncoding, data });
        } catch (error) {
          const known =
            error instanceof ChunkTruncatedError || error instanceof ChunkMalformedError;
          expect(known).toBe(true);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -70_000n, max: 70_000n }),
);
const bits64 = fc.oneof(
  fc.constantFrom(0n, 0x7ff0000000000002n, 0x7ff8000000000001n, 0x3ff0000000000000n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

test("float chunks give back every bit of time, value and start timestamp, resumed anywhere", () => {
  const sample = fc.tuple(int64, bits64, fc.oneof(fc.constant(0n), int64));
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 150 }), fc.nat(150), (samples, at) => {
      let xor = new XorAppender();
      let xor2 = new Xor2Appender();
      for (const [i, [t, v, st]] of samples.entries()) {
        if (i === at) {
          xor = XorAppender.resume(xor.bytes());
          xor2 = Xor2Appender.resume(xor2.bytes());
        }
        xor.append(t, v);
        xor2.append(t, v, st);
      }
      for (const read of [decodeXor(xor.bytes()), decodeXor2(xor2.bytes())]) {
        expect([...read.times]).toEqual(samples.map(([t]) => t));
        expect([...read.values]).toEqual(samples.map(([, v]) => v));
        if (read.startTimes !== null) {
          expect([...read.startTimes]).toEqual(samples.map(([, , st]) => st));
        }
      }
    }),
    { numRuns: 60 },
  );
});

const spans = fc.array(
  fc.record({ offset: fc.integer({ min: 0, max: 40 }), length: fc.integer({ min: 0, max: 6 }) }),
  { maxLength: 4 },
);

const stored = (float: boolean) =>
  fc
    .record({
      positiveSpans: spans,
      negativeSpans: spans,
      zeroCount: bits64,
      count: bits64,
      sum: bits64,
      seed: fc.array(int64, { minLength: 48, maxLength: 48 }),
      schema: fc.integer({ min: -4, max: 8 }),
    })
    .map(({ positiveSpans, negativeSpans, seed, schema, ...rest }) => {
      const total = (list: { length: number }[]) =>
        list.reduce((sum, { length }) => sum + length, 0);
      return {
        ...rest,
        float,
        hint: "gauge" as const,
        layout: {
          schema,
          zeroThreshold: 0.001,
          positiveSpans,
          negativeSpans,
          customValues: new Float64Array(0),
        },
        positive: BigInt64Array.from(seed.slice(0, total(positiveSpans))),
        negative: BigInt64Array.from(seed.slice(24, 24 + total(negativeSpans))),
      };
    });

test.each<[string, HistogramEncoding]>([
  ["integer", 2],
  ["float", 3],
  ["integer with start timestamps", 5],
  ["float with start timestamps", 6],
])("%s histograms come back from their chunks, all counts exact", (_, encoding) => {
  const float = encoding === 3 || encoding === 6;
  fc.assert(
    fc.property(fc.array(fc.tuple(int64, int64, stored(float)), { maxLength: 20 }), (samples) => {
      const appender = new HistogramAppender(encoding);
      for (const [t, st, histogram] of samples) appender.append(t, st, histogram);
      let next = 0;
      for (const { data, count } of appender.chunks()) {
        const read = decodeHistograms(data, encoding);
        expect(readHistogramHeader(data, encoding).count).toBe(count);
        for (const [i, got] of (read.histograms ?? []).entries()) {
          const [t, st, want] = samples[next++] as (typeof samples)[number];
          expect(read.times[i]).toBe(t);
          if (read.startTimes !== null) expect(read.startTimes[i]).toBe(st);
          expect(got.sum).toBe(want.sum);
          if (want.sum === 0x7ff0000000000002n) continue;
          expect([got.count, got.zeroCount]).toEqual([want.count, want.zeroCount]);
          expect(countsByBucket(got)).toEqual(countsByBucket(want));
        }
      }
      expect(next).toBe(samples.length);
    }),
    { numRuns: 60 },
  );
});

/** Buckets that are not empty, by sign and number. */
function countsByBucket({
  float,
  layout,
  positive,
  negative,
}: {
  float: boolean;
  layout: {
    positiveSpans: readonly { offset: number; length: number }[];
    negativeSpans: readonly { offset: number; length: number }[];
  };
  positive: BigInt64Array;
  negative: BigInt64Array;
}): Map<string, bigint> {
  const out = new Map<string, bigint>();
  for (const [sign, list, buckets] of [
    ["+", layout.positiveSpans, positive],
    ["-", layout.negativeSpans, negative],
  ] as const) {
    let at = 0;
    let index = 0;
    let sum = 0n;
    for (const { offset, length } of list) {
      index += offset;
      for (let i = 0; i < length; i++, index++, at++) {
        const bucket = buckets[at] as bigint;
        sum = float ? bucket : BigInt.asIntN(64, sum + bucket);
        if (sum !== 0n) out.set(`${sign}${index}`, sum);
      }
    }
  }
  return out;
}
