import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { formatValue, histogramNotation } from "../chunkenc/notation.ts";
import { readLog, readSegment } from "./reader.ts";
import { decodeRecord, encodeRecord, type LogRecord, LogRecordMalformedError } from "./records.ts";

/** Databases that Prometheus wrote; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../../test/golden/tsdb/db");
const names = readdirSync(root)
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -5));

type GoldenRecord = { type_byte: number; length: number; items: unknown[] };
type GoldenSegment = { segment: string; records: GoldenRecord[] | null; read_error?: string };
type GoldenDb = { wal: GoldenSegment[]; wbl?: GoldenSegment[] };

function pairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [
    flat[2 * i] as string,
    flat[2 * i + 1] as string,
  ]);
}

/** A record's items as the golden files have them. */
function itemsOf(record: LogRecord): unknown[] {
  switch (record.type) {
    case 1:
      return record.series.map(({ ref, labels }) => ({ ref, labels: pairs(labels) }));
    case 2:
      return record.samples.map(({ ref, time, value }) => [ref, Number(time), formatValue(value)]);
    case 3:
      return record.tombstones.map(({ ref, mint, maxt }) => [ref, Number(mint), Number(maxt)]);
    case 4:
      return record.exemplars.map(({ ref, time, value, labels }) => ({
        ref,
        t: Number(time),
        v: formatValue(value),
        labels: pairs(labels),
      }));
    case 5:
      return record.markers;
    case 6:
      return record.metadata.map(({ ref, metricType, fields }) => ({
        ref,
        metric_type: metricType,
        unit: fields.find(([name]) => name === "UNIT")?.[1],
        help: fields.find(([name]) => name === "HELP")?.[1],
      }));
    case 11:
      return record.samples.map(({ ref, time, value, startTime }) => [
        ref,
        Number(time),
        formatValue(value),
        Number(startTime),
      ]);
    case 7:
    case 8:
    case 9:
    case 10:
    case 12:
    case 13:
      return record.samples.map(({ ref, time, startTime, histogram }) => ({
        ref,
        t: Number(time),
        st: Number(startTime),
        [histogram.float ? "fh" : "h"]: histogramNotation(histogram),
      }));
  }
}

const logs = names.flatMap((name) => {
  const golden = JSON.parse(readFileSync(path.join(root, `${name}.json`), "utf8")) as GoldenDb;
  return (["wal", "wbl"] as const).flatMap((kind) => {
    const segments = golden[kind] ?? [];
    return segments.map(
      (segment) =>
        [`${name}/${kind}/${segment.segment}`, path.join(root, name, kind), segment] as const,
    );
  });
});

test.each(logs)(
  "records of %s are what Prometheus reads, and are written as it wrote them",
  (_, dir, segment) => {
    const got: { type_byte: number; length: number; items: unknown[] }[] = [];
    const damage = readSegment(readFileSync(path.join(dir, segment.segment)), 0, (bytes) => {
      const record = decodeRecord(bytes) as LogRecord;
      got.push({ type_byte: record.type, length: bytes.length, items: itemsOf(record) });
      expect(Buffer.from(encodeRecord(record)).toString("hex")).toBe(
        Buffer.from(bytes).toString("hex"),
      );
    });
    const want = (segment.records ?? []).map(({ type_byte, length, items }) => ({
      type_byte,
      length,
      items,
    }));
    expect(got).toEqual(want);
    expect(damage === null).toBe(segment.read_error === undefined);
  },
);

test("a checkpoint's records are read and written like those of the log", () => {
  const wal = path.join(root, "tombstones-segments-checkpoint/wal");
  const types = new Set<number>();
  const damage = readLog(path.join(wal, "checkpoint.00000002"), 0, 9, (bytes) => {
    const record = decodeRecord(bytes) as LogRecord;
    types.add(record.type);
    expect(encodeRecord(record)).toEqual(new Uint8Array(bytes));
  });
  expect(damage).toBeNull();
  expect(types).toContain(1);
});

test("every cut of a record is an error or a shorter record, none is read past its end", () => {
  for (const [, dir, segment] of logs) {
    readSegment(readFileSync(path.join(dir, segment.segment)), 0, (bytes) => {
      const whole = itemsOf(decodeRecord(bytes) as LogRecord).length;
      for (let end = 0; end < bytes.length; end += bytes.length > 300 ? 7 : 1) {
        try {
          const record = decodeRecord(bytes.slice(0, end));
          if (record !== null) expect(itemsOf(record).length).toBeLessThan(whole);
        } catch (error) {
          expect(error).toBeInstanceOf(LogRecordMalformedError);
        }
      }
    });
  }
});

test("bytes of any kind are a record or an error", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 15 }),
      fc.uint8Array({ maxLength: 200 }),
      (type, body) => {
        try {
          decodeRecord(Uint8Array.of(type, ...body));
        } catch (error) {
          expect(error).toBeInstanceOf(LogRecordMalformedError);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test("a type of a newer program is passed over", () => {
  expect(decodeRecord(Uint8Array.of(99, 1, 2))).toBeNull();
});
