import fc from "fast-check";
import { expect, test } from "vitest";
import { kernel } from "./load.ts";
import { encodeXor } from "./twins/xor.ts";
import { XorChunkTruncatedError } from "./xor.ts";
import { KernelBytes, XorColumns } from "./xor-columns.ts";

/** Chunks one behind the other, `counts` samples each, and what they hold. */
function chunksOf(counts: readonly number[]) {
  const times: bigint[] = [];
  const values: bigint[] = [];
  const chunks = counts.map((count) => {
    const from = times.length;
    for (let i = 0; i < count; i++) {
      times.push(BigInt(1_700_000_000_000 + times.length * 15_000));
      values.push(BigInt.asUintN(64, BigInt(values.length) * 0x9e3779b97f4a7c15n));
    }
    return encodeXor(times.slice(from), values.slice(from));
  });
  return { chunks, times: times.map(Number), values };
}

function contents(columns: XorColumns) {
  const values = new Float64Array(columns.length);
  values.set(columns.values(0, columns.length));
  return {
    times: [...columns.timestamps(0, columns.length)],
    values: [...new BigUint64Array(values.buffer)],
  };
}

test("chunks become one pair of columns, however often these have to grow", () => {
  const columns = new XorColumns();
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 240 }), { maxLength: 24 }), (counts) => {
      const { chunks, times, values } = chunksOf(counts);
      const fresh = new XorColumns();
      columns.clear();
      for (const chunk of chunks) {
        fresh.appendBytes(chunk);
        columns.appendBytes(chunk);
      }
      expect(contents(fresh)).toEqual({ times, values });
      expect(contents(columns)).toEqual({ times, values });
      fresh.release();
    }),
    { numRuns: 40 },
  );
  columns.release();
});

test("chunks are read where a file was read to, decoded samples are put behind them", () => {
  const { chunks, times, values } = chunksOf([120, 1000]);
  const bytes = new KernelBytes(64 << 10);
  const columns = new XorColumns();
  let at = 5;
  for (const chunk of chunks) {
    bytes.bytes.set(chunk, at);
    columns.append(bytes, at, chunk.length);
    at += chunk.length;
  }
  const more = Float64Array.from({ length: 500 }, (_, i) => i);
  columns.appendDecoded(more, more);
  const got = contents(columns);
  expect(got.times).toEqual([...times, ...more]);
  expect(got.values.slice(0, 1120)).toEqual(values);
  columns.release();
  bytes.release();
});

test("a chunk that is cut or claims too much is reported, and memory is given back", () => {
  const { chunks } = chunksOf([100]);
  const [chunk] = chunks as [Uint8Array];
  const columns = new XorColumns();
  columns.appendBytes(chunk);
  columns.clear();
  const before = kernel().exports.arenaBytesInUse();
  expect(() => columns.appendBytes(chunk.subarray(0, 90))).toThrow(XorChunkTruncatedError);
  expect(() => columns.appendBytes(Uint8Array.of(0xff, 0xff, 1, 2))).toThrow(
    XorChunkTruncatedError,
  );
  expect(kernel().exports.arenaBytesInUse()).toBe(before);
  columns.release();
  expect(kernel().exports.arenaBytesInUse()).toBeLessThan(before);
});
