/**
 * A WriteRequest as bytes, for those steps that change labels: where each series' labels lie, and what else it has.
 *
 *     WriteRequest { TimeSeries timeseries = 1; …metadata = 3 }
 *     TimeSeries   { Label labels = 1 {name = 1, value = 2}; Sample = 2; Exemplar = 3; Histogram = 4 }
 */

import { WriteRequestMalformedError } from "@torus/kernels";
import { compareStrings, type Labels } from "@torus/model";

/** One TimeSeries of a body. */
export type SeriesBytes = {
  /** The whole field, from its tag on. */
  start: number;
  end: number;
  /** Content of the field. */
  content: number;
  /** The label fields, which lie side by side; both are the same without labels. */
  labels: number;
  labelsEnd: number;
  samples: number;
  histograms: number;
  exemplars: number;
};

/**
 * Calls `series` for each TimeSeries and `other` for each further field. Labels that do not lie side by side (nobody
 * sends such) are given to `scattered`.
 *
 * @throws {WriteRequestMalformedError}
 */
export function scanRequest(
  body: Uint8Array,
  visit: {
    series: (series: SeriesBytes) => void;
    scattered: (start: number, end: number) => void;
    other: (start: number, end: number) => void;
  },
): void {
  const reader = { at: 0 };
  while (reader.at < body.length) {
    const start = reader.at;
    const tag = varint(body, reader, body.length);
    if (tag !== 0x0a) {
      skip(body, reader, tag, body.length);
      visit.other(start, reader.at);
      continue;
    }
    const length = varint(body, reader, body.length);
    const content = reader.at;
    const end = content + length;
    if (end > body.length) throw new WriteRequestMalformedError(start);
    const series = {
      start,
      end,
      content,
      labels: -1,
      labelsEnd: -1,
      samples: 0,
      histograms: 0,
      exemplars: 0,
    };
    let isScattered = false;
    while (reader.at < end) {
      const at = reader.at;
      const field = varint(body, reader, end);
      skip(body, reader, field, end);
      if (field === 0x0a) {
        if (series.labels < 0) series.labels = at;
        else if (series.labelsEnd !== at) isScattered = true;
        series.labelsEnd = reader.at;
      } else if (field === 0x12) series.samples++;
      else if (field === 0x1a) series.exemplars++;
      else if (field === 0x22) series.histograms++;
    }
    if (series.labels < 0) series.labels = series.labelsEnd = content;
    if (isScattered) visit.scattered(start, end);
    else visit.series(series);
  }
}

function varint(bytes: Uint8Array, reader: { at: number }, end: number): number {
  let value = 0;
  for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
    const byte = reader.at < end ? bytes[reader.at++] : undefined;
    if (byte === undefined) throw new WriteRequestMalformedError(reader.at);
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
  throw new WriteRequestMalformedError(reader.at);
}

function skip(bytes: Uint8Array, reader: { at: number }, tag: number, end: number): void {
  const type = tag % 8;
  if (type === 0) varint(bytes, reader, end);
  else if (type === 1) reader.at += 8;
  else if (type === 5) reader.at += 4;
  else if (type === 2) {
    const length = varint(bytes, reader, end);
    reader.at += length;
  } else throw new WriteRequestMalformedError(reader.at);
  if (reader.at > end || tag < 8) throw new WriteRequestMalformedError(reader.at);
}

/**
 * The labels in [from, end), sorted; null for those that nobody may store (a name twice, bytes that are no UTF-8):
 * the walk refuses them with its own words.
 */
export function readLabels(body: Buffer, from: number, end: number): Labels | null {
  const labels: string[] = [];
  const reader = { at: from };
  let isSorted = true;
  while (reader.at < end) {
    varint(body, reader, end);
    const length = varint(body, reader, end);
    const stop = reader.at + length;
    let name = "";
    let value = "";
    while (reader.at < stop) {
      const tag = varint(body, reader, stop);
      if (tag !== 0x0a && tag !== 0x12) {
        skip(body, reader, tag, stop);
        continue;
      }
      const size = varint(body, reader, stop);
      const text = textOf(body, reader.at, reader.at + size);
      if (text === null) return null;
      if (tag === 0x0a) name = text;
      else value = text;
      reader.at += size;
    }
    const last = labels.at(-2);
    if (last !== undefined && compareStrings(last, name) >= 0) isSorted = false;
    labels.push(name, value);
  }
  return isSorted ? labels : sortedLabels(labels);
}

function textOf(body: Buffer, from: number, end: number): string | null {
  const text = body.toString("utf8", from, end);
  // What cannot be decoded becomes U+FFFD, which may also be what was sent.
  if (!text.includes("\ufffd")) return text;
  return Buffer.from(text).equals(body.subarray(from, end)) ? text : null;
}

function sortedLabels(labels: readonly string[]): Labels | null {
  const pairs: [string, string][] = [];
  for (let i = 0; i < labels.length; i += 2) {
    pairs.push([labels[i] as string, labels[i + 1] as string]);
  }
  pairs.sort(([a], [b]) => compareStrings(a, b));
  for (let i = 1; i < pairs.length; i++) {
    if ((pairs[i] as [string, string])[0] === (pairs[i - 1] as [string, string])[0]) return null;
  }
  return pairs.flat();
}

/** The label fields of a TimeSeries. */
export function labelBytes(labels: Labels): Uint8Array {
  const sizes: number[] = [];
  let size = 0;
  for (let i = 0; i < labels.length; i += 2) {
    const name = Buffer.byteLength(labels[i] as string);
    const value = Buffer.byteLength(labels[i + 1] as string);
    const inner = fieldSize(name) + fieldSize(value);
    sizes.push(inner, name, value);
    size += fieldSize(inner);
  }
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (let i = 0, j = 0; i < labels.length; i += 2, j += 3) {
    at = writeHead(out, at, 0x0a, sizes[j] as number);
    at = writeHead(out, at, 0x0a, sizes[j + 1] as number);
    at += out.write(labels[i] as string, at);
    at = writeHead(out, at, 0x12, sizes[j + 2] as number);
    at += out.write(labels[i + 1] as string, at);
  }
  return out;
}

/** Bytes of a field with a one-byte tag and content of this length. */
export function fieldSize(length: number): number {
  let size = 2 + length;
  for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Tag and length; returns where the content goes. */
export function writeHead(out: Uint8Array, from: number, tag: number, length: number): number {
  let at = from;
  out[at++] = tag;
  let rest = length;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) out[at++] = (rest & 0x7f) | 0x80;
  out[at++] = rest;
  return at;
}
