/**
 * SeriesResponse, walked and written by hand: the body of every query.
 *
 *   SeriesResponse { series = 1 | warning = 2 | hints = 3 | batch = 4 { series = 1 ... } }
 *   Series { labels = 1 { name = 1, value = 2 } ..., chunks = 2 { min = 1, max = 2, raw = 3 .. counter = 8 } ... }
 *   Chunk { type = 1, data = 2, hash = 3 }
 */

import {
  ByteReader,
  ByteWriter,
  TruncatedError,
  VarintOverflowError,
  xxh64,
} from "@torus/encoding";
import { ChunkEncoding, type EncodedSeries, type Labels } from "@torus/model";
import { LabelTable } from "./label-table.ts";
import { readLabel, varintSize, writeLabels } from "./labels.ts";
import { MessageMalformedError, readFields, readInt64, writeInt64 } from "./wire.ts";

export const AGGREGATES = ["raw", "count", "sum", "min", "max", "counter"] as const;
export type Aggregate = (typeof AGGREGATES)[number];

/** An undecoded chunk as it travels. `data` is a view of the message it came in. */
export type WireChunk = {
  minTime: number;
  maxTime: number;
  /** The encoding byte on disk, which is one more than StoreAPI's number. */
  encoding: ChunkEncoding;
  data: Uint8Array;
  /** XXH64 of `data`; 0 when the sender gave none. */
  hash: bigint;
  aggregate: Aggregate;
};

/**
 * The highest number of an encoding, which is one less than its byte on disk. Those of XOR2 and the encodings of histograms
 * with start timestamps (3 to 5) are between torus nodes: they go only to who has asked for them.
 */
const MOST_TYPE = ChunkEncoding.FLOAT_HISTOGRAM_ST - 1;

export type WireSeries = { labels: Labels; chunks: WireChunk[] };

/** What one message of the stream says. */
export type SeriesFrame = { series: WireSeries[]; warnings: string[] };

/** @throws {MessageMalformedError} */
export function decodeSeriesResponse(bytes: Uint8Array): SeriesFrame {
  const { series, warnings } = decodeSeriesFrame(bytes, new LabelTable(0));
  return {
    series: series.map(({ labels, chunks }) => ({ labels, chunks: decodeChunkFields(chunks) })),
    warnings,
  };
}

/**
 * What one message of the stream says, with labels from `table` and chunks undecoded: `decodeChunkFields` reads them,
 * or a kernel.
 *
 * @throws {MessageMalformedError}
 */
export function decodeSeriesFrame(
  bytes: Uint8Array,
  table: LabelTable,
): { series: EncodedSeries[]; warnings: string[] } {
  const series: EncodedSeries[] = [];
  const warnings: string[] = [];
  const add = (reader: ByteReader) => {
    const size = reader.uvarint();
    const from = reader.offset;
    reader.skip(size);
    series.push(encodedSeries(reader.bytes, from, reader.offset, table));
  };
  readFields("SeriesResponse", bytes, (number, wire, reader) => {
    if (wire !== 2) return false;
    if (number === 1) add(reader);
    else if (number === 2) warnings.push(reader.string());
    else if (number === 4) {
      readFields("SeriesBatch", reader.lengthPrefixed(), (n, w, inner) => {
        if (n !== 1 || w !== 2) return false;
        add(inner);
        return true;
      });
    } else return false;
    return true;
  });
  return { series, warnings };
}

const NO_CHUNKS: readonly Uint8Array[] = [];

/** The Series in [from, end): labels first, then chunks, as every sender writes it; any other is put in that order. */
function encodedSeries(
  bytes: Uint8Array,
  from: number,
  end: number,
  table: LabelTable,
): EncodedSeries {
  const chunksFrom = fieldsEnd(bytes, 0x0a, from, end);
  const chunksTo = fieldsEnd(bytes, 0x12, chunksFrom, end);
  if (chunksTo !== end) return inOrder(bytes.subarray(from, end));
  const labels = table.find(bytes, from, chunksFrom);
  if (chunksFrom === end) return { labels, chunks: NO_CHUNKS };
  return { labels, chunks: [bytes.subarray(chunksFrom, end)] };
}

/** Where the run of fields with this tag ends that begins at `at`. */
function fieldsEnd(bytes: Uint8Array, tag: number, at: number, end: number): number {
  for (;;) {
    if (at >= end || bytes[at] !== tag) return at;
    let p = at + 1;
    let size = 0;
    for (let factor = 1; ; factor *= 128) {
      // What does not parse is told by the general way.
      if (p >= end || factor > 2 ** 42) return at;
      const byte = bytes[p++] as number;
      size += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    if (size > end - p) return at;
    at = p + size;
  }
}

function inOrder(bytes: Uint8Array): EncodedSeries {
  const labels: string[] = [];
  const out = new ByteWriter(bytes.length);
  readFields("Series", bytes, (number, wire, reader) => {
    if (wire !== 2 || number > 2) return false;
    if (number === 1) readLabel(reader.lengthPrefixed(), labels);
    else {
      const chunk = reader.lengthPrefixed();
      out.uvarint(0x12);
      out.uvarint(chunk.length);
      out.bytes(chunk);
    }
    return true;
  });
  return { labels, chunks: out.length === 0 ? NO_CHUNKS : [out.copy()] };
}

/** The chunks of an `EncodedSeries`. @throws {MessageMalformedError} */
export function decodeChunkFields(encoded: readonly Uint8Array[]): WireChunk[] {
  const chunks: WireChunk[] = [];
  for (const bytes of encoded) {
    readFields("Series", bytes, (number, wire, reader) => {
      if (wire !== 2 || number !== 2) return false;
      readChunk(reader.lengthPrefixed(), chunks);
      return true;
    });
  }
  return chunks;
}

function readChunk(bytes: Uint8Array, chunks: WireChunk[]): void {
  const chunk = usualChunk(bytes);
  if (chunk === null) decodeAggrChunk(bytes, chunks);
  else chunks.push(chunk);
}

/**
 * An AggrChunk as every sender writes one of raw samples: both times, then `raw` with type, data and hash in order.
 * null for any other; half of a query's time would go into the general way.
 */
function usualChunk(bytes: Uint8Array): WireChunk | null {
  const { length } = bytes;
  if (bytes[0] !== 0x08) return null;
  const reader = new ByteReader(bytes, 1);
  try {
    const minTime = readInt64(reader);
    if (bytes[reader.offset++] !== 0x10) return null;
    const maxTime = readInt64(reader);
    if (bytes[reader.offset++] !== 0x1a) return null;
    if (reader.uvarint() !== length - reader.offset) return null;
    let type = 0;
    let tag = bytes[reader.offset++];
    if (tag === 0x08) {
      type = reader.uvarint();
      if (type > MOST_TYPE) return null;
      tag = bytes[reader.offset++];
    }
    if (tag !== 0x12) return null;
    const data = reader.lengthPrefixed();
    let hash = 0n;
    if (reader.remaining > 0) {
      if (bytes[reader.offset++] !== 0x18) return null;
      hash = reader.uvarintBig();
    }
    if (reader.remaining > 0) return null;
    const encoding = (type + 1) as ChunkEncoding;
    return { minTime, maxTime, encoding, data, hash, aggregate: "raw" };
  } catch (error) {
    if (error instanceof TruncatedError || error instanceof VarintOverflowError) return null;
    throw error;
  }
}

function decodeAggrChunk(bytes: Uint8Array, chunks: WireChunk[]): void {
  let minTime = 0;
  let maxTime = 0;
  const first = chunks.length;
  readFields("AggrChunk", bytes, (number, wire, reader) => {
    if (number === 1 && wire === 0) minTime = readInt64(reader);
    else if (number === 2 && wire === 0) maxTime = readInt64(reader);
    else if (number >= 3 && number <= 8 && wire === 2) {
      const aggregate = AGGREGATES[number - 3] as Aggregate;
      chunks.push(decodeChunk(reader.lengthPrefixed(), aggregate));
    } else return false;
    return true;
  });
  for (let i = first; i < chunks.length; i++) {
    const chunk = chunks[i] as WireChunk;
    chunk.minTime = minTime;
    chunk.maxTime = maxTime;
  }
}

function decodeChunk(bytes: Uint8Array, aggregate: Aggregate): WireChunk {
  let type = 0;
  let data: Uint8Array = new Uint8Array(0);
  let hash = 0n;
  readFields("Chunk", bytes, (number, wire, reader) => {
    if (number === 1 && wire === 0) type = reader.uvarint();
    else if (number === 2 && wire === 2) data = reader.lengthPrefixed();
    else if (number === 3 && wire === 0) hash = reader.uvarintBig();
    else return false;
    return true;
  });
  if (type > MOST_TYPE) throw new MessageMalformedError("Chunk", `encoding ${type}`);
  return { minTime: 0, maxTime: 0, encoding: (type + 1) as ChunkEncoding, data, hash, aggregate };
}

/** A chunk encoding for which there is no number on the wire. */
export class NoWireEncodingError extends Error {
  readonly encoding: number;
  constructor(encoding: number) {
    super(`chunk encoding ${encoding} has no number in StoreAPI`);
    this.name = "NoWireEncodingError";
    this.encoding = encoding;
  }
}

export type OutgoingChunk = Pick<WireChunk, "minTime" | "maxTime" | "encoding" | "data"> & {
  /** Of a chunk of aggregates those to be sent, in the order of `AGGREGATES`; `encoding` and `data` do not count then. */
  parts?: readonly Pick<WireChunk, "aggregate" | "encoding" | "data">[];
};

/** Of a message's tags and lengths in front of its series. */
const HEADER_BYTES = 6;
const FIRST_BYTES = 4096;

/** The bytes of label sets, which are the same arrays when series come again. */
const labelFields = new WeakMap<Labels, Uint8Array>();

function keptFields(labels: Labels): Uint8Array {
  let bytes = labelFields.get(labels);
  if (bytes === undefined) {
    scratch.reset();
    writeLabels(scratch, 1, labels);
    bytes = scratch.copy();
    labelFields.set(labels, bytes);
  }
  return bytes;
}

/** One message of the stream while it is written: as a batch of series, or as a single one. */
export class SeriesMessage {
  readonly #isBatch: boolean;
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #length = HEADER_BYTES;
  /** Series in it. */
  count = 0;

  constructor(isBatch: boolean) {
    this.#isBatch = isBatch;
  }

  /** In bytes. */
  get length(): number {
    return this.#length - HEADER_BYTES;
  }

  /** @throws {NoWireEncodingError} */
  add(labels: Labels, chunks: readonly OutgoingChunk[]): void {
    body.reset();
    for (const chunk of chunks) writeAggrChunk(body, chunk);
    scratch.reset();
    writeLabels(scratch, 1, labels);
    this.#add(scratch.written, [body.written]);
  }

  /**
   * @param labels Whose bytes are kept as long as this array lives.
   * @param chunks Runs of `chunks` fields.
   */
  addEncoded(labels: Labels, chunks: readonly Uint8Array[]): void {
    this.#add(keptFields(labels), chunks);
  }

  #add(fields: Uint8Array, chunks: readonly Uint8Array[]): void {
    let size = fields.length;
    for (const run of chunks) size += run.length;
    this.#reserve(size + HEADER_BYTES);
    this.#header(0x0a, size, this.#length);
    this.#length += 1 + varintSize(size);
    this.#put(fields);
    for (const run of chunks) this.#put(run);
    this.count++;
  }

  #put(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #header(tag: number, size: number, at: number): void {
    this.#buffer[at++] = tag;
    let rest = size;
    for (; rest >= 0x80; rest >>>= 7) this.#buffer[at++] = (rest & 0x7f) | 0x80;
    this.#buffer[at] = rest;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#buffer.length) return;
    const wider = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 4));
    wider.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = wider;
  }

  /**
   * The message; what is added next begins another.
   * @param reuse Whether that one may be written over this.
   */
  take(reuse = false): Uint8Array {
    let from = HEADER_BYTES;
    if (this.#isBatch) {
      const { length } = this;
      from -= 1 + varintSize(length);
      this.#header(0x22, length, from);
    }
    const message = this.#buffer.subarray(from, this.#length);
    if (!reuse) {
      this.#buffer = Buffer.allocUnsafeSlow(this.#isBatch ? this.#buffer.length : FIRST_BYTES);
    }
    this.#length = HEADER_BYTES;
    this.count = 0;
    return message;
  }
}

/** Runs of `chunks` fields as one, in order of time. */
export function sortedChunkFields(runs: readonly Uint8Array[]): Uint8Array {
  const chunks = decodeChunkFields(runs);
  chunks.sort((a, b) => a.minTime - b.minTime || a.maxTime - b.maxTime);
  const out = new ByteWriter(runs.reduce((sum, run) => sum + run.length, 0));
  for (const chunk of chunks) writeAggrChunk(out, chunk);
  return out.copy();
}

const body = new ByteWriter(1 << 16);
const scratch = new ByteWriter(1 << 10);
const times = new ByteWriter(32);

function writeAggrChunk(
  out: ByteWriter,
  { minTime, maxTime, encoding, data, parts }: OutgoingChunk,
): void {
  times.reset();
  if (minTime !== 0) {
    times.u8(0x08);
    writeInt64(times, minTime);
  }
  if (maxTime !== 0) {
    times.u8(0x10);
    writeInt64(times, maxTime);
  }
  out.u8(0x12);
  if (parts === undefined) {
    const hash = xxh64(data);
    const size = chunkSize(encoding, data, hash);
    out.uvarint(times.length + 1 + varintSize(size) + size);
    out.bytes(times.written);
    writeChunk(out, 0x1a, size, encoding, data, hash);
    return;
  }
  let size = times.length;
  const written = parts.map(({ aggregate, encoding: own, data: bytes }) => {
    const hash = xxh64(bytes);
    const partSize = chunkSize(own, bytes, hash);
    size += 1 + varintSize(partSize) + partSize;
    return { tag: ((AGGREGATES.indexOf(aggregate) + 3) << 3) | 2, partSize, own, bytes, hash };
  });
  out.uvarint(size);
  out.bytes(times.written);
  for (const part of written) {
    writeChunk(out, part.tag, part.partSize, part.own, part.bytes, part.hash);
  }
}

/** Bytes of a Chunk message. @throws {NoWireEncodingError} */
function chunkSize(encoding: ChunkEncoding, data: Uint8Array, hash: bigint): number {
  if (encoding - 1 > MOST_TYPE) throw new NoWireEncodingError(encoding);
  return (
    (encoding === ChunkEncoding.XOR ? 0 : 2) +
    1 +
    varintSize(data.length) +
    data.length +
    (hash === 0n ? 0 : 1 + hashSize(hash))
  );
}

function writeChunk(
  out: ByteWriter,
  tag: number,
  size: number,
  encoding: ChunkEncoding,
  data: Uint8Array,
  hash: bigint,
): void {
  out.u8(tag);
  out.uvarint(size);
  if (encoding !== ChunkEncoding.XOR) {
    out.u8(0x08);
    out.u8(encoding - 1);
  }
  out.u8(0x12);
  out.uvarint(data.length);
  out.bytes(data);
  if (hash !== 0n) {
    out.u8(0x18);
    out.uvarintBig(hash);
  }
}

const TEN_BYTES = 1n << 63n;
const NINE_BYTES = 1n << 56n;

function hashSize(hash: bigint): number {
  // Nearly every hash needs ten bytes or nine.
  if (hash >= TEN_BYTES) return 10;
  if (hash >= NINE_BYTES) return 9;
  let size = 1;
  for (let rest = hash >> 7n; rest > 0n; rest >>= 7n) size++;
  return size;
}

export function warningFrame(text: string): Uint8Array {
  const out = new ByteWriter(text.length + 16);
  out.uvarint(0x12);
  out.string(text);
  return out.copy();
}

/** The chunks' hash, computed where the sender gave none. */
export function chunkHash(chunk: WireChunk): bigint {
  return chunk.hash !== 0n ? chunk.hash : xxh64(chunk.data);
}

/** The number of samples that a chunk's header claims. */
export function claimedSamples({ encoding, data }: Pick<WireChunk, "encoding" | "data">): number {
  if (data.length < 2) return 0;
  const count = ((data[0] as number) << 8) | (data[1] as number);
  // Histograms with start timestamps have the counter reset header in the top bits.
  return encoding > ChunkEncoding.XOR2 ? count & 0x3fff : count;
}
