/** The kernels for XOR2 against the plain code, which the golden vectors hold. */

import { xor2DecodeChunk, xor2ToXor, xorToXor2 } from "@torus/kernels";
import fc from "fast-check";
import { expect, test } from "vitest";
import { bitsOf, STALE_BITS } from "./samples.ts";
import { XorAppender } from "./xor.ts";
import { decodeXor2, Xor2Appender } from "./xor2.ts";

const START = 1_700_000_000_000;

type Sample = { time: number; value: bigint; startTime: number };

const anyValue = fc.oneof(
  fc.constantFrom(STALE_BITS, 0n, bitsOf(1), bitsOf(-0), bitsOf(Number.NaN), 0x7ff8000000000001n),
  fc.integer({ min: -1000, max: 1000 }).map(bitsOf),
  fc.double().map(bitsOf),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const anyStep = fc.oneof(
  fc.constantFrom(1, 15_000, 15_000, 15_000),
  fc.integer({ min: 1, max: 2 ** 21 }),
  fc.integer({ min: 1, max: 2 ** 40 }),
);
const anyStart = fc.oneof(
  { weight: 8, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constantFrom(0, START - 1, START, -1, 2 ** 53 - 1, -(2 ** 53) + 1) },
  { weight: 1, arbitrary: fc.integer({ min: -(2 ** 40), max: 2 ** 41 }) },
);
/** A start timestamp stays until the next one. */
const anySamples = fc
  .tuple(
    fc.constantFrom(START, 0, -(2 ** 50)),
    fc.array(fc.record({ step: anyStep, value: anyValue, start: anyStart }), {
      minLength: 1,
      maxLength: 300,
      size: "max",
    }),
  )
  .map(([first, steps]): Sample[] => {
    let time = first;
    let startTime = 0;
    return steps.map(({ step, value, start }, i) => {
      if (i > 0) time += step;
      startTime = start ?? startTime;
      return { time, value, startTime };
    });
  });

function xor2Of(samples: readonly Sample[]): Uint8Array {
  const out = new Xor2Appender();
  for (const { time, value, startTime } of samples) {
    out.append(BigInt(time), value, BigInt(startTime));
  }
  return out.bytes();
}

function xorOf(samples: readonly Sample[]): Uint8Array {
  const out = new XorAppender();
  for (const { time, value } of samples) out.append(BigInt(time), value);
  return out.bytes();
}

test("chunks are made, read and made XOR again as by the plain code", () => {
  fc.assert(
    fc.property(anySamples, (samples) => {
      const plain = xor2Of(samples);
      const runs = samples.flatMap(({ time, startTime }) => [time, startTime]);
      expect(Buffer.from(xorToXor2(xorOf(samples), runs) ?? [])).toEqual(Buffer.from(plain));
      expect(Buffer.from(xor2ToXor(plain) ?? [])).toEqual(Buffer.from(xorOf(samples)));
      const columns = xor2DecodeChunk(plain);
      expect([...(columns?.times ?? [])]).toEqual(samples.map(({ time }) => time));
      expect([...(columns?.starts ?? [])]).toEqual(samples.map(({ startTime }) => startTime));
      expect([...new BigUint64Array(columns?.values.buffer ?? new ArrayBuffer(0))]).toEqual(
        samples.map(({ value }) => value),
      );
    }),
    { numRuns: 200 },
  );
});

test("a chunk that is cut anywhere or changed is null, or what the plain code reads", () => {
  fc.assert(
    fc.property(
      anySamples,
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 0, max: 255 }),
      (samples, cut, at, byte) => {
        const whole = xor2Of(samples);
        const chunk = whole.slice(0, cut % 2 === 0 ? whole.length : (cut >>> 1) % whole.length);
        if (chunk.length > 0) chunk[at % chunk.length] = byte;
        let plain: ReturnType<typeof decodeXor2> | null = null;
        try {
          plain = decodeXor2(chunk);
        } catch {
          // The kernel has to see it as well.
        }
        const columns = xor2DecodeChunk(chunk);
        if (plain === null) expect(columns).toBeNull();
        else if (columns !== null) {
          expect([...columns.times]).toEqual(Array.from(plain.times, Number));
          expect([...columns.starts]).toEqual(Array.from(plain.startTimes ?? [], Number));
          expect(new BigUint64Array(columns.values.buffer)).toEqual(plain.values);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
