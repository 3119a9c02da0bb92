import fc from "fast-check";
import * as snappyjs from "snappyjs";
import { expect, test } from "vitest";
import { BodyTooLargeError, SnappyCorruptError, snappyDecode, snappyEncode } from "./index.ts";

/** Bytes with repeats near and far, as label sets have. */
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 400 }),
  fc
    .array(
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.tuple(fc.nat(255), fc.nat(300)).map(([byte, n]) => new Uint8Array(n).fill(byte)),
        fc.constantFrom("__name__", "instance", "kubernetes-pods").map((s) => Buffer.from(s)),
      ),
      { maxLength: 60 },
    )
    .map((parts) => new Uint8Array(Buffer.concat(parts))),
  fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 70 }), fc.nat(150_000)).map(([part, n]) => {
    const out = new Uint8Array(n);
    for (let i = 0; i < n; i++) out[i] = (part[i % part.length] as number) + (i >> 12);
    return out;
  }),
);
const LIMIT = 1 << 24;

test("what the kernel encodes, snappyjs and the kernel decode to the same bytes", () =>
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      const block = snappyEncode(bytes);
      expect(Buffer.compare(snappyjs.uncompress(block), bytes)).toBe(0);
      expect(Buffer.compare(snappyDecode(block, LIMIT), bytes)).toBe(0);
    }),
    { numRuns: 400 },
  ));

test("what snappyjs encodes, the kernel decodes", () =>
  fc.assert(
    fc.property(anyBytes, (bytes) => {
      expect(Buffer.compare(snappyDecode(snappyjs.compress(bytes), LIMIT), bytes)).toBe(0);
    }),
    { numRuns: 400 },
  ));

/** Decodes as the format says, in plain code: null for anything malformed. */
function plainDecode(block: Uint8Array): Uint8Array | null {
  let size = 0;
  let at = 0;
  for (let scale = 1; ; scale *= 128) {
    if (at >= 5 || at >= block.length) return null;
    const byte = block[at++] as number;
    size += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
  }
  if (size > LIMIT) return null;
  const out: number[] = [];
  const take = (n: number) => {
    let value = 0;
    for (let i = 0; i < n; i++) value += (block[at++] as number) * 256 ** i;
    return value;
  };
  while (at < block.length) {
    const tag = block[at++] as number;
    const kind = tag & 3;
    const extra = kind === 0 ? Math.max(0, (tag >> 2) - 59) : kind === 1 ? 1 : kind === 2 ? 2 : 4;
    if (at + extra > block.length) return null;
    if (kind === 0) {
      const n = extra === 0 ? (tag >> 2) + 1 : take(extra) + 1;
      if (n > block.length - at || out.length + n > size) return null;
      for (let i = 0; i < n; i++) out.push(block[at++] as number);
      continue;
    }
    const n = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = take(extra) + (kind === 1 ? (tag >> 5) * 256 : 0);
    if (offset === 0 || offset > out.length || out.length + n > size) return null;
    for (let i = 0; i < n; i++) out.push(out[out.length - offset] as number);
  }
  return out.length === size ? Uint8Array.from(out) : null;
}

function compareDecoders(block: Uint8Array): void {
  const want = plainDecode(block);
  let got: Uint8Array | null;
  try {
    got = snappyDecode(block, LIMIT);
  } catch (error) {
    if (!(error instanceof SnappyCorruptError || error instanceof BodyTooLargeError)) throw error;
    got = null;
  }
  expect(got === null ? null : Buffer.from(got).toString("hex")).toBe(
    want === null ? null : Buffer.from(want).toString("hex"),
  );
}

test("cut, mutated and random blocks are decoded or refused as the format says", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), compareDecoders), { numRuns: 3000 });
  fc.assert(
    fc.property(
      anyBytes.filter((b) => b.length < 5000),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
      fc.nat(),
      (bytes, mutations, cut) => {
        const block = new Uint8Array(snappyEncode(bytes));
        for (const [at, byte] of mutations) block[at % block.length] = byte;
        compareDecoders(block);
        compareDecoders(block.slice(0, cut % (block.length + 1)));
      },
    ),
    { numRuns: 1500 },
  );
});
