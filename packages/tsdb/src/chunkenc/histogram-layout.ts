/**
 * The buckets that a histogram chunk's samples have (Prometheus, tsdb/docs/format/chunks.md): how they are written in front of the first
 * sample, and how two of them are brought together.
 *
 *   zero threshold | varbit_int schema | positive spans | negative spans | with schema -53: custom bounds
 */

import { type BitReader, type BitWriter, ChunkTruncatedError } from "@torus/encoding";
import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import { bitsOf, doubleOf } from "./samples.ts";
import { EMPTY_LAYOUT, type HistogramLayout } from "./stored-histogram.ts";
import { readVarbitInt, readVarbitUint, writeVarbitInt, writeVarbitUint } from "./varbit.ts";
import { ChunkMalformedError } from "./xor-window.ts";

/** Zero thresholds that are a power of two have one byte: 0.5 * 2^(byte - 243). */
const THRESHOLD_BIAS = 243;
const MAX_THOUSANDTHS = 33_554_430;
/** No histogram has more; a chunk that claims more would have us allocate for nothing. */
const MAX_BUCKETS = 1 << 24;

export function writeZeroThreshold(out: BitWriter, threshold: number): void {
  const bits = bitsOf(threshold);
  if (bits === 0n) {
    out.bits(0, 8);
    return;
  }
  const exponent = Math.log2(threshold);
  const byte = exponent + 1 + THRESHOLD_BIAS;
  if (Number.isInteger(exponent) && 2 ** exponent === threshold && byte >= 1 && byte <= 254) {
    out.bits(byte, 8);
    return;
  }
  out.bits(255, 8);
  out.bitsBig(bits, 64);
}

export function readZeroThreshold(reader: BitReader): number {
  const byte = reader.bits(8);
  if (byte === 0) return 0;
  return byte === 255 ? doubleOf(reader.bitsBig(64)) : 2 ** (byte - 1 - THRESHOLD_BIAS);
}

export function writeCustomBound(out: BitWriter, bound: number): void {
  const thousandths = bound * 1000;
  const rounded = Math.round(thousandths);
  if (thousandths >= 0 && thousandths <= MAX_THOUSANDTHS && rounded / 1000 === bound) {
    writeVarbitUint(out, BigInt(rounded) + 1n);
    return;
  }
  out.bits(0, 1);
  out.bitsBig(bitsOf(bound), 64);
}

export function readCustomBound(reader: BitReader): number {
  const thousandths = readVarbitUint(reader);
  return thousandths === 0n ? doubleOf(reader.bitsBig(64)) : Number(thousandths - 1n) / 1000;
}

export function writeLayout(out: BitWriter, layout: HistogramLayout): void {
  writeZeroThreshold(out, layout.zeroThreshold);
  writeVarbitInt(out, BigInt(layout.schema));
  for (const spans of [layout.positiveSpans, layout.negativeSpans]) {
    writeVarbitUint(out, BigInt(spans.length));
    for (const { offset, length } of spans) {
      writeVarbitUint(out, BigInt(length));
      writeVarbitInt(out, BigInt(offset));
    }
  }
  if (layout.schema !== CUSTOM_BUCKETS_SCHEMA) return;
  writeVarbitUint(out, BigInt(layout.customValues.length));
  for (const bound of layout.customValues) writeCustomBound(out, bound);
}

/** @param encoding For errors. @throws {ChunkTruncatedError} @throws {ChunkMalformedError} */
export function readLayout(reader: BitReader, encoding: number, bytes: number): HistogramLayout {
  const zeroThreshold = readZeroThreshold(reader);
  const schema = Number(readVarbitInt(reader));
  if (schema !== CUSTOM_BUCKETS_SCHEMA && Math.abs(schema) > 127) {
    throw new ChunkMalformedError(encoding, `schema ${schema}`);
  }
  const positiveSpans = readSpans(reader, encoding, bytes);
  const negativeSpans = readSpans(reader, encoding, bytes);
  if (schema !== CUSTOM_BUCKETS_SCHEMA) {
    const { customValues } = EMPTY_LAYOUT;
    return { schema, zeroThreshold, positiveSpans, negativeSpans, customValues };
  }
  const customValues = new Float64Array(countWithin(reader, bytes));
  for (let i = 0; i < customValues.length; i++) customValues[i] = readCustomBound(reader);
  return { schema, zeroThreshold, positiveSpans, negativeSpans, customValues };
}

/** A count of things that take a bit at least each. */
function countWithin(reader: BitReader, bytes: number): number {
  const count = Number(readVarbitUint(reader));
  if (count > bytes * 8) throw new ChunkTruncatedError(count, reader.bit, bytes);
  return count;
}

function readSpans(reader: BitReader, encoding: number, bytes: number): BucketSpan[] {
  const spans: BucketSpan[] = [];
  let buckets = 0;
  for (let n = countWithin(reader, bytes); n > 0; n--) {
    const length = Number(readVarbitUint(reader));
    const offset = Number(readVarbitInt(reader));
    buckets += length;
    if (buckets > MAX_BUCKETS) throw new ChunkMalformedError(encoding, `${buckets} buckets`);
    spans.push({ offset, length });
  }
  return spans;
}

export function sameBounds(a: Float64Array, b: Float64Array): boolean {
  return a.length === b.length && a.every((bound, i) => bound === b[i]);
}

export function sameSpans(a: readonly BucketSpan[], b: readonly BucketSpan[]): boolean {
  return (
    a.length === b.length &&
    a.every((span, i) => span.offset === b[i]?.offset && span.length === b[i].length)
  );
}

/** The bucket number of every bucket, ascending. */
export function bucketIndexes(spans: readonly BucketSpan[]): number[] {
  const out: number[] = [];
  let next = 0;
  for (const { offset, length } of spans) {
    next += offset;
    for (let i = 0; i < length; i++) out.push(next++);
  }
  return out;
}

/** Spans of all buckets that either has. Where one has them all, its own spans, empty and touching ones included. */
export function uniteSpans(
  a: readonly BucketSpan[],
  b: readonly BucketSpan[],
): readonly BucketSpan[] {
  const ofA = bucketIndexes(a);
  const ofB = bucketIndexes(b);
  const all = [...new Set([...ofA, ...ofB])].sort((x, y) => x - y);
  if (all.length === ofA.length) return a;
  if (all.length === ofB.length) return b;
  const out: BucketSpan[] = [];
  let next = 0;
  for (const index of all) {
    const last = out.at(-1);
    if (last !== undefined && index === next) last.length++;
    else out.push({ offset: index - next, length: 1 });
    next = index + 1;
  }
  return out;
}

/**
 * The buckets in a layout that has more of them.
 *
 * @param delta Whether a bucket is the difference to the one before; else it is absolute.
 */
export function widenBuckets(
  buckets: BigInt64Array,
  from: readonly BucketSpan[],
  to: readonly BucketSpan[],
  delta: boolean,
): BigInt64Array {
  if (sameSpans(from, to)) return buckets;
  const source = bucketIndexes(from);
  const target = bucketIndexes(to);
  const out = new BigInt64Array(target.length);
  let at = 0;
  let absolute = 0n;
  let before = 0n;
  for (const [i, index] of target.entries()) {
    let count = 0n;
    if (source[at] === index) {
      absolute = delta ? absolute + (buckets[at] as bigint) : (buckets[at] as bigint);
      count = absolute;
      at++;
    }
    out[i] = delta ? count - before : count;
    before = count;
  }
  return out;
}
