import fc from "fast-check";
import { expect, test } from "vitest";
import { kernel } from "./load.ts";
import { encodeXor } from "./twins/xor.ts";
import { XorChunkTruncatedError } from "./xor.ts";
import { KernelBytes, XorColumns } from "./xor-columns.ts";
import { xorToXor2 } from "./xor2.ts";

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

/** A `chunks` field as StoreAPI's senders write it: both times, then raw with data and hash. */
function chunkField(minTime: number, maxTime: number, data: Uint8Array, type = 0): Uint8Array {
  const varint = (value: bigint): number[] => {
    const out: number[] = [];
    for (let rest = value; ; rest >>= 7n) {
      if (rest < 0x80n) return [...out, Number(rest)];
      out.push(Number(rest & 0x7fn) | 0x80);
    }
  };
  const length = BigInt(data.length);
  const hash = varint(0xfedcba9876543210n);
  const inner = [...(type === 0 ? [] : [8, type]), 0x12, ...varint(length), ...data, 0x18, ...hash];
  const raw = [0x1a, ...varint(BigInt(inner.length)), ...inner];
  const body = [8, ...varint(BigInt(minTime)), 0x10, ...varint(BigInt(maxTime)), ...raw];
  return Uint8Array.from([0x12, ...varint(BigInt(body.length)), ...body]);
}

function seriesOf(counts: readonly number[]) {
  const { chunks, times, values } = chunksOf(counts);
  let at = 0;
  const fields = chunks.map((chunk, i) => {
    const from = at;
    at += counts[i] as number;
    return chunkField(times[from] as number, times[at - 1] as number, chunk);
  });
  return { fields, bytes: Buffer.concat(fields), times, values };
}

const free = () => undefined;

test("a series' chunks as StoreAPI sends them become columns, those beside the range left out", () => {
  const columns = new XorColumns();
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 240 }), { minLength: 1, maxLength: 12 }),
      fc.nat(3000),
      fc.nat(3000),
      (counts, a, b) => {
        const { bytes, times, values } = seriesOf(counts);
        const first = times[0] as number;
        const mint = first + Math.min(a, b) * 15_000;
        const maxt = first + Math.max(a, b) * 15_000;
        let claimed = 0;
        columns.clear();
        expect(
          columns.appendSeries(bytes, mint, maxt, false, (samples) => (claimed += samples)),
        ).toBe(true);
        expect(columns.length).toBe(claimed);
        const inside = (time: number) => time >= mint && time <= maxt;
        const got = contents(columns);
        const kept = got.times.flatMap((time, i) => (inside(time) ? [[time, got.values[i]]] : []));
        const want = times.flatMap((time, i) => (inside(time) ? [[time, values[i]]] : []));
        expect(kept).toEqual(want);
      },
    ),
    { numRuns: 60 },
  );
  columns.release();
});

test("chunks that overlap, are of another encoding or laid out otherwise are left to others", () => {
  const { fields, bytes, times } = seriesOf([3, 4]);
  const columns = new XorColumns();
  const take = (given: Uint8Array) => columns.appendSeries(given, 0, 2 ** 53, false, free);
  const [one = new Uint8Array(0), two = new Uint8Array(0)] = fields;
  expect(take(Buffer.concat([two, one]))).toBe(false);
  expect(take(Buffer.concat([one, one]))).toBe(false);
  expect(take(Buffer.concat([one, Uint8Array.of(0x1a, 0)]))).toBe(false);
  const { chunks } = chunksOf([3]);
  expect(take(chunkField(1, 2, chunks[0] as Uint8Array, 1))).toBe(false);
  // The second chunk's times say that it is later than its samples are.
  const late = chunkField(
    (times[6] as number) + 1,
    (times[6] as number) + 2,
    chunks[0] as Uint8Array,
  );
  expect(take(Buffer.concat([bytes, late]))).toBe(false);
  expect(columns.length).toBe(0);
  for (let end = 1; end < one.length; end++) expect(take(one.subarray(0, end))).toBe(false);
  expect(take(bytes)).toBe(true);
  columns.release();
});

test("chunks of XOR2 are read as well, but where start timestamps are wanted", () => {
  const { chunks, times, values } = chunksOf([120, 1, 200, 127]);
  let from = 0;
  const fields = chunks.map((chunk, i) => {
    const count = [120, 1, 200, 127][i] as number;
    const [first, last] = [times[from] as number, times[from + count - 1] as number];
    from += count;
    const started = xorToXor2(chunk, [first, 5, last, 7]) as Uint8Array;
    return i === 2 ? chunkField(first, last, chunk) : chunkField(first, last, started, 3);
  });
  const columns = new XorColumns();
  const all = Buffer.concat(fields);
  expect(columns.appendSeries(all, 0, 2 ** 53, true, free)).toBe(false);
  expect(columns.length).toBe(0);
  expect(columns.appendSeries(all, 0, 2 ** 53, false, free)).toBe(true);
  expect(contents(columns)).toEqual({ times, values });
  for (const type of [1, 2, 4, 5]) {
    const other = chunkField(1, 2, chunks[0] as Uint8Array, type);
    expect(columns.appendSeries(other, 0, 2 ** 53, false, free)).toBe(false);
  }
  const torn = (xorToXor2(chunks[0] as Uint8Array, [0, 1]) as Uint8Array).slice(0, -3);
  expect(() => columns.appendSeries(chunkField(1, 2, torn, 3), 0, 10, false, free)).toThrow(
    XorChunkTruncatedError,
  );
  columns.release();
});

test("a chunk that claims more samples than it holds is an error before memory is taken", () => {
  const columns = new XorColumns();
  const claims = (data: Uint8Array) => () =>
    columns.appendSeries(chunkField(1, 2, data), 0, 10, false, () => {
      throw new Error("charged");
    });
  expect(claims(Uint8Array.of(0xff, 0xff, 1, 2, 3))).toThrow(XorChunkTruncatedError);
  expect(claims(Uint8Array.of(1))).toThrow(XorChunkTruncatedError);
  const { chunks } = chunksOf([20]);
  const torn = (chunks[0] as Uint8Array).slice(0, -4);
  expect(() => columns.appendSeries(chunkField(1, 2, torn), 0, 10, false, free)).toThrow(
    XorChunkTruncatedError,
  );
  expect(columns.length).toBe(0);
});
