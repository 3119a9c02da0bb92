/** Labels and matchers as StoreAPI and remote read write them. */

import { ByteReader, ByteWriter } from "@torus/encoding";
import { type Labels, Matcher, type MatchType } from "@torus/model";
import { bytesField, int64Field, MessageMalformedError, readFields, stringField } from "./wire.ts";

/** Appends `field: Label` for each label. Both strings are written even when empty, as Go writes them. */
export function writeLabels(out: ByteWriter, field: number, labels: Labels): void {
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i] as string;
    const value = labels[i + 1] as string;
    const nameSize = Buffer.byteLength(name);
    const valueSize = Buffer.byteLength(value);
    out.uvarint(field * 8 + 2);
    out.uvarint(
      (nameSize === 0 ? 0 : 1 + varintSize(nameSize) + nameSize) +
        (valueSize === 0 ? 0 : 1 + varintSize(valueSize) + valueSize),
    );
    stringField(out, 1, name);
    stringField(out, 2, value);
  }
}

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Appends a Label's name and value to `labels`. */
export function readLabel(bytes: Uint8Array, labels: string[]): void {
  const reader = new ByteReader(bytes);
  let name = "";
  let value = "";
  // The usual order of the two fields; anything else takes the general way.
  if (bytes[0] === 0x0a) {
    try {
      reader.offset = 1;
      name = reader.string();
      if (reader.remaining === 0) {
        labels.push(name, "");
        return;
      }
      if (reader.u8() === 0x12) {
        value = reader.string();
        if (reader.remaining === 0) {
          labels.push(name, value);
          return;
        }
      }
    } catch (error) {
      throw new MessageMalformedError("Label", (error as Error).message, { cause: error });
    }
    name = "";
    value = "";
  }
  readFields("Label", bytes, (number, wire, field) => {
    if (wire !== 2 || number > 2) return false;
    if (number === 1) name = field.string();
    else value = field.string();
    return true;
  });
  labels.push(name, value);
}

const TYPES: readonly MatchType[] = ["=", "!=", "=~", "!~"];

/** @throws {MatcherRegexError} @throws {MessageMalformedError} */
export function readMatcher(bytes: Uint8Array): Matcher {
  let type = 0;
  let name = "";
  let value = "";
  readFields("LabelMatcher", bytes, (number, wire, field) => {
    if (number === 1 && wire === 0) type = field.uvarint();
    else if (number === 2 && wire === 2) name = field.string();
    else if (number === 3 && wire === 2) value = field.string();
    else return false;
    return true;
  });
  const matchType = TYPES[type];
  if (matchType === undefined) throw new MessageMalformedError("LabelMatcher", `type ${type}`);
  return new Matcher(matchType, name, value);
}

export function writeMatchers(out: ByteWriter, field: number, matchers: readonly Matcher[]): void {
  for (const { type, name, value } of matchers) {
    const one = new ByteWriter(64);
    int64Field(one, 1, TYPES.indexOf(type));
    stringField(one, 2, name);
    stringField(one, 3, value);
    bytesField(out, field, one.written);
  }
}
