/**
 * A native histogram in a log record or snapshot (Prometheus, tsdb/docs/format/wal.md):
 *
 *   u8 hint | varint schema | f64 zero threshold | zero count, count (uvarint; f64 in float histograms) | f64 sum
 *   positive spans, negative spans: uvarint count, (varint offset, uvarint length)*
 *   positive buckets, negative buckets: uvarint count, varint differences or f64 counts
 *   with schema -53: uvarint count, f64 custom bounds
 */

import { type ByteReader, type ByteWriter, TruncatedError } from "@torus/encoding";
import { type BucketSpan, type CounterResetHint, CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import { bitsOf } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";

const HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];

/** @throws {TruncatedError} @throws {VarintOverflowError} */
export function readRecordHistogram(reader: ByteReader, float: boolean): StoredHistogram {
  const hint = HINTS[reader.u8()] ?? "unknown";
  const schema = reader.varint();
  const zeroThreshold = reader.f64();
  const readCount = () => (float ? reader.u64Big() : reader.uvarintBig());
  const zeroCount = readCount();
  const count = readCount();
  const sum = reader.u64Big();
  const positiveSpans = readSpans(reader);
  const negativeSpans = readSpans(reader);
  const positive = readBuckets(reader, float);
  const negative = readBuckets(reader, float);
  let customValues = new Float64Array(0);
  if (schema === CUSTOM_BUCKETS_SCHEMA) {
    customValues = new Float64Array(countOf(reader, 8));
    for (let i = 0; i < customValues.length; i++) reader.f64Into(customValues, i);
  }
  const layout = { schema, zeroThreshold, positiveSpans, negativeSpans, customValues };
  return { float, hint, layout, zeroCount, count, sum, positive, negative };
}

/** A count of things that take `size` bytes at least each: no more than there can be. */
function countOf(reader: ByteReader, size: number): number {
  const count = reader.uvarint();
  if (count * size > reader.remaining) {
    throw new TruncatedError("list", reader.offset, count * size, reader.end);
  }
  return count;
}

function readSpans(reader: ByteReader): BucketSpan[] {
  const out: BucketSpan[] = [];
  for (let n = countOf(reader, 2); n > 0; n--) {
    out.push({ offset: reader.varint(), length: reader.uvarint() });
  }
  return out;
}

function readBuckets(reader: ByteReader, float: boolean): BigInt64Array {
  const out = new BigInt64Array(countOf(reader, float ? 8 : 1));
  for (let i = 0; i < out.length; i++) out[i] = float ? reader.u64Big() : reader.varintBig();
  return out;
}

export function writeRecordHistogram(out: ByteWriter, histogram: StoredHistogram): void {
  const { float, layout, positive, negative } = histogram;
  out.u8(HINTS.indexOf(histogram.hint));
  out.varint(layout.schema);
  out.u64Big(bitsOf(layout.zeroThreshold));
  for (const count of [histogram.zeroCount, histogram.count]) {
    if (float) out.u64Big(count);
    else out.uvarintBig(count);
  }
  out.u64Big(histogram.sum);
  for (const spans of [layout.positiveSpans, layout.negativeSpans]) {
    out.uvarint(spans.length);
    for (const { offset, length } of spans) {
      out.varint(offset);
      out.uvarint(length);
    }
  }
  for (const buckets of [positive, negative]) {
    out.uvarint(buckets.length);
    for (const bucket of buckets) {
      if (float) out.u64Big(bucket);
      else out.varintBig(bucket);
    }
  }
  if (layout.schema !== CUSTOM_BUCKETS_SCHEMA) return;
  out.uvarint(layout.customValues.length);
  for (const bound of layout.customValues) out.u64Big(bitsOf(bound));
}
