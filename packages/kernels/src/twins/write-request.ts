/**
 * The walk of a WriteRequest in plain code, for tests: what `WriteRequestBuffer.walk` is held against.
 * Offsets count from the start of the body. Returns null for a body that the kernel must refuse.
 */

import { SeriesFlag } from "../write-request.ts";
import { xxh64 } from "./xxh64.ts";

export type WalkedSeries = {
  start: number;
  length: number;
  hash: bigint;
  flags: number;
  labels: [name: Uint8Array, value: Uint8Array][];
  /** Times as int64, values as bits. */
  samples: [time: bigint, bits: bigint][];
};

type Field = { field: number; wireType: number; fieldStart: number; start: number; end: number };

class Malformed extends Error {}

function readVarint(body: Uint8Array, from: number, end: number): [value: bigint, after: number] {
  let value = 0n;
  for (let at = from, shift = 0n; shift < 64n; at++, shift += 7n) {
    if (at >= end) break;
    const byte = body[at] as number;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [BigInt.asUintN(64, value), at + 1];
  }
  throw new Malformed();
}

function* fields(body: Uint8Array, from: number, to: number): Generator<Field> {
  let at = from;
  while (at < to) {
    const fieldStart = at;
    const [tag, afterTag] = readVarint(body, at, to);
    const wireType = Number(tag & 7n);
    if (tag >> 3n === 0n || tag > 0xffffffffn) throw new Malformed();
    let start = afterTag;
    if (wireType === 0) at = readVarint(body, afterTag, to)[1];
    else if (wireType === 1) at = afterTag + 8;
    else if (wireType === 5) at = afterTag + 4;
    else if (wireType === 2) {
      const [length, afterLength] = readVarint(body, afterTag, to);
      if (length > BigInt(to - afterLength)) throw new Malformed();
      start = afterLength;
      at = afterLength + Number(length);
    } else throw new Malformed();
    if (at > to) throw new Malformed();
    yield { field: Number(tag >> 3n), wireType, fieldStart, start, end: at };
  }
}

function walkSeries(
  body: Uint8Array,
  start: number,
  end: number,
): Pick<WalkedSeries, "labels" | "samples" | "flags"> {
  const labels: WalkedSeries["labels"] = [];
  const samples: WalkedSeries["samples"] = [];
  let flags = 0;
  const view = new DataView(body.buffer, body.byteOffset);
  for (const f of fields(body, start, end)) {
    if (f.field > 4) continue;
    if (f.wireType !== 2) throw new Malformed();
    if (f.field === 1) {
      let name = new Uint8Array();
      let value = new Uint8Array();
      for (const g of fields(body, f.start, f.end)) {
        if (g.field > 2) continue;
        if (g.wireType !== 2) throw new Malformed();
        if (g.field === 1) name = body.slice(g.start, g.end);
        else value = body.slice(g.start, g.end);
      }
      labels.push([name, value]);
    } else if (f.field === 2) {
      let time = 0n;
      let bits = 0n;
      for (const g of fields(body, f.start, f.end)) {
        if (g.field === 1) {
          if (g.wireType !== 1) throw new Malformed();
          bits = view.getBigUint64(g.start, true);
        } else if (g.field === 2) {
          if (g.wireType !== 0) throw new Malformed();
          time = BigInt.asIntN(64, readVarint(body, g.start, g.end)[0]);
        }
      }
      samples.push([time, bits]);
    } else {
      for (const _ of fields(body, f.start, f.end));
      flags |= f.field === 3 ? SeriesFlag.EXEMPLARS : SeriesFlag.HISTOGRAMS;
    }
  }
  return { labels, samples, flags: flags | labelFlags(labels) };
}

function labelFlags(labels: WalkedSeries["labels"]): number {
  let flags = labels.length === 0 ? SeriesFlag.NO_LABELS : 0;
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  labels.forEach(([name, value], i) => {
    if (name.length === 0 || value.length === 0) flags |= SeriesFlag.EMPTY_LABEL;
    try {
      strict.decode(name);
      strict.decode(value);
    } catch {
      flags |= SeriesFlag.INVALID_UTF8;
    }
    const before = labels[i - 1];
    if (before !== undefined) {
      const order = Buffer.compare(before[0], name);
      if (order === 0) flags |= SeriesFlag.DUPLICATE_LABEL;
      else if (order > 0) flags |= SeriesFlag.UNSORTED;
    }
  });
  return flags;
}

/** `body` stands at the start of its buffer. */
export function walkWriteRequest(body: Uint8Array, tenant: Uint8Array): WalkedSeries[] | null {
  const out: WalkedSeries[] = [];
  try {
    for (const f of fields(body, 0, body.length)) {
      if (f.field !== 1) continue;
      if (f.wireType !== 2) throw new Malformed();
      const series = walkSeries(body, f.start, f.end);
      const key: Uint8Array[] = [tenant, Uint8Array.of(0xff)];
      for (const [name, value] of series.labels) {
        key.push(name, Uint8Array.of(0xff), value, Uint8Array.of(0xff));
      }
      out.push({
        start: f.fieldStart,
        length: f.end - f.fieldStart,
        hash: xxh64(new Uint8Array(Buffer.concat(key))),
        ...series,
      });
    }
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
  return out;
}
