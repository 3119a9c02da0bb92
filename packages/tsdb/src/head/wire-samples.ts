/**
 * Float samples and native histograms of one TimeSeries of a remote write request, in plain code: for series with
 * histograms, whose entries the kernel leaves to the caller (Prometheus, prompb/types.proto).
 *
 *   TimeSeries  2 Sample*  4 Histogram*
 *   Sample      1 double value  2 int64 timestamp  3 int64 start timestamp
 *   Histogram   1 uint64 or 2 double count  3 double sum  4 sint32 schema  5 double zero threshold
 *               6 uint64 or 7 double zero count  8, 11 negative, positive spans { 1 sint32 offset  2 uint32 length }
 *               9, 12 sint64 deltas  10, 13 double counts  14 reset hint  15 int64 timestamp  16 double custom values
 *               17 int64 start timestamp
 *
 * The top level was checked by the walk; what lies inside a Histogram or an Exemplar is checked here.
 */

import { type BucketSpan, type CounterResetHint, labelsFromPairs } from "@torus/model";
import { doubleOf, STALE_BITS } from "../chunkenc/samples.ts";
import { type StoredHistogram, staleHistogram } from "../chunkenc/stored-histogram.ts";
import type { Exemplar } from "./exemplars.ts";

export type WireFloat = { time: number; startTime: number; value: bigint };
/** `malformed` says what is no Histogram message; the sample is then refused. */
export type WireHistogram = {
  time: number;
  startTime: number;
  histogram: StoredHistogram;
  malformed: boolean;
};

const HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];
const NO_BUCKETS = new BigInt64Array(0);
const NO_BOUNDS = new Float64Array(0);

class MalformedError extends Error {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Times are int64 on the wire; those outside 2^53 come as the nearest number, which no head accepts. */
export function readWireSamples(
  bytes: Uint8Array,
  start: number,
  end: number,
): { floats: WireFloat[]; histograms: WireHistogram[] } {
  const floats: WireFloat[] = [];
  const histograms: WireHistogram[] = [];
  const reader = new Fields(bytes, start, end);
  while (reader.next()) {
    if (reader.wireType !== 2) continue;
    if (reader.field === 2) floats.push(readFloat(bytes, reader.start, reader.stop));
    else if (reader.field === 4) histograms.push(readHistogram(bytes, reader.start, reader.stop));
  }
  return { floats, histograms };
}

/**
 * The exemplars of a TimeSeries:
 *
 *   TimeSeries  3 Exemplar*
 *   Exemplar    1 Label { 1 name  2 value }*  2 double value  3 int64 timestamp
 *
 * null in place of one that is no such message.
 */
export function readWireExemplars(
  bytes: Uint8Array,
  start: number,
  end: number,
): (Exemplar | null)[] {
  const out: (Exemplar | null)[] = [];
  const reader = new Fields(bytes, start, end);
  while (reader.next()) {
    if (reader.field !== 3 || reader.wireType !== 2) continue;
    try {
      out.push(readExemplar(bytes, reader.start, reader.stop));
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      out.push(null);
    }
  }
  return out;
}

function readExemplar(bytes: Uint8Array, start: number, end: number): Exemplar {
  const pairs: [string, string][] = [];
  let value = 0n;
  let time = 0;
  const reader = new Fields(bytes, start, end);
  while (reader.next()) {
    if (reader.field === 1) {
      const pair: [string, string] = ["", ""];
      const label = reader.inner();
      while (label.next())
        if (label.field === 1 || label.field === 2) pair[label.field - 1] = label.text();
      pairs.push(pair);
    } else if (reader.field === 2) value = reader.fixed();
    else if (reader.field === 3) time = reader.int64();
  }
  return { time, value, labels: labelsFromPairs(pairs) };
}

function readFloat(bytes: Uint8Array, start: number, end: number): WireFloat {
  const out: WireFloat = { time: 0, startTime: 0, value: 0n };
  const reader = new Fields(bytes, start, end);
  while (reader.next()) {
    if (reader.field === 1 && reader.wireType === 1) out.value = reader.fixed();
    else if (reader.field === 2 && reader.wireType === 0) out.time = reader.int64();
    else if (reader.field === 3 && reader.wireType === 0) out.startTime = reader.int64();
  }
  return out;
}

function readHistogram(bytes: Uint8Array, start: number, end: number): WireHistogram {
  const out: WireHistogram = {
    time: 0,
    startTime: 0,
    histogram: staleHistogram(false),
    malformed: false,
  };
  try {
    out.histogram = readBuckets(bytes, start, end, out);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    out.malformed = true;
  }
  return out;
}

function readBuckets(
  bytes: Uint8Array,
  start: number,
  end: number,
  times: { time: number; startTime: number },
): StoredHistogram {
  let float = false;
  let count = 0n;
  let zeroCount = 0n;
  let sum = 0n;
  let schema = 0;
  let zeroThreshold = 0;
  let hint: CounterResetHint = "unknown";
  const spans: { positive: BucketSpan[]; negative: BucketSpan[] } = { positive: [], negative: [] };
  const deltas: { positive: bigint[]; negative: bigint[] } = { positive: [], negative: [] };
  const counts: { positive: bigint[]; negative: bigint[] } = { positive: [], negative: [] };
  const customValues: bigint[] = [];
  const reader = new Fields(bytes, start, end);
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        float = false;
        count = reader.varint();
        break;
      case 2:
        float = true;
        count = reader.fixed();
        break;
      case 3:
        sum = reader.fixed();
        break;
      case 4:
        schema = Number(BigInt.asIntN(32, zigzag(reader.varint())));
        break;
      case 5:
        zeroThreshold = doubleOf(reader.fixed());
        break;
      case 6:
        zeroCount = reader.varint();
        break;
      case 7:
        zeroCount = reader.fixed();
        break;
      case 8:
      case 11:
        spans[reader.field === 8 ? "negative" : "positive"].push(readSpan(reader));
        break;
      case 9:
      case 12:
        reader.packedVarints(deltas[reader.field === 9 ? "negative" : "positive"]);
        break;
      case 10:
      case 13:
        reader.packedFixed(counts[reader.field === 10 ? "negative" : "positive"]);
        break;
      case 14:
        hint = HINTS[Number(reader.varint())] ?? "unknown";
        break;
      case 15:
        times.time = reader.int64();
        break;
      case 16:
        reader.packedFixed(customValues);
        break;
      case 17:
        times.startTime = reader.int64();
        break;
      default:
    }
  }
  if (sum === STALE_BITS) return { ...staleHistogram(float), hint };
  const [positive, negative] = float
    ? [counts.positive, counts.negative]
    : [deltas.positive.map(zigzag), deltas.negative.map(zigzag)];
  return {
    float,
    hint,
    layout: {
      schema,
      zeroThreshold,
      positiveSpans: spans.positive,
      negativeSpans: spans.negative,
      customValues:
        customValues.length === 0 ? NO_BOUNDS : Float64Array.from(customValues, doubleOf),
    },
    zeroCount,
    count,
    sum,
    positive: positive.length === 0 ? NO_BUCKETS : BigInt64Array.from(positive),
    negative: negative.length === 0 ? NO_BUCKETS : BigInt64Array.from(negative),
  };
}

function readSpan(outer: Fields): BucketSpan {
  const span: BucketSpan = { offset: 0, length: 0 };
  const reader = outer.inner();
  while (reader.next()) {
    if (reader.field === 1) span.offset = Number(BigInt.asIntN(32, zigzag(reader.varint())));
    else if (reader.field === 2) span.length = Number(BigInt.asUintN(32, reader.varint()));
  }
  return span;
}

function zigzag(raw: bigint): bigint {
  return BigInt.asIntN(64, (raw >> 1n) ^ -(raw & 1n));
}

/** The fields of one message, one after another. */
class Fields {
  field = 0;
  wireType = 0;
  /** The value of the field, or what is inside it. */
  start = 0;
  stop = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.stop = start;
    this.#end = end;
  }

  /** Goes to the next field; false behind the last one. @throws {MalformedError} */
  next(): boolean {
    if (this.stop >= this.#end) return false;
    this.start = this.stop;
    const tag = Number(this.#readVarint());
    this.field = Math.floor(tag / 8);
    this.wireType = tag % 8;
    if (this.field === 0) throw new MalformedError();
    if (this.wireType === 0) {
      const at = this.start;
      this.#readVarint();
      this.stop = this.start;
      this.start = at;
    } else if (this.wireType === 1) this.stop = this.start + 8;
    else if (this.wireType === 5) this.stop = this.start + 4;
    else if (this.wireType === 2) {
      const length = Number(this.#readVarint());
      this.stop = this.start + length;
    } else throw new MalformedError();
    if (this.stop > this.#end) throw new MalformedError();
    return true;
  }

  varint(): bigint {
    if (this.wireType !== 0) throw new MalformedError();
    const at = this.start;
    const value = this.#readVarint();
    this.start = at;
    return value;
  }

  int64(): number {
    return Number(BigInt.asIntN(64, this.varint()));
  }

  /** The bits of a double. */
  fixed(): bigint {
    if (this.wireType !== 1) throw new MalformedError();
    return this.#view.getBigUint64(this.start, true);
  }

  /** @throws {MalformedError} also for what is no UTF-8 */
  text(): string {
    if (this.wireType !== 2) throw new MalformedError();
    try {
      // The decoder takes no shared memory.
      return utf8.decode(this.#bytes.slice(this.start, this.stop));
    } catch {
      throw new MalformedError();
    }
  }

  inner(): Fields {
    if (this.wireType !== 2) throw new MalformedError();
    return new Fields(this.#bytes, this.start, this.stop);
  }

  /** Packed, or one alone. */
  packedVarints(out: bigint[]): void {
    if (this.wireType === 0) {
      out.push(this.varint());
      return;
    }
    if (this.wireType !== 2) throw new MalformedError();
    while (this.start < this.stop) {
      out.push(this.#readVarint());
      if (this.start > this.stop) throw new MalformedError();
    }
  }

  packedFixed(out: bigint[]): void {
    if (this.wireType === 1) {
      out.push(this.fixed());
      return;
    }
    if (this.wireType !== 2 || (this.stop - this.start) % 8 !== 0) throw new MalformedError();
    for (let at = this.start; at < this.stop; at += 8) out.push(this.#view.getBigUint64(at, true));
  }

  /** From `start` on, which moves behind it. */
  #readVarint(): bigint {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 7; i++, scale *= 128) {
      if (this.start >= this.#end) throw new MalformedError();
      const byte = this.#bytes[this.start++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return BigInt(value);
    }
    let big = BigInt(value);
    for (let i = 7n; i < 10n; i++) {
      if (this.start >= this.#end) throw new MalformedError();
      const byte = this.#bytes[this.start++] as number;
      big |= BigInt(byte & 0x7f) << (7n * i);
      if (byte < 0x80) return BigInt.asUintN(64, big);
    }
    throw new MalformedError();
  }
}
