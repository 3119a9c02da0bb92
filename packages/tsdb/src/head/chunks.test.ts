/** The chunks that appending makes, against chunks of the real program and the plain encoder. */

import { readFileSync } from "node:fs";
import { WriteRequestBuffer } from "@torus/kernels";
import { Matcher } from "@torus/model";
import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeXor } from "../../../kernels/src/twins/xor.ts";
import { Head } from "./head.ts";

type Case = {
  name: string;
  encoding: string;
  hex: string;
  samples: [time: string, value: string][];
};
const golden = (
  JSON.parse(
    readFileSync(
      new URL("../../../../test/golden/tsdb/chunks-float.json", import.meta.url),
      "utf8",
    ),
  ) as { cases: Case[] }
).cases.filter((c) => {
  if (
    c.encoding !== "XOR" ||
    "reopen_before_sample" in c ||
    c.samples.length > 240 ||
    c.samples.length === 0
  )
    return false;
  // A head takes ascending times only, and cuts at 1005 bytes.
  return (
    c.hex.length <= 2000 &&
    c.samples.every(
      ([t], i) => i === 0 || BigInt(t) > BigInt((c.samples[i - 1] as [string, string])[0]),
    ) &&
    c.samples.every(([t]) => Math.abs(Number(t)) < 2 ** 53)
  );
});

function bitsOf(text: string): bigint {
  if (text.startsWith("NaN:")) return BigInt(`0x${text.slice(4)}`);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));
  return view.getBigUint64(0);
}

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}

/** One series {a="b"} with these samples, through a request, in chunks. */
async function throughHead(
  samples: readonly (readonly [bigint, bigint])[],
  chunkRangeMs: number,
): Promise<Uint8Array[]> {
  const message = (field: number, body: number[]) => [
    field * 8 + 2,
    ...varint(BigInt(body.length)),
    ...body,
  ];
  const fields = message(1, [...message(1, [97]), ...message(2, [98])]);
  for (const [time, bits] of samples) {
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, bits, true);
    fields.push(...message(2, [9, ...value, 16, ...varint(time)]));
  }
  const body = Uint8Array.from(message(1, fields));
  const head = new Head(
    { log: () => undefined },
    { log: () => undefined },
    { chunkRangeMs, outOfOrderWindowMs: 0, maxExemplars: 0, seriesLimit: 0, now: () => 2 ** 52 },
  );
  const request = WriteRequestBuffer.acquire();
  try {
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    request.walk(null);
    expect(head.append(request, null).byVerdict[0]).toBe(samples.length);
    const out: Uint8Array[] = [];
    const select = {
      mint: -(2 ** 53),
      maxt: 2 ** 53,
      matchers: [new Matcher("=", "a", "b")],
      skipChunks: false,
      limit: 0,
      signal: new AbortController().signal,
    };
    for await (const batch of head.selectChunks(select))
      for (const series of batch) for (const chunk of series.chunks) out.push(chunk.data);
    return out;
  } finally {
    request.release();
    head.close();
  }
}

/** Each chunk must be what the plain encoder, itself held to the golden chunks, makes of its samples. */
function expectedChunks(
  rows: readonly (readonly [bigint, bigint])[],
  chunks: Uint8Array[],
): string[] {
  let at = 0;
  return chunks.map((chunk) => {
    const part = rows.slice(at, (at += ((chunk[0] as number) << 8) | (chunk[1] as number)));
    const encoded = encodeXor(
      part.map(([time]) => time),
      part.map(([, bits]) => bits),
    );
    return Buffer.from(encoded).toString("hex");
  });
}

test.each(golden.map((c) => [c.name, c] as const))("golden chunk %s", async (_, c) => {
  const rows = c.samples.map(([t, v]) => [BigInt(t), bitsOf(v)] as const);
  // A range this long has no border inside the chunk; the prediction of its end may still cut it.
  const chunks = await throughHead(rows, 2 ** 50);
  const got = chunks.map((chunk) => Buffer.from(chunk).toString("hex"));
  expect(got).toEqual(chunks.length === 1 ? [c.hex] : expectedChunks(rows, chunks));
});

const anyBits = fc.oneof(
  fc.constantFrom(0n, 0x3ff0000000000000n, 0x7ff0000000000002n, 0x7ff8000000000001n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.integer({ min: 0, max: 100_000 }).map((v) => bitsOf(String(v))),
);

test("a chunk of any samples is byte for byte what the plain encoder makes of them", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(fc.oneof(fc.constant(15_000n), fc.bigInt({ min: 1n, max: 9_000_000n })), anyBits),
        { minLength: 1, maxLength: 300 },
      ),
      async (steps) => {
        let t = 1_700_000_000_000n;
        const rows = steps.map(([step, bits]) => [(t += step), bits] as const);
        const chunks = await throughHead(rows, 7_200_000);
        expect(chunks.map((chunk) => Buffer.from(chunk).toString("hex"))).toEqual(
          expectedChunks(rows, chunks),
        );
        const counts = chunks.map((c) => ((c[0] as number) << 8) | (c[1] as number));
        expect(counts.reduce((a, b) => a + b)).toBe(rows.length);
        let at = 0;
        for (const n of counts) {
          const part = rows.slice(at, (at += n));
          expect(new Set(part.map(([time]) => time / 7_200_000n)).size).toBe(1);
        }
      },
    ),
    { numRuns: 60 },
  ));
