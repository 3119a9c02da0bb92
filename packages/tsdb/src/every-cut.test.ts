/** Whatever is written, cut anywhere: each codec reports it, and reads nothing that stands behind the cut. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ChunkTruncatedError } from "@torus/encoding";
import { XorChunkTruncatedError, xorDecodeChunk } from "@torus/kernels";
import { compareLabels, type Labels } from "@torus/model";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import {
  ChunkFileDamagedError,
  ChunkSegmentReader,
  ChunkSegmentWriter,
} from "./block/chunk-segments.ts";
import { IndexDamagedError, IndexReader } from "./block/index-reader.ts";
import { IndexWriter } from "./block/index-writer.ts";
import { readTombstones, TombstonesDamagedError, writeTombstones } from "./block/tombstones.ts";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import type { HistogramEncoding } from "./chunkenc/histogram.ts";
import { HistogramAppender } from "./chunkenc/histogram-appender.ts";
import { XorAppender } from "./chunkenc/xor.ts";
import { Xor2Appender } from "./chunkenc/xor2.ts";
import { readHeadChunks, writeHeadChunks } from "./chunks-head.ts";
import {
  decodeRecord,
  encodeRecord,
  type LogRecord,
  LogRecordMalformedError,
} from "./wlog/records.ts";

const dirs: string[] = [];
function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-cut-"));
  dirs.push(dir);
  return dir;
}
afterAll(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true });
});

const time = fc.bigInt({ min: -(2n ** 50n), max: 2n ** 50n });
const step = fc.oneof(fc.constant(15_000n), fc.bigInt({ min: 1n, max: 2n ** 33n }));
const bits = fc.oneof(
  fc.constantFrom(0n, 0x7ff0000000000002n, 0x3ff0000000000000n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const count = fc.bigInt({ min: 0n, max: 2n ** 40n });

const floats = fc.tuple(
  time,
  fc.array(fc.tuple(step, bits, fc.nat(1)), { minLength: 1, maxLength: 40 }),
);

/** The cuts of `bytes` whose reading does not throw `error`; what is behind a cut stays in memory behind it. */
function unnoticed(
  bytes: Uint8Array,
  read: (cut: Uint8Array) => unknown,
  error: new (...args: never[]) => Error,
): number[] {
  const out: number[] = [];
  for (let end = 0; end < bytes.length; end++) {
    try {
      read(bytes.subarray(0, end));
      out.push(end);
    } catch (thrown) {
      if (!(thrown instanceof error)) throw thrown;
    }
  }
  return out;
}

test("float chunks, read exactly and by the kernel", () => {
  fc.assert(
    fc.property(floats, ([start, samples]) => {
      const xor = new XorAppender();
      const xor2 = new Xor2Appender();
      let t = start;
      for (const [after, value, started] of samples) {
        t += after;
        xor.append(t, value);
        xor2.append(t, value, started === 1 ? t - 1000n : 0n);
      }
      const plain = xor.bytes();
      expect(
        unnoticed(plain, (data) => decodeSamples({ encoding: 1, data }), ChunkTruncatedError),
      ).toEqual([]);
      const timestamps = new Float64Array(samples.length);
      const values = new Float64Array(samples.length);
      expect(
        unnoticed(
          plain,
          (data) => xorDecodeChunk(data, timestamps, values),
          XorChunkTruncatedError,
        ),
      ).toEqual([]);
      expect(
        unnoticed(
          xor2.bytes(),
          (data) => decodeSamples({ encoding: 4, data }),
          ChunkTruncatedError,
        ),
      ).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

const buckets = fc.array(count, { minLength: 1, maxLength: 6 });

test.each<[string, HistogramEncoding]>([
  ["integer", 2],
  ["float", 3],
  ["integer with start timestamps", 5],
  ["float with start timestamps", 6],
])("chunks of %s histograms", (_, encoding) => {
  const float = encoding === 3 || encoding === 6;
  const histogram = fc.record({ sum: bits, zero: count, total: count, positive: buckets });
  fc.assert(
    fc.property(
      time,
      fc.array(fc.tuple(step, histogram), { minLength: 1, maxLength: 12 }),
      (start, samples) => {
        const appender = new HistogramAppender(encoding);
        let t = start;
        for (const [after, { sum, zero, total, positive }] of samples) {
          t += after;
          appender.append(t, t - 5n, {
            float,
            hint: "gauge",
            sum,
            zeroCount: zero,
            count: total,
            layout: {
              schema: 3,
              zeroThreshold: 0.001,
              positiveSpans: [{ offset: 2, length: positive.length }],
              negativeSpans: [],
              customValues: new Float64Array(0),
            },
            positive: BigInt64Array.from(positive),
            negative: new BigInt64Array(0),
          });
        }
        for (const { data } of appender.chunks()) {
          expect(
            unnoticed(data, (cut) => decodeSamples({ encoding, data: cut }), ChunkTruncatedError),
          ).toEqual([]);
        }
      },
    ),
    { numRuns: 40 },
  );
});

const word = fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 });
const labelSet = fc
  .uniqueArray(word, { minLength: 1, maxLength: 4 })
  .chain((names) => fc.tuple(...names.map((name) => fc.tuple(fc.constant(name), word))))
  .map((pairs) => pairs.sort(([a], [b]) => compareLabels([a], [b])).flat() as Labels);

function itemsOf(record: LogRecord): number {
  if (record.type === 1) return record.series.length;
  return record.type === 2 ? record.samples.length : 0;
}

test("records of the log", () => {
  const series = fc.array(fc.tuple(fc.nat(1 << 30), labelSet), { minLength: 1, maxLength: 5 }).map(
    (list): LogRecord => ({
      type: 1,
      series: list.map(([ref, labels]) => ({ ref, labels })),
    }),
  );
  const samples = fc
    .array(fc.tuple(fc.nat(1 << 30), time, bits), { minLength: 1, maxLength: 8 })
    .map(
      (list): LogRecord => ({
        type: 2,
        base: { ref: list[0]?.[0] ?? 0, time: list[0]?.[1] ?? 0n },
        samples: list.map(([ref, at, value]) => ({ ref, time: at, startTime: 0n, value })),
      }),
    );
  fc.assert(
    fc.property(fc.oneof(series, samples), (record) => {
      const bytes = encodeRecord(record);
      expect(itemsOf(decodeRecord(bytes) as LogRecord)).toBe(itemsOf(record));
      for (let end = 0; end < bytes.length; end++) {
        let items = -1;
        try {
          const cut = decodeRecord(bytes.subarray(0, end));
          if (cut !== null) items = itemsOf(cut);
        } catch (error) {
          expect(error).toBeInstanceOf(LogRecordMalformedError);
        }
        // A record that ends between two items is a shorter one: its length and checksum are the log's.
        expect(items).toBeLessThan(itemsOf(record));
      }
    }),
    { numRuns: 100 },
  );
});

test("an index, its symbols, series and postings", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(labelSet, { minLength: 1, maxLength: 6 }), async (sets) => {
      const sorted = [
        ...new Map(sets.map((labels) => [JSON.stringify(labels), labels])).values(),
      ].sort(compareLabels);
      const writer = new IndexWriter();
      for (const [i, labels] of sorted.entries()) {
        writer.add(labels, [{ minTime: 0, maxTime: 9, ref: 8 + i * 20 }]);
      }
      const file = path.join(newDir(), "index");
      await writer.finish(file);
      const bytes = new Uint8Array(readFileSync(file));
      const readAll = (from: Uint8Array) => {
        const index = new IndexReader(from);
        for (const name of index.labelNames()) {
          for (const value of index.values(name)) index.postings(name, value);
        }
        return [...index.all()].map((id) => index.series(id).labels);
      };
      expect(readAll(bytes)).toEqual(sorted);
      expect(unnoticed(bytes, readAll, IndexDamagedError)).toEqual([]);
    }),
    { numRuns: 25 },
  );
});

test("a chunk file: a chunk before the cut is read, one behind it is an error", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 5 }),
      (chunks) => {
        const dir = newDir();
        const writer = new ChunkSegmentWriter(dir);
        const refs = chunks.map((data) => writer.write(1, data));
        writer.finish();
        const file = path.join(dir, "000001");
        const bytes = readFileSync(file);
        for (let end = 0; end < bytes.length; end += 1 + Math.floor(bytes.length / 60)) {
          writeFileSync(file, bytes.subarray(0, end));
          const reader = new ChunkSegmentReader(dir);
          for (const [i, ref] of refs.entries()) {
            if (end >= (refs[i + 1] ?? bytes.length)) {
              expect([...reader.read(ref).data]).toEqual([...(chunks[i] ?? [])]);
            } else expect(() => reader.read(ref)).toThrow(ChunkFileDamagedError);
          }
          reader.close();
        }
      },
    ),
    { numRuns: 20 },
  );
});

test("tombstones", () => {
  const stone = fc.tuple(fc.nat(1 << 20), fc.integer(), fc.nat(1 << 20));
  fc.assert(
    fc.property(fc.array(stone, { maxLength: 6 }), (stones) => {
      const dir = newDir();
      writeTombstones(
        dir,
        new Map(stones.map(([id, mint, length]) => [id, [{ mint, maxt: mint + length }]])),
      );
      const file = path.join(dir, "tombstones");
      const bytes = readFileSync(file);
      for (let end = 0; end < bytes.length; end++) {
        writeFileSync(file, bytes.subarray(0, end));
        expect(() => readTombstones(dir)).toThrow(TombstonesDamagedError);
      }
    }),
    { numRuns: 30 },
  );
});

test("a file of head chunks: those before the cut are read, and the cut is said", () => {
  const chunk = fc.tuple(
    fc.nat(1 << 20),
    fc.nat(1 << 30),
    fc.uint8Array({ minLength: 1, maxLength: 80 }),
  );
  fc.assert(
    fc.property(fc.array(chunk, { minLength: 1, maxLength: 4 }), (list) => {
      const dir = newDir();
      const offsets = writeHeadChunks(
        dir,
        1,
        list.map(([ref, minTime, data]) => ({
          seriesRef: ref + 1,
          minTime,
          maxTime: minTime + 1,
          encoding: 1,
          outOfOrder: false,
          data,
        })),
      );
      const file = path.join(dir, "000001");
      const bytes = readFileSync(file);
      for (let end = 1; end < bytes.length; end += 3) {
        writeFileSync(file, bytes.subarray(0, end));
        const { chunks, damage } = readHeadChunks(dir);
        const whole = offsets.filter((_, i) => (offsets[i + 1] ?? bytes.length) <= end);
        expect(chunks.map(({ offset }) => offset)).toEqual(whole);
        // Zeros end a file too.
        const rest = bytes.subarray(offsets[whole.length] ?? 8, end);
        const ends = end >= 8 && rest.every((byte) => byte === 0);
        expect(damage).toHaveLength(ends ? 0 : 1);
      }
    }),
    { numRuns: 20 },
  );
});
