/**
 * Remote write requests in the kernels' memory, from the compressed body to the table of series.
 *
 *   const request = WriteRequestBuffer.acquire();
 *   try {
 *     request.reserve(body.length).set(body);
 *     request.decompress(body.length, maxDecodedBytes);    // or request.useRaw(body.length)
 *     request.walk(tenant);
 *     … request.series, request.bytes(start, length), head.append(request, null) …
 *   } finally {
 *     request.release();
 *   }
 *
 * A request's memory is its own until `release`; several may be in flight. Released ones are kept for the next
 * acquire, a few and only small ones; all together stay under a bound.
 */

import { type Kernel, kernel, SLACK_BYTES } from "./load.ts";
import { checkedDecodedLength, SnappyCorruptError } from "./snappy.ts";
import { SERIES_WORDS, SeriesWord } from "./write-request.ts";

/** The body is no WriteRequest. `at` is the offset in the decoded body. */
export class WriteRequestMalformedError extends Error {
  readonly at: number;
  constructor(at: number) {
    super(`write request: malformed field at byte ${at} of the decoded body`);
    this.name = "WriteRequestMalformedError";
    this.at = at;
  }
}

/** More series in one request than the table may hold. */
export class TooManySeriesError extends Error {
  readonly limit: number;
  constructor(limit: number) {
    super(`write request: more than ${limit} series in one request`);
    this.name = "TooManySeriesError";
    this.limit = limit;
  }
}

/** All requests in flight together would take more memory than is allowed: try again later. */
export class WriteBuffersExhaustedError extends Error {
  readonly wanted: number;
  readonly inUse: number;
  readonly limit: number;
  constructor(wanted: number, inUse: number, limit: number) {
    super(
      `write request: ${wanted} more bytes are over the limit of ${limit} for requests in flight (${inUse} in use)`,
    );
    this.name = "WriteBuffersExhaustedError";
    this.wanted = wanted;
    this.inUse = inUse;
    this.limit = limit;
  }
}

/** Bytes of one entry of the internal table: labels' start and length, what follows them, the end. */
export const DETAIL_BYTES = 16;
const ENTRY_BYTES = SERIES_WORDS * 4;
const FIRST_CAPACITY = 2560;
const MOST_SERIES = 1_000_000;
const KEPT_BUFFERS = 8;
const KEPT_BYTES = 4 << 20;

let limitBytes = 1 << 30;
let usedBytes = 0;
const kept: WriteRequestBuffer[] = [];

/** Bounds the memory of all requests in flight; 1 GiB at first. */
export function setWriteBufferLimit(bytes: number): void {
  limitBytes = bytes;
}

export function writeBufferBytesInUse(): number {
  return usedBytes;
}

class Region {
  at = 0;
  size = 0;

  /** Makes room for `bytes`, keeping the first `keep` of them. */
  ensure(k: Kernel, bytes: number, keep: number): void {
    if (bytes <= this.size) return;
    const size = k.exports.roundedSize(bytes) >>> 0;
    if (usedBytes + size - this.size > limitBytes) {
      throw new WriteBuffersExhaustedError(size - this.size, usedBytes, limitBytes);
    }
    const at = k.alloc(size);
    if (keep > 0) k.bytes.copyWithin(at, this.at, this.at + keep);
    this.drop(k);
    this.at = at;
    this.size = size;
    usedBytes += size;
  }

  drop(k: Kernel): void {
    if (this.size === 0) return;
    k.free(this.at, this.size);
    usedBytes -= this.size;
    this.at = 0;
    this.size = 0;
  }
}

export class WriteRequestBuffer {
  readonly #kernel = kernel();
  readonly #compressed = new Region();
  readonly #decoded = new Region();
  readonly #table = new Region();
  readonly #detail = new Region();
  readonly #tenant = new Region();
  #raw = false;
  #reserved = 0;
  #bodyLength = 0;
  #count = 0;
  #series: Uint32Array | null = null;
  #released = false;

  private constructor() {}

  static acquire(): WriteRequestBuffer {
    const request = kept.pop() ?? new WriteRequestBuffer();
    request.#released = false;
    return request;
  }

  /**
   * Room for a body of this length as it came from the wire. What was in the buffer before is forgotten.
   * @throws {WriteBuffersExhaustedError}
   */
  reserve(byteLength: number): Uint8Array {
    this.#reset();
    this.#compressed.ensure(this.#kernel, byteLength + SLACK_BYTES, 0);
    this.#reserved = byteLength;
    return this.#kernel.bytes.subarray(this.#compressed.at, this.#compressed.at + byteLength);
  }

  /**
   * Decodes the first `compressedLength` reserved bytes, one snappy block, and returns the body's length.
   *
   * @throws {SnappyCorruptError}
   * @throws {BodyTooLargeError} before anything is decoded.
   * @throws {WriteBuffersExhaustedError}
   */
  decompress(compressedLength: number, maxDecodedLength: number): number {
    this.#checkReserved(compressedLength);
    const k = this.#kernel;
    const from = this.#compressed.at;
    const size = checkedDecodedLength(from, compressedLength, maxDecodedLength);
    const header = k.exports.snappyHeaderLength();
    this.#decoded.ensure(k, size + SLACK_BYTES, 0);
    this.#raw = false;
    this.#forgetTable();
    if (!k.exports.snappyDecode(from + header, compressedLength - header, this.#decoded.at, size)) {
      this.#bodyLength = 0;
      throw new SnappyCorruptError(`elements do not make ${size} bytes`, compressedLength);
    }
    this.#bodyLength = size;
    return size;
  }

  /** Takes the first `length` reserved bytes as the decoded body itself, as gRPC messages come. */
  useRaw(length: number): void {
    this.#checkReserved(length);
    this.#raw = true;
    this.#bodyLength = length;
    this.#forgetTable();
  }

  /** Offset of the decoded body in the buffer's memory: what `SeriesWord.START` counts from zero with. */
  get bodyStart(): number {
    return this.#raw ? this.#compressed.at : this.#decoded.at;
  }

  get bodyLength(): number {
    return this.#bodyLength;
  }

  /**
   * Fills the table with every TimeSeries (field 1) of the body, and returns their number.
   *
   * @param tenant The tenant's name in UTF-8, for the ring's hash; null leaves the hashes zero (a third cheaper).
   * @param head Address of a head whose series are likely to come, 0 for none: their labels need no second check. Only
   *   without a tenant's name.
   * @throws {WriteRequestMalformedError}
   * @throws {TooManySeriesError}
   */
  walk(tenant: Uint8Array | null, head = 0): number {
    this.#forgetTable();
    return this.#walk(this.bodyStart, this.#bodyLength, tenant, tenant === null ? head : 0);
  }

  /**
   * The same for the TimeSeries in a part of the body (field 4 of thanos.WriteRequest holds messages whose field 1
   * is TimeSeries as well): appends to the table and returns how many it added.
   *
   * @param start An offset in the buffer's memory, as in `outline` and `SeriesWord.START`.
   */
  walkRange(start: number, length: number, tenant: Uint8Array | null, head = 0): number {
    const body = this.bodyStart;
    if (start < body || length < 0 || start + length > body + this.#bodyLength) {
      throw new RangeError(`walk ${length} bytes at ${start}: outside the body`);
    }
    return this.#walk(start, length, tenant, tenant === null ? head : 0);
  }

  #walk(start: number, length: number, tenant: Uint8Array | null, head: number): number {
    const body = this.bodyStart;
    const k = this.#kernel;
    const first = this.#count;
    if (tenant !== null) {
      this.#tenant.ensure(k, tenant.length + SLACK_BYTES, 0);
      k.bytes.set(tenant, this.#tenant.at);
    }
    const end = start + length;
    let from = start;
    let count = first;
    this.#series = null;
    for (;;) {
      const capacity = this.#roomFor(count);
      const walked = k.exports.walkRequest(
        from,
        end,
        this.#tenant.at,
        tenant === null ? -1 : tenant.length,
        this.#table.at,
        this.#detail.at,
        count,
        capacity,
        head,
      );
      if (walked < 0) throw new WriteRequestMalformedError((k.exports.walkErrorAt() >>> 0) - body);
      count = walked;
      from = k.exports.walkPosition() >>> 0;
      if (from === end) break;
    }
    this.#count = count;
    return count - first;
  }

  /** Number of entries in the table. */
  get count(): number {
    return this.#count;
  }

  /** The table, SERIES_WORDS words an entry. Valid until the next walk or release. */
  get series(): Uint32Array {
    const buffer = this.#kernel.memory.buffer;
    this.#series ??= new Uint32Array(buffer, this.#table.at, this.#count * SERIES_WORDS);
    return this.#series;
  }

  /** A view of the buffer's memory, valid until release. Offsets are those of the table. */
  bytes(offset: number, length: number): Uint8Array {
    const body = this.bodyStart;
    if (offset < body || length < 0 || offset + length > body + this.#bodyLength) {
      throw new RangeError(`read ${length} bytes at ${offset}: outside the body`);
    }
    return this.#kernel.bytes.subarray(offset, offset + length);
  }

  /** The field bytes of entry `index`, tag included: may be copied into another WriteRequest. */
  seriesBytes(index: number): Uint8Array {
    const at = index * SERIES_WORDS;
    const table = this.series;
    return this.bytes(
      table[at + SeriesWord.START] as number,
      table[at + SeriesWord.LENGTH] as number,
    );
  }

  /** Addresses for the head's kernels. */
  get tableAddress(): number {
    return this.#table.at;
  }
  get detailAddress(): number {
    return this.#detail.at;
  }

  /** Gives the memory back. A second call does nothing. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#reset();
    const k = this.#kernel;
    for (const region of [this.#compressed, this.#decoded, this.#table, this.#detail]) {
      if (region.size > KEPT_BYTES) region.drop(k);
    }
    if (kept.length < KEPT_BUFFERS) kept.push(this);
    else {
      for (const region of [this.#compressed, this.#decoded, this.#table, this.#detail]) {
        region.drop(k);
      }
      this.#tenant.drop(k);
    }
  }

  #reset(): void {
    this.#bodyLength = 0;
    this.#reserved = 0;
    this.#raw = false;
    this.#forgetTable();
  }

  #forgetTable(): void {
    this.#count = 0;
    this.#series = null;
  }

  #checkReserved(length: number): void {
    if (length < 0 || length > this.#reserved) {
      throw new RangeError(`body of ${length} bytes where ${this.#reserved} were reserved`);
    }
  }

  #roomFor(count: number): number {
    const capacity = Math.floor(this.#table.size / ENTRY_BYTES);
    if (count < capacity) return Math.min(capacity, Math.floor(this.#detail.size / DETAIL_BYTES));
    if (count >= MOST_SERIES) throw new TooManySeriesError(MOST_SERIES);
    const wanted = count === 0 ? FIRST_CAPACITY : Math.min(count * 2, MOST_SERIES);
    this.#table.ensure(this.#kernel, wanted * ENTRY_BYTES, count * ENTRY_BYTES);
    this.#detail.ensure(this.#kernel, wanted * DETAIL_BYTES, count * DETAIL_BYTES);
    return wanted;
  }
}
