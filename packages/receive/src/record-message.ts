/**
 * The messages in which torus nodes ship samples to each other (ARCHITECTURE.md, "Record shipping"), on a gRPC call
 * that stays open:
 *
 *     write    01, uvarint sequence, uvarint slot, uvarint n, n bytes tenant (none when the slot was named before),
 *              uvarint n, n bytes TimeSeries fields of a prometheus.WriteRequest,
 *              uvarint k, k times uvarint number to bind + 1 or 0 (k is 0 or the number of these series),
 *              uvarint rows, i64 little-endian base time in ms, the rows
 *     started  03, as a write, but before the rows: uvarint n, n bytes start timestamps
 *     start    varint row - last row - 1, varint start timestamp - last one; of the rows that have one
 *     row      varint number - last number - 1, varint time - last time, f64 little-endian value
 *     forget   02, uvarint slot
 *
 *     hello    00, uvarint version
 *     answer   01, uvarint sequence, uvarint gRPC code; with code 0:
 *              uvarint n, n times (uvarint index, cause, refused samples), uvarint m, m times uvarint row
 *              else UTF-8 text to the end
 *
 * A receiver of version 2 keeps start timestamps; to others they are not sent beside rows.
 *
 * A slot is a sender's table of one tenant's numbers. An index counts the series of the WriteRequest, then the rows.
 * Rows in the answer name no series that the receiver knows: nothing of them was stored, they come again with labels.
 */

import { CAUSES, Cause } from "./cause.ts";
import type { SeriesCauses } from "./verdicts.ts";

export const SHIP_RECORDS = "/torus.Replication/ShipRecords";
export const RECORDS_VERSION = 1;
/** Of a receiver that keeps start timestamps. */
export const STARTED_RECORDS_VERSION = 2;

const WRITE = 1;
const FORGET = 2;
const STARTED_WRITE = 3;
const HELLO = 0;
const ANSWER = 1;

export class RecordMalformedError extends Error {
  readonly at: number;
  constructor(at: number) {
    super(`record message: malformed at byte ${at}`);
    this.name = "RecordMalformedError";
    this.at = at;
  }
}

export type RecordWrite = {
  kind: "write";
  sequence: number;
  slot: number;
  /** "" when the slot is known. */
  tenant: string;
  request: Uint8Array;
  /** For each series of the request the number to bind + 1, or 0; empty for none. */
  numbers: Uint32Array;
  rowCount: number;
  baseTime: bigint;
  /** Start timestamps of rows; empty for none. */
  starts: Uint8Array;
  rows: Uint8Array;
};

export type RecordAnswer = {
  sequence: number;
  code: number;
  message: string;
  failed: SeriesCauses;
  /** Rows of unknown series. */
  unknown: readonly number[];
};

/** All of a write before its rows. */
export function encodeWriteHead(write: Omit<RecordWrite, "kind" | "rows">): Uint8Array[] {
  const tenant = Buffer.from(write.tenant);
  const isStarted = write.starts.length > 0;
  const head: number[] = [isStarted ? STARTED_WRITE : WRITE];
  pushVarint(head, write.sequence);
  pushVarint(head, write.slot);
  pushVarint(head, tenant.length);
  for (const byte of tenant) head.push(byte);
  pushVarint(head, write.request.length);
  const tail: number[] = [];
  pushVarint(tail, write.numbers.length);
  for (const number of write.numbers) pushVarint(tail, number);
  pushVarint(tail, write.rowCount);
  const base = Buffer.alloc(8);
  base.writeBigInt64LE(write.baseTime);
  const parts: Uint8Array[] =
    write.request.length === 0
      ? [Buffer.from([...head, ...tail, ...base])]
      : [Uint8Array.from(head), write.request, Buffer.concat([Uint8Array.from(tail), base])];
  if (isStarted) {
    const length: number[] = [];
    pushVarint(length, write.starts.length);
    parts.push(Uint8Array.from(length), write.starts);
  }
  return parts;
}

export function encodeForget(slot: number): Uint8Array {
  const out: number[] = [FORGET];
  pushVarint(out, slot);
  return Uint8Array.from(out);
}

/**
 * The parts are views of the message.
 *
 * @throws {RecordMalformedError}
 */
export function decodeRecord(message: Uint8Array): RecordWrite | { kind: "forget"; slot: number } {
  const reader = new Reader(message);
  const kind = reader.varint();
  if (kind === FORGET) {
    const slot = reader.varint();
    return { kind: "forget", slot };
  }
  if (kind !== WRITE && kind !== STARTED_WRITE) throw new RecordMalformedError(0);
  const sequence = reader.varint();
  const slot = reader.varint();
  const tenant = Buffer.from(reader.bytes(reader.varint())).toString("utf8");
  const request = reader.bytes(reader.varint());
  const numbers = reader.varints(reader.varint());
  const rowCount = reader.varint();
  const base = Buffer.from(reader.bytes(8)).readBigInt64LE();
  const starts = reader.bytes(kind === STARTED_WRITE ? reader.varint() : 0);
  const rows = reader.rest();
  return {
    kind: "write",
    sequence,
    slot,
    tenant,
    request,
    numbers,
    rowCount,
    baseTime: base,
    starts,
    rows,
  };
}

export function encodeHello(startTimes: boolean): Uint8Array {
  return Uint8Array.of(HELLO, startTimes ? STARTED_RECORDS_VERSION : RECORDS_VERSION);
}

export function encodeAnswer(answer: RecordAnswer): Uint8Array {
  const out: number[] = [ANSWER];
  pushVarint(out, answer.sequence);
  pushVarint(out, answer.code);
  if (answer.code !== 0) return Buffer.concat([Uint8Array.from(out), Buffer.from(answer.message)]);
  pushVarint(out, answer.failed.length);
  for (const [index, cause, samples] of answer.failed) {
    pushVarint(out, index);
    pushVarint(out, cause);
    pushVarint(out, samples);
  }
  pushVarint(out, answer.unknown.length);
  for (const row of answer.unknown) pushVarint(out, row);
  return Uint8Array.from(out);
}

/** @throws {RecordMalformedError} also for indexes and causes that there are not. */
export function decodeAnswer(
  message: Uint8Array,
): RecordAnswer | { kind: "hello"; version: number } {
  const reader = new Reader(message);
  const kind = reader.varint();
  if (kind === HELLO) return { kind: "hello", version: reader.varint() };
  if (kind !== ANSWER) throw new RecordMalformedError(0);
  const sequence = reader.varint();
  const code = reader.varint();
  if (code !== 0) {
    const text = Buffer.from(reader.rest()).toString("utf8");
    return { sequence, code, message: text, failed: [], unknown: [] };
  }
  const triples = reader.varints(reader.varint() * 3);
  const failed: [number, Cause, number][] = [];
  for (let i = 0; i < triples.length; i += 3) {
    const cause = triples[i + 1] as number;
    if (cause <= Cause.STORED || cause >= CAUSES) throw new RecordMalformedError(reader.at);
    failed.push([triples[i] as number, cause as Cause, triples[i + 2] as number]);
  }
  const unknown = [...reader.varints(reader.varint())];
  return { sequence, code, message: "", failed, unknown };
}

class Reader {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  varint(): number {
    let value = 0;
    for (let scale = 1, i = 0; i < 5; i++, scale *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RecordMalformedError(this.at);
  }

  bytes(length: number): Uint8Array {
    if (length > this.#bytes.length - this.at) throw new RecordMalformedError(this.at);
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  varints(count: number): Uint32Array {
    // Each takes a byte at least.
    if (count > this.#bytes.length - this.at) throw new RecordMalformedError(this.at);
    const out = new Uint32Array(count);
    for (let i = 0; i < count; i++) out[i] = this.varint();
    return out;
  }

  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.at);
  }
}

function pushVarint(out: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) out.push((rest % 128) | 0x80);
  out.push(rest);
}
