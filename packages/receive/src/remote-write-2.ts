/**
 * Remote write 2.0 as 1.0's WriteRequest (Thanos' messages: pkg/store/storepb): symbols are put in their places, everything else is moved as
 * bytes. So routing, forwarding and storing know one form.
 *
 *     Request    { string symbols = 4, TimeSeries timeseries = 5 }
 *     TimeSeries { uint32 labels_refs = 1, Sample = 2, Histogram = 3, Exemplar = 4, Metadata = 5 }
 *     1.0:       { Label labels = 1, Sample = 2, Exemplar = 3, Histogram = 4 }
 *
 * Sample and Histogram have the same fields in both; 2.0's start timestamps have numbers of their own (3 and 17), which
 * a torus head may keep and other readers of 1.0 skip. Metadata { type = 1, help_ref = 3, unit_ref = 4 } is given beside the body.
 */

import { BodyTooLargeError } from "@torus/kernels";
import { familyOf, metricType, type NamedMetadata } from "@torus/tsdb";

/** The body is no io.prometheus.write.v2.Request. */
export class RemoteWrite2Error extends Error {
  constructor(message: string) {
    super(`remote write 2.0: ${message}`);
    this.name = "RemoteWrite2Error";
  }
}

export type Converted = {
  /** A prometheus.WriteRequest, of memory of its own. */
  body: Uint8Array;
  histograms: number;
  exemplars: number;
  /** Of the metrics that have any, each once. */
  metadata: NamedMetadata[];
};

type Range = { start: number; end: number };

/**
 * @param maxBytes Of the result: one symbol may be named by many series, so a small body can stand for a large one.
 * @throws {RemoteWrite2Error}
 * @throws {BodyTooLargeError}
 */
export function convertRemoteWrite2(bytes: Uint8Array, maxBytes: number): Converted {
  const symbols: Range[] = [];
  const series: Range[] = [];
  eachField(bytes, 0, bytes.length, (field, wireType, start, end) => {
    if (wireType !== 2) return;
    if (field === 4) symbols.push({ start, end });
    else if (field === 5) series.push({ start, end });
  });
  if (symbols.length > 0 && (symbols[0] as Range).end !== (symbols[0] as Range).start) {
    throw new RemoteWrite2Error("symbol 0 is not the empty string");
  }
  const out = new Output(bytes, symbols, maxBytes);
  let histograms = 0;
  let exemplars = 0;
  const metadata = new Map<string, NamedMetadata>();
  for (const { start, end } of series) {
    const labels: number[] = [];
    const samples: Range[] = [];
    const histogramRanges: Range[] = [];
    const exemplarParts: { refs: number[]; rest: Range[] }[] = [];
    let told: Range | null = null;
    eachField(bytes, start, end, (field, wireType, from, to, value) => {
      if (field === 1) readRefs(bytes, wireType, from, to, value, labels);
      else if (wireType !== 2) return;
      else if (field === 2) samples.push({ start: from, end: to });
      else if (field === 3) histogramRanges.push({ start: from, end: to });
      else if (field === 4) exemplarParts.push(readExemplar(bytes, from, to));
      else if (field === 5 && to > from) told = { start: from, end: to };
    });
    histograms += histogramRanges.length;
    exemplars += exemplarParts.length;
    let size = out.labelsSize(labels);
    for (const each of samples) size += lengthOfField(each.end - each.start);
    const exemplarSizes = exemplarParts.map(({ refs, rest }) => {
      let inner = out.labelsSize(refs);
      for (const each of rest) inner += each.end - each.start;
      size += lengthOfField(inner);
      return inner;
    });
    for (const each of histogramRanges) size += lengthOfField(each.end - each.start);
    out.head(0x0a, size);
    out.labels(labels);
    for (const each of samples) out.moved(0x12, each);
    for (const [i, { refs, rest }] of exemplarParts.entries()) {
      out.head(0x1a, exemplarSizes[i] as number);
      out.labels(refs);
      for (const each of rest) out.copy(each);
    }
    for (const each of histogramRanges) out.moved(0x22, each);
    if (told !== null) noteMetadata(out, labels, told, metadata);
  }
  return { body: out.finish(), histograms, exemplars, metadata: [...metadata.values()] };
}

function noteMetadata(
  out: Output,
  labels: readonly number[],
  { start, end }: Range,
  metadata: Map<string, NamedMetadata>,
): void {
  let name = "";
  for (let i = 0; i < labels.length; i += 2) {
    if (out.text(labels[i] as number) === "__name__") name = out.text(labels[i + 1] as number);
  }
  if (metadata.has(name)) return;
  const entry = { metric: name, type: "unknown", help: "", unit: "" };
  eachField(out.bytes, start, end, (field, wireType, _from, _to, value) => {
    if (wireType !== 0) return;
    if (field === 1) entry.type = metricType(value);
    else if (field === 3) entry.help = out.text(value);
    else if (field === 4) entry.unit = out.text(value);
  });
  if (entry.type !== "unknown" || entry.help !== "" || entry.unit !== "") {
    // A sender tells of the series what is so of its family.
    entry.metric = familyOf(name, entry.type);
    metadata.set(name, entry);
  }
}

/** Value and timestamp have the numbers 2 and 3 in 1.0 as well. */
function readExemplar(
  bytes: Uint8Array,
  start: number,
  end: number,
): { refs: number[]; rest: Range[] } {
  const refs: number[] = [];
  const rest: Range[] = [];
  eachField(bytes, start, end, (field, wireType, from, to, value, at) => {
    if (field === 1) readRefs(bytes, wireType, from, to, value, refs);
    else rest.push({ start: at, end: to });
  });
  return { refs, rest };
}

function readRefs(
  bytes: Uint8Array,
  wireType: number,
  start: number,
  end: number,
  value: number,
  refs: number[],
): void {
  if (wireType === 0) refs.push(value);
  else if (wireType === 2) {
    for (let at = start; at < end; ) {
      let ref = 0;
      for (let scale = 1; ; scale *= 128) {
        if (at >= end) throw new RemoteWrite2Error("torn label references");
        const byte = bytes[at++] as number;
        ref += (byte & 0x7f) * scale;
        if (byte < 0x80) break;
        if (scale > 2 ** 28) throw new RemoteWrite2Error("a label reference is too large");
      }
      refs.push(ref);
    }
  } else throw new RemoteWrite2Error("label references of a wrong type");
}

class Output {
  readonly bytes: Uint8Array;
  readonly #symbols: readonly Range[];
  readonly #maxBytes: number;
  #out = Buffer.allocUnsafe(64 << 10);
  #at = 0;

  constructor(bytes: Uint8Array, symbols: readonly Range[], maxBytes: number) {
    this.bytes = bytes;
    this.#symbols = symbols;
    this.#maxBytes = maxBytes;
  }

  text(ref: number): string {
    const { start, end } = this.#symbol(ref);
    return Buffer.from(this.bytes.subarray(start, end)).toString();
  }

  /** Also checks the references. */
  labelsSize(refs: readonly number[]): number {
    if (refs.length % 2 !== 0) {
      throw new RemoteWrite2Error(`${refs.length} label references are not pairs`);
    }
    let size = 0;
    for (let i = 0; i < refs.length; i += 2) size += lengthOfField(this.#labelSize(refs, i));
    return size;
  }

  labels(refs: readonly number[]): void {
    for (let i = 0; i < refs.length; i += 2) {
      this.head(0x0a, this.#labelSize(refs, i));
      this.moved(0x0a, this.#symbol(refs[i] as number));
      this.moved(0x12, this.#symbol(refs[i + 1] as number));
    }
  }

  /** Tag and length of a field whose content follows. */
  head(tag: number, length: number): void {
    this.#room(6 + length);
    this.#out[this.#at++] = tag;
    let rest = length;
    for (; rest >= 0x80; rest >>>= 7) this.#out[this.#at++] = (rest & 0x7f) | 0x80;
    this.#out[this.#at++] = rest;
  }

  moved(tag: number, range: Range): void {
    this.head(tag, range.end - range.start);
    this.copy(range);
  }

  copy({ start, end }: Range): void {
    this.#room(end - start);
    this.#out.set(this.bytes.subarray(start, end), this.#at);
    this.#at += end - start;
  }

  finish(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }

  #labelSize(refs: readonly number[], i: number): number {
    const name = this.#symbol(refs[i] as number);
    const value = this.#symbol(refs[i + 1] as number);
    return lengthOfField(name.end - name.start) + lengthOfField(value.end - value.start);
  }

  #symbol(ref: number): Range {
    const symbol = this.#symbols[ref];
    if (symbol === undefined) {
      throw new RemoteWrite2Error(
        `label reference ${ref} is outside the ${this.#symbols.length} symbols`,
      );
    }
    return symbol;
  }

  #room(bytes: number): void {
    const wanted = this.#at + bytes;
    if (wanted <= this.#out.length) return;
    if (wanted > this.#maxBytes + 64) throw new BodyTooLargeError(wanted, this.#maxBytes);
    const larger = Buffer.allocUnsafe(Math.max(wanted, this.#out.length * 2));
    larger.set(this.#out.subarray(0, this.#at));
    this.#out = larger;
  }
}

function lengthOfField(length: number): number {
  let size = 2 + length;
  for (let rest = length; rest >= 0x80; rest >>>= 7) size++;
  return size;
}

/** @param visit `start`..`end` is the field's content, `at` where its tag begins. */
function eachField(
  bytes: Uint8Array,
  from: number,
  end: number,
  visit: (
    field: number,
    wireType: number,
    start: number,
    end: number,
    value: number,
    at: number,
  ) => void,
): void {
  let at = from;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
      if (at >= end) throw new RemoteWrite2Error(`torn field at byte ${at}`);
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new RemoteWrite2Error(`malformed number at byte ${at}`);
  };
  while (at < end) {
    const begin = at;
    const tag = varint();
    const wireType = tag % 8;
    let start = at;
    let value = 0;
    if (wireType === 0) value = varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      const length = varint();
      start = at;
      at += length;
    } else throw new RemoteWrite2Error(`malformed field at byte ${begin}`);
    if (at > end || tag < 8) throw new RemoteWrite2Error(`malformed field at byte ${begin}`);
    visit(Math.floor(tag / 8), wireType, start, at, value, begin);
  }
}
