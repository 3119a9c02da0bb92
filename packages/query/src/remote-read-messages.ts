/**
 * The messages of Prometheus' remote read (prompb/remote.proto):
 *
 *     ReadRequest         { Query queries = 1, enum accepted_response_types = 2 }
 *     Query               { int64 start = 1, int64 end = 2, LabelMatcher matchers = 3, ReadHints hints = 4 }
 *     ReadResponse        { QueryResult results = 1 }      QueryResult { TimeSeries timeseries = 1 }
 *     TimeSeries          { Label labels = 1, Sample samples = 2, Histogram histograms = 4 }
 *     ChunkedReadResponse { ChunkedSeries series = 1 { Label labels = 1, Chunk chunks = 2 }, int64 query_index = 2 }
 *     Chunk               { int64 min = 1, int64 max = 2, enum type = 3, bytes data = 4 }
 *
 * A stream's frame is the message's length as a uvarint, its CRC-32C in 4 bytes big-endian, and the message.
 */

import { ByteReader, ByteWriter, crc32c } from "@torus/encoding";
import {
  type BucketSpan,
  type Chunk,
  ChunkEncoding,
  type Histogram,
  type Matcher,
  type SeriesColumns,
} from "@torus/model";
import {
  bytesField,
  int64Field,
  MessageMalformedError,
  readFields,
  readInt64,
  readMatcher,
  WireType,
  writeInt64,
  writeLabels,
} from "@torus/protocol";

export const ResponseType = { SAMPLES: 0, STREAMED_XOR_CHUNKS: 1 } as const;

export type ReadQuery = {
  /** Milliseconds, both inclusive. */
  mint: number;
  maxt: number;
  matchers: Matcher[];
  func: string;
  stepMs: number;
  rangeMs: number;
};

export type ReadRequest = { queries: ReadQuery[]; acceptedTypes: number[] };

/** @throws {MessageMalformedError} @throws {MatcherRegexError} */
export function decodeReadRequest(bytes: Uint8Array): ReadRequest {
  const out: ReadRequest = { queries: [], acceptedTypes: [] };
  readFields("ReadRequest", bytes, (number, wire, reader) => {
    if (number === 1 && wire === WireType.BYTES) out.queries.push(query(reader.lengthPrefixed()));
    else if (number === 2 && wire === WireType.VARINT) out.acceptedTypes.push(reader.uvarint());
    else if (number === 2 && wire === WireType.BYTES) {
      const packed = new ByteReader(reader.lengthPrefixed());
      while (packed.remaining > 0) out.acceptedTypes.push(packed.uvarint());
    } else return false;
    return true;
  });
  return out;
}

function query(bytes: Uint8Array): ReadQuery {
  const out: ReadQuery = { mint: 0, maxt: 0, matchers: [], func: "", stepMs: 0, rangeMs: 0 };
  readFields("Query", bytes, (number, wire, reader) => {
    if (number === 1 && wire === WireType.VARINT) out.mint = readInt64(reader);
    else if (number === 2 && wire === WireType.VARINT) out.maxt = readInt64(reader);
    else if (number === 3 && wire === WireType.BYTES) {
      out.matchers.push(readMatcher(reader.lengthPrefixed()));
    } else if (number === 4 && wire === WireType.BYTES) hints(reader.lengthPrefixed(), out);
    else return false;
    return true;
  });
  if (out.matchers.length === 0) throw new MessageMalformedError("Query", "it has no matcher");
  return out;
}

function hints(bytes: Uint8Array, out: ReadQuery): void {
  readFields("ReadHints", bytes, (number, wire, reader) => {
    if (number === 1 && wire === WireType.VARINT) out.stepMs = readInt64(reader);
    else if (number === 2 && wire === WireType.BYTES) {
      out.func = Buffer.from(reader.lengthPrefixed()).toString();
    } else if (number === 7 && wire === WireType.VARINT) out.rangeMs = readInt64(reader);
    else return false;
    return true;
  });
}

const body = new ByteWriter(1 << 12);
const sample = new ByteWriter(32);

/** Appends a series as a field of a QueryResult. */
export function writeTimeSeries(out: ByteWriter, series: SeriesColumns): void {
  const { labels, timestamps, values, histograms } = series;
  body.reset();
  writeLabels(body, 1, labels);
  // The bits of a staleness marker stay when bytes are copied.
  const bits = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  for (let i = 0; i < timestamps.length; i++) {
    if (histograms?.[i] !== undefined) continue;
    sample.reset();
    const value = values[i] as number;
    // Protobuf leaves out +0 only.
    if (value !== 0 || Object.is(value, -0)) {
      sample.u8(0x09);
      sample.bytes(bits.subarray(i * 8, i * 8 + 8));
    }
    int64Field(sample, 2, timestamps[i] as number);
    bytesField(body, 2, sample.written);
  }
  for (let i = 0; i < timestamps.length; i++) {
    const histogram = histograms?.[i];
    if (histogram !== undefined) {
      bytesField(body, 4, histogramMessage(histogram, timestamps[i] as number));
    }
  }
  bytesField(out, 1, body.written);
}

const RESET_HINTS = ["unknown", "reset", "not_reset", "gauge"];

function histogramMessage(histogram: Histogram, timeMs: number): Uint8Array {
  const { isInteger, count, zeroCount, counterResetHint } = histogram;
  const out = new ByteWriter(256);
  if (isInteger) uvarintField(out, 1, count);
  else doubleField(out, 2, count);
  doubleField(out, 3, histogram.sumIsStale ? null : histogram.sum);
  zigzagField(out, 4, histogram.schema);
  doubleField(out, 5, histogram.zeroThreshold);
  if (isInteger) uvarintField(out, 6, zeroCount);
  else doubleField(out, 7, zeroCount);
  spanFields(out, 8, histogram.negativeSpans);
  bucketField(out, 9, histogram.negativeBuckets, isInteger);
  spanFields(out, 11, histogram.positiveSpans);
  bucketField(out, 12, histogram.positiveBuckets, isInteger);
  int64Field(out, 14, RESET_HINTS.indexOf(counterResetHint));
  int64Field(out, 15, timeMs);
  if (histogram.customValues.length > 0) bytesField(out, 16, doubles(histogram.customValues));
  return out.written;
}

function uvarintField(out: ByteWriter, number: number, value: number): void {
  out.uvarint(number * 8 + WireType.VARINT);
  writeInt64(out, value);
}

function zigzagField(out: ByteWriter, number: number, value: number): void {
  if (value === 0) return;
  out.uvarint(number * 8 + WireType.VARINT);
  out.varint(value);
}

const STALE_SUM = Uint8Array.of(0x02, 0, 0, 0, 0, 0, 0xf0, 0x7f);

/** @param value Null for the staleness marker. */
function doubleField(out: ByteWriter, number: number, value: number | null): void {
  if (value === 0 && !Object.is(value, -0)) return;
  out.uvarint(number * 8 + WireType.FIXED64);
  out.bytes(value === null ? STALE_SUM : doubles(Float64Array.of(value)));
}

/** Their bytes, which are little-endian on every machine that Node runs on, as protobuf wants them. */
function doubles(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function spanFields(out: ByteWriter, number: number, spans: readonly BucketSpan[]): void {
  for (const { offset, length } of spans) {
    const span = new ByteWriter(16);
    zigzagField(span, 1, offset);
    int64Field(span, 2, length);
    bytesField(out, number, span.written);
  }
}

/** Deltas of whole counts under this number, counts of floats under the next one. */
function bucketField(
  out: ByteWriter,
  number: number,
  buckets: Float64Array,
  isInteger: boolean,
): void {
  if (buckets.length === 0) return;
  if (!isInteger) {
    bytesField(out, number + 1, doubles(buckets));
    return;
  }
  const deltas = new ByteWriter(buckets.length * 2);
  let before = 0;
  for (const count of buckets) {
    deltas.varint(count - before);
    before = count;
  }
  bytesField(out, number, deltas.written);
}

const CHUNK_TYPES: Readonly<Record<number, number>> = {
  [ChunkEncoding.XOR]: 1,
  [ChunkEncoding.HISTOGRAM]: 2,
  [ChunkEncoding.FLOAT_HISTOGRAM]: 3,
};

export function chunkField(out: ByteWriter, { minTime, maxTime, encoding, data }: Chunk): void {
  const chunk = new ByteWriter(data.length + 32);
  int64Field(chunk, 1, minTime);
  int64Field(chunk, 2, maxTime);
  int64Field(chunk, 3, CHUNK_TYPES[encoding] ?? 0);
  bytesField(chunk, 4, data);
  bytesField(out, 2, chunk.written);
}

/** A frame of the stream. @param chunkedSeries What `writeLabels` and `chunkField` wrote. */
export function chunkedFrame(chunkedSeries: Uint8Array, queryIndex: number): Uint8Array {
  const message = new ByteWriter(chunkedSeries.length + 16);
  bytesField(message, 1, chunkedSeries);
  int64Field(message, 2, queryIndex);
  const frame = new ByteWriter(message.length + 16);
  frame.uvarint(message.length);
  const crc = crc32c(message.written);
  for (const shift of [24, 16, 8, 0]) frame.u8((crc >>> shift) & 0xff);
  frame.bytes(message.written);
  return frame.copy();
}
