import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeXor, encodeXor } from "./twins/xor.ts";
import { XorChunkTruncatedError, xorDecodeChunk } from "./xor.ts";

type Case = {
  name: string;
  encoding: string;
  hex: string;
  samples: [time: string, value: string][];
};
const golden = (
  JSON.parse(
    readFileSync(new URL("../../../test/golden/tsdb/chunks-float.json", import.meta.url), "utf8"),
  ) as { cases: Case[] }
).cases.filter(
  (c) => c.encoding === "XOR" && !("reopen_before_sample" in c) && !("read_back" in c),
);

function bitsOf(text: string): bigint {
  if (text.startsWith("NaN:")) return BigInt(`0x${text.slice(4)}`);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));
  return view.getBigUint64(0);
}

function columns(
  decode: typeof xorDecodeChunk,
  chunk: Uint8Array,
): { times: number[]; bits: bigint[] } {
  const times = new Float64Array(65_535);
  const values = new Float64Array(65_535);
  const n = decode(chunk, times, values);
  const words = new BigUint64Array(values.buffer);
  return {
    times: [...times.subarray(0, Math.max(n, 0))],
    bits: [...words.subarray(0, Math.max(n, 0))],
  };
}

test.each(golden.map((c) => [c.name, c] as const))("golden chunk %s", (_, c) => {
  const chunk = new Uint8Array(Buffer.from(c.hex, "hex"));
  const want = {
    times: c.samples.map(([t]) => Number(t)),
    bits: c.samples.map(([, v]) => bitsOf(v)),
  };
  expect(columns(xorDecodeChunk, chunk)).toEqual(want);
  expect(columns(decodeXor, chunk)).toEqual(want);
  const twin = encodeXor(
    c.samples.map(([t]) => BigInt(t)),
    want.bits,
  );
  expect(Buffer.from(twin).toString("hex")).toBe(c.hex);
});

const anyBits = fc.oneof(
  fc.constantFrom(
    0n,
    0x3ff0000000000000n,
    0x7ff0000000000002n,
    0x7ff8000000000001n,
    0x4059000000000000n,
  ),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc
    .double()
    .map((v) =>
      bitsOf(
        Object.is(v, -0)
          ? "-0"
          : Number.isNaN(v)
            ? "NaN:7ff8000000000001"
            : String(v).replace("Infinity", "Inf").replace(/^Inf/, "+Inf"),
      ),
    ),
);
const anyChunk = fc
  .array(
    fc.tuple(fc.oneof(fc.constant(15_000n), fc.bigInt({ min: 1n, max: 3_000_000n })), anyBits),
    { minLength: 1, maxLength: 130 },
  )
  .map((rows) => {
    let t = 1_700_000_000_000n;
    return encodeXor(
      rows.map(([step]) => (t += step)),
      rows.map(([, v]) => v),
    );
  });

test("the kernel decodes what its twin encodes, as its twin does", () =>
  fc.assert(
    fc.property(anyChunk, (chunk) => {
      expect(columns(xorDecodeChunk, chunk)).toEqual(columns(decodeXor, chunk));
    }),
    { numRuns: 300 },
  ));

test("every cut of a chunk is reported, none is read past its end", () =>
  fc.assert(
    fc.property(anyChunk, (chunk) => {
      for (let cut = 0; cut < chunk.length; cut++) {
        const part = chunk.slice(0, cut);
        expect(() => columns(xorDecodeChunk, part)).toThrow(XorChunkTruncatedError);
      }
    }),
    { numRuns: 20 },
  ));

test("mutated chunks are read or refused alike", () =>
  fc.assert(
    fc.property(anyChunk, fc.nat(), fc.nat(255), (chunk, at, byte) => {
      const mutated = chunk.slice();
      mutated[at % chunk.length] = byte;
      const twin = columns(decodeXor, mutated);
      let kernel: typeof twin;
      try {
        kernel = columns(xorDecodeChunk, mutated);
      } catch (error) {
        if (!(error instanceof XorChunkTruncatedError)) throw error;
        kernel = { times: [], bits: [] };
      }
      expect(kernel).toEqual(twin);
    }),
    { numRuns: 600 },
  ));
