/**
 * Records of a write-ahead log (Prometheus, tsdb/docs/format/wal.md), decoded and encoded; the first byte is the type.
 *
 *   1 series         (u64 ref, uvarint labels, (str name, str value)*)*
 *   2 samples        u64 first ref, i64 first t, (varint ref - first, varint t - first, f64)*
 *   3 tombstones     (u64 ref, varint mint, varint maxt)*
 *   4 exemplars      as 2, each followed by uvarint labels, (str name, str value)*
 *   5 mmap markers   (u64 ref, u64 reference of a chunk in chunks_head)*
 *   6 metadata       (uvarint ref, u8 type, uvarint fields, (str name, str value)*)*
 *   7 8 9 10         as 2 with an integer (7, 9) or float (8, 10) histogram; 9 and 10 have custom buckets
 *   11 12 13         varint ref - ref before, varint t - first t, start timestamp, f64 or integer or float histogram;
 *                    of the first sample varint ref, varint t, varint start timestamp
 *
 * Refs above 2^53 are refused; times and values are exact.
 */

import { ByteReader, ByteWriter, TruncatedError, VarintOverflowError } from "@torus/encoding";
import type { Labels } from "@torus/model";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import { readRecordHistogram, writeRecordHistogram } from "./record-histogram.ts";

export const RecordKind = {
  SERIES: 1,
  SAMPLES: 2,
  TOMBSTONES: 3,
  EXEMPLARS: 4,
  MMAP_MARKERS: 5,
  METADATA: 6,
  HISTOGRAMS: 7,
  FLOAT_HISTOGRAMS: 8,
  CUSTOM_BUCKET_HISTOGRAMS: 9,
  CUSTOM_BUCKET_FLOAT_HISTOGRAMS: 10,
  SAMPLES_V2: 11,
  HISTOGRAMS_V2: 12,
  FLOAT_HISTOGRAMS_V2: 13,
} as const;

/** What the record's numbers are relative to: most often those of its first item, but not always. */
export type RecordBase = { ref: number; time: bigint };

/** Samples of a record. `startTime` is 0 where there is none. */
export type RecordSample = { ref: number; time: bigint; startTime: bigint; value: bigint };
export type RecordHistogramSample = {
  ref: number;
  time: bigint;
  startTime: bigint;
  histogram: StoredHistogram;
};

export type LogRecord =
  | { type: 1; series: { ref: number; labels: Labels }[] }
  | { type: 2 | 11; base: RecordBase; samples: RecordSample[] }
  | { type: 3; tombstones: { ref: number; mint: bigint; maxt: bigint }[] }
  | {
      type: 4;
      base: RecordBase;
      exemplars: { ref: number; time: bigint; value: bigint; labels: Labels }[];
    }
  | { type: 5; markers: { ref: number; file: number; offset: number }[] }
  | {
      type: 6;
      metadata: { ref: number; metricType: number; fields: [name: string, value: string][] }[];
    }
  | {
      type: 7 | 8 | 9 | 10 | 12 | 13;
      base: RecordBase;
      samples: RecordHistogramSample[];
    };

/** A record whose checksum is right, but whose bytes are not what its type says. */
export class LogRecordMalformedError extends Error {
  readonly type: number;
  constructor(type: number, length: number, what: string, options?: ErrorOptions) {
    super(`log record of type ${type}, ${length} bytes: ${what}`, options);
    this.name = "LogRecordMalformedError";
    this.type = type;
  }
}

const FLOATS = new Set<number>([8, 10, 13]);
/** Tells how the start timestamp of a sample behind the first is given. */
export const StartMarker = { NONE: 0, SAME: 1, EXPLICIT: 2 } as const;

/**
 * @returns null for a type that is not known: newer programs write it, and older ones pass it over.
 * @throws {LogRecordMalformedError}
 */
export function decodeRecord(bytes: Uint8Array): LogRecord | null {
  const type = bytes[0];
  if (type === undefined) throw new LogRecordMalformedError(0, 0, "no type");
  const reader = new ByteReader(bytes, 1);
  try {
    return decodeBody(type, reader);
  } catch (error) {
    if (error instanceof TruncatedError || error instanceof VarintOverflowError) {
      throw new LogRecordMalformedError(type, bytes.length, error.message, { cause: error });
    }
    throw error;
  }
}

function decodeBody(type: number, reader: ByteReader): LogRecord | null {
  switch (type) {
    case 1:
      return {
        type,
        series: repeated(reader, () => ({
          ref: refOf(reader.u64Big()),
          labels: readLabels(reader),
        })),
      };
    case 3:
      return {
        type,
        tombstones: repeated(reader, () => ({
          ref: refOf(reader.u64Big()),
          mint: reader.varintBig(),
          maxt: reader.varintBig(),
        })),
      };
    case 4: {
      const base = readBase(reader);
      return {
        type,
        base,
        exemplars: repeated(reader, () => ({
          ...readPlace(reader, base),
          value: reader.u64Big(),
          labels: readLabels(reader),
        })),
      };
    }
    case 5:
      return {
        type,
        markers: repeated(reader, () => ({
          ref: refOf(reader.u64Big()),
          file: reader.u32(),
          offset: reader.u32(),
        })),
      };
    case 6:
      return { type, metadata: repeated(reader, () => readMetadata(reader)) };
    case 2: {
      const base = readBase(reader);
      return {
        type,
        base,
        samples: repeated(reader, () => ({
          ...readPlace(reader, base),
          startTime: 0n,
          value: reader.u64Big(),
        })),
      };
    }
    case 7:
    case 8:
    case 9:
    case 10: {
      const base = readBase(reader);
      return {
        type,
        base,
        samples: repeated(reader, () => ({
          ...readPlace(reader, base),
          startTime: 0n,
          histogram: readRecordHistogram(reader, FLOATS.has(type)),
        })),
      };
    }
    case 11: {
      const { base, samples } = readStarted(reader, () => reader.u64Big());
      return { type, base, samples: samples.map(({ item, ...at }) => ({ ...at, value: item })) };
    }
    case 12:
    case 13: {
      const { base, samples } = readStarted(reader, () =>
        readRecordHistogram(reader, FLOATS.has(type)),
      );
      return {
        type,
        base,
        samples: samples.map(({ item, ...at }) => ({ ...at, histogram: item })),
      };
    }
    default:
      return null;
  }
}

function repeated<T>(reader: ByteReader, read: () => T): T[] {
  const out: T[] = [];
  while (reader.remaining > 0) out.push(read());
  return out;
}

function refOf(ref: bigint): number {
  if (ref < 0n || ref > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new LogRecordMalformedError(0, 0, `series ref ${ref} is too large`);
  }
  return Number(ref);
}

/** A record without items may be its type alone. */
function readBase(reader: ByteReader): RecordBase {
  if (reader.remaining === 0) return { ref: 0, time: 0n };
  return { ref: refOf(reader.u64Big()), time: BigInt.asIntN(64, reader.u64Big()) };
}

function readPlace(reader: ByteReader, base: RecordBase): { ref: number; time: bigint } {
  const ref = refOf(BigInt(base.ref) + reader.varintBig());
  return { ref, time: BigInt.asIntN(64, base.time + reader.varintBig()) };
}

function readLabels(reader: ByteReader): Labels {
  const out: string[] = [];
  const count = reader.uvarint();
  if (count > reader.remaining)
    throw new TruncatedError("labels", reader.offset, count, reader.end);
  for (let i = 0; i < count * 2; i++) out.push(reader.string());
  return out;
}

function readMetadata(reader: ByteReader) {
  const ref = refOf(reader.uvarintBig());
  const metricType = reader.u8();
  const fields: [string, string][] = [];
  const count = reader.uvarint();
  if (count > reader.remaining)
    throw new TruncatedError("fields", reader.offset, count, reader.end);
  for (let i = 0; i < count; i++) fields.push([reader.string(), reader.string()]);
  return { ref, metricType, fields };
}

type Started<T> = { ref: number; time: bigint; startTime: bigint; item: T };

function readStarted<T>(
  reader: ByteReader,
  readItem: () => T,
): { base: RecordBase; samples: Started<T>[] } {
  const samples: Started<T>[] = [];
  while (reader.remaining > 0) {
    const first = samples[0];
    const before = samples.at(-1);
    if (first === undefined || before === undefined) {
      const ref = refOf(reader.varintBig());
      const time = reader.varintBig();
      const startTime = reader.varintBig();
      samples.push({ ref, time, startTime, item: readItem() });
      continue;
    }
    const ref = refOf(BigInt(before.ref) + reader.varintBig());
    const time = BigInt.asIntN(64, first.time + reader.varintBig());
    const marker = reader.u8();
    let startTime = 0n;
    if (marker === StartMarker.SAME) startTime = before.startTime;
    else if (marker === StartMarker.EXPLICIT) {
      startTime = BigInt.asIntN(64, first.startTime + reader.varintBig());
    } else if (marker !== StartMarker.NONE) {
      throw new LogRecordMalformedError(11, reader.end, `start timestamp marker ${marker}`);
    }
    samples.push({ ref, time, startTime, item: readItem() });
  }
  const [first] = samples;
  return { base: { ref: first?.ref ?? 0, time: first?.time ?? 0n }, samples };
}

/** The record's bytes, in memory of their own. */
export function encodeRecord(record: LogRecord): Uint8Array {
  const out = new ByteWriter();
  out.u8(record.type);
  switch (record.type) {
    case 1:
      for (const { ref, labels } of record.series) {
        out.u64(ref);
        writeLabels(out, labels);
      }
      break;
    case 3:
      for (const { ref, mint, maxt } of record.tombstones) {
        out.u64(ref);
        out.varintBig(mint);
        out.varintBig(maxt);
      }
      break;
    case 4:
      writeBase(out, record.base);
      for (const { ref, time, value, labels } of record.exemplars) {
        writePlace(out, record.base, ref, time);
        out.u64Big(value);
        writeLabels(out, labels);
      }
      break;
    case 5:
      for (const { ref, file, offset } of record.markers) {
        out.u64(ref);
        out.u32(file);
        out.u32(offset);
      }
      break;
    case 6:
      for (const { ref, metricType, fields } of record.metadata) {
        out.uvarint(ref);
        out.u8(metricType);
        out.uvarint(fields.length);
        for (const [name, value] of fields) {
          out.string(name);
          out.string(value);
        }
      }
      break;
    case 2:
      writeBase(out, record.base);
      for (const { ref, time, value } of record.samples) {
        writePlace(out, record.base, ref, time);
        out.u64Big(value);
      }
      break;
    case 11:
      writeStarted(out, record.samples, ({ value }) => out.u64Big(value));
      break;
    case 12:
    case 13:
      writeStarted(out, record.samples, ({ histogram }) => writeRecordHistogram(out, histogram));
      break;
    case 7:
    case 8:
    case 9:
    case 10:
      writeBase(out, record.base);
      for (const { ref, time, histogram } of record.samples) {
        writePlace(out, record.base, ref, time);
        writeRecordHistogram(out, histogram);
      }
  }
  return out.copy();
}

function writeBase(out: ByteWriter, { ref, time }: RecordBase): void {
  out.u64(ref);
  out.u64Big(time);
}

function writePlace(out: ByteWriter, base: RecordBase, ref: number, time: bigint): void {
  out.varintBig(BigInt(ref) - BigInt(base.ref));
  out.varintBig(BigInt.asIntN(64, time - base.time));
}

function writeLabels(out: ByteWriter, labels: Labels): void {
  out.uvarint(labels.length / 2);
  for (const text of labels) out.string(text);
}

function writeStarted<T extends { ref: number; time: bigint; startTime: bigint }>(
  out: ByteWriter,
  samples: readonly T[],
  writeItem: (sample: T) => void,
): void {
  const [first] = samples;
  let before = first;
  for (const [i, sample] of samples.entries()) {
    const { ref, time, startTime } = sample;
    if (first === undefined || before === undefined) break;
    if (i === 0) {
      out.varintBig(BigInt(ref));
      out.varintBig(time);
      out.varintBig(startTime);
    } else {
      out.varintBig(BigInt(ref) - BigInt(before.ref));
      out.varintBig(BigInt.asIntN(64, time - first.time));
      if (startTime === 0n) out.u8(StartMarker.NONE);
      else if (startTime === before.startTime) out.u8(StartMarker.SAME);
      else {
        out.u8(StartMarker.EXPLICIT);
        out.varintBig(BigInt.asIntN(64, startTime - first.startTime));
      }
    }
    writeItem(sample);
    before = sample;
  }
}
