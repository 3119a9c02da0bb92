import fc from "fast-check";
import { expect, test } from "vitest";
import { SAMPLE_TEXTS, sampleTexts } from "./number-text.ts";
import { sampleTexts as plain } from "./twins/number-text.ts";

function texts(times: Float64Array, values: Float64Array): string {
  let out = "";
  for (let i = 0; i < times.length; i += SAMPLE_TEXTS) {
    const part = sampleTexts(
      times.subarray(i, i + SAMPLE_TEXTS),
      values.subarray(i, i + SAMPLE_TEXTS),
    );
    out += Buffer.from(part).toString("latin1");
  }
  return out;
}

function valueOf(value: number): string {
  return texts(Float64Array.of(0), Float64Array.of(value)).slice(4, -3);
}

// Forms that Prometheus' answers have: thresholds, exponents of two digits, ends of the range.
test.each<[value: number, text: string]>([
  [0, "0"],
  [-0, "-0"],
  [1, "1"],
  [-1, "-1"],
  [0.1, "0.1"],
  [0.25, "0.25"],
  [1e-6, "0.000001"],
  [9.99999999999999e-7, "9.99999999999999e-07"],
  [1e-7, "1e-07"],
  [1.5e-9, "1.5e-09"],
  [1e20, "100000000000000000000"],
  [1e21, "1e+21"],
  [-1.5e21, "-1.5e+21"],
  [123456789012345680000, "123456789012345680000"],
  [9007199254740991, "9007199254740991"],
  [9007199254740992, "9007199254740992"],
  [9007199254740994, "9007199254740994"],
  [1e22, "1e+22"],
  [1e23, "1e+23"],
  [1.7976931348623157e308, "1.7976931348623157e+308"],
  [5e-324, "5e-324"],
  [2.2250738585072014e-308, "2.2250738585072014e-308"],
  [2.225073858507201e-308, "2.225073858507201e-308"],
  [9.5367431640625e-7, "9.5367431640625e-07"],
  [2 ** -44, "5.684341886080802e-14"],
  [0.30000000000000004, "0.30000000000000004"],
  [123456.789, "123456.789"],
  [299792458, "299792458"],
  [Number.POSITIVE_INFINITY, "+Inf"],
  [Number.NEGATIVE_INFINITY, "-Inf"],
  [Number.NaN, "NaN"],
])("%d is written as %s", (value, text) => expect(valueOf(value)).toBe(text));

test("powers of two and of ten and their neighbours have the texts of the plain twin", () => {
  const values: number[] = [];
  const near = new Float64Array(1);
  const word = new BigInt64Array(near.buffer);
  const powers = [
    ...Array.from({ length: 2098 }, (_, i) => 2 ** (i - 1074)),
    ...Array.from({ length: 632 }, (_, i) => Number(`1e${i - 323}`)),
  ];
  for (const value of powers) {
    near[0] = value;
    const bits = word[0] as bigint;
    for (const step of [-2n, -1n, 0n, 1n, 2n]) {
      word[0] = bits + step;
      if (Number.isFinite(near[0])) values.push(near[0], -near[0]);
    }
  }
  const columns = Float64Array.from(values);
  const times = new Float64Array(columns.length);
  expect(texts(times, columns)).toBe(plain(times, columns));
});

test("any bits have the text of the plain twin, and any time", () =>
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.oneof(
            fc.integer({ min: -(2 ** 53) + 1, max: 2 ** 53 - 1 }),
            fc.integer({ min: 0, max: 4e12 }),
          ),
          fc.oneof(
            fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
            fc.double().map(bitsOf),
            fc.integer().map(bitsOf),
            fc.tuple(fc.integer(), fc.nat(12)).map(([n, scale]) => bitsOf(n / 10 ** scale)),
          ),
        ),
        { minLength: 1, maxLength: SAMPLE_TEXTS },
      ),
      (samples) => {
        const times = Float64Array.from(samples, ([ms]) => ms);
        const values = new Float64Array(BigUint64Array.from(samples, ([, bits]) => bits).buffer);
        expect(texts(times, values)).toBe(plain(times, values));
      },
    ),
    { numRuns: 300 },
  ));

function bitsOf(value: number): bigint {
  return new BigUint64Array(Float64Array.of(value).buffer)[0] as bigint;
}

test("a million random bits and a million decimals have the texts of the plain twin", () => {
  // A linear congruential generator modulo 2^64, its state the bits.
  let state = 0x853c49e6748fea9bn;
  const bits = new BigUint64Array(SAMPLE_TEXTS);
  const times = new Float64Array(SAMPLE_TEXTS);
  const decimals = new Float64Array(SAMPLE_TEXTS);
  let wrong = false;
  for (let round = 0; round < 2000; round++) {
    for (let i = 0; i < SAMPLE_TEXTS; i++) {
      state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
      bits[i] = state;
      decimals[i] = Number(state >> 40n) / 10 ** (i % 9);
    }
    for (const values of [new Float64Array(bits.buffer), decimals]) {
      const got = Buffer.from(sampleTexts(times, values)).toString("latin1");
      wrong ||= got !== plain(times, values);
    }
  }
  expect(wrong).toBe(false);
});

test("more samples than a call takes, and columns of two lengths, are refused", () => {
  const many = new Float64Array(SAMPLE_TEXTS + 1);
  expect(() => sampleTexts(many, many)).toThrow("texts of 513 times");
  expect(() => sampleTexts(many.subarray(0, 1), many.subarray(0, 2))).toThrow("2 values");
});
