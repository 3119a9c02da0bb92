/** Protobuf's own primitives: tags, fields, lengths, and int64 as numbers. */

import { ByteReader, type ByteWriter, TruncatedError, VarintOverflowError } from "@torus/encoding";

export const WireType = { VARINT: 0, FIXED64: 1, BYTES: 2, FIXED32: 5 } as const;

/** A message that does not parse. */
export class MessageMalformedError extends Error {
  constructor(message: string, what: string, options?: ErrorOptions) {
    super(`decode ${message}: ${what}`, options);
    this.name = "MessageMalformedError";
  }
}

/**
 * Calls `field` for each field of the message at the reader; it reads the value and returns true, or returns false
 * without reading to have it skipped.
 *
 * @throws {MessageMalformedError} with the message's name, when the bytes end too soon; what `field` throws passes.
 */
export function readFields(
  message: string,
  bytes: Uint8Array,
  field: (number: number, wire: number, reader: ByteReader) => boolean,
): void {
  const reader = new ByteReader(bytes);
  try {
    while (reader.remaining > 0) {
      const tag = reader.uvarint();
      const number = Math.floor(tag / 8);
      const wire = tag % 8;
      if (number === 0 || tag > 0xffffffff) throw new MessageMalformedError(message, `tag ${tag}`);
      if (!field(number, wire, reader)) skipField(message, wire, reader);
    }
  } catch (error) {
    if (!(error instanceof TruncatedError || error instanceof VarintOverflowError)) throw error;
    throw new MessageMalformedError(message, error.message, { cause: error });
  }
}

function skipField(message: string, wire: number, reader: ByteReader): void {
  switch (wire) {
    case WireType.VARINT:
      reader.uvarint();
      return;
    case WireType.FIXED64:
      reader.skip(8);
      return;
    case WireType.BYTES:
      reader.lengthPrefixed();
      return;
    case WireType.FIXED32:
      reader.skip(4);
      return;
    default:
      throw new MessageMalformedError(message, `wire type ${wire}`);
  }
}

/** An int64 as a number: the nearest one beyond ±2^53. */
export function readInt64(reader: ByteReader): number {
  const start = reader.offset;
  const value = reader.uvarint();
  if (value <= Number.MAX_SAFE_INTEGER) return value;
  reader.offset = start;
  return Number(BigInt.asIntN(64, reader.uvarintBig()));
}

const MAX_INT64 = 2n ** 63n - 1n;
const MIN_INT64 = -(2n ** 63n);

/** @param value A whole number; what no int64 holds becomes the nearest one, so ±Infinity are the extremes. */
export function writeInt64(out: ByteWriter, value: number): void {
  if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) out.uvarint(value);
  else if (value >= 2 ** 63) out.uvarintBig(MAX_INT64);
  else if (value <= -(2 ** 63)) out.uvarintBig(MIN_INT64);
  else out.uvarintBig(BigInt(value));
}

/** A varint field, left out when it is zero. */
export function int64Field(out: ByteWriter, number: number, value: number): void {
  if (value === 0) return;
  out.uvarint(number * 8 + WireType.VARINT);
  writeInt64(out, value);
}

export function boolField(out: ByteWriter, number: number, value: boolean): void {
  if (value) int64Field(out, number, 1);
}

/** A string field, left out when it is empty. */
export function stringField(out: ByteWriter, number: number, value: string): void {
  if (value === "") return;
  out.uvarint(number * 8 + WireType.BYTES);
  out.string(value);
}

/** Each string as a field, empty ones too. */
export function stringFields(out: ByteWriter, number: number, values: readonly string[]): void {
  for (const value of values) {
    out.uvarint(number * 8 + WireType.BYTES);
    out.string(value);
  }
}

/** A bytes or message field, written even when it is empty. */
export function bytesField(out: ByteWriter, number: number, value: Uint8Array): void {
  out.uvarint(number * 8 + WireType.BYTES);
  out.uvarint(value.length);
  out.bytes(value);
}
