/** Remote write requests for the tests and benchmarks of the head. */

import { WriteRequestBuffer } from "@torus/kernels";
import type { BucketSpan, Histogram } from "@torus/model";

export type TestSample = readonly [time: number, value: number, startTime?: number];
export type TestSeries = {
  labels: readonly string[];
  samples: readonly TestSample[];
  histograms?: readonly (readonly [time: number, histogram: Histogram, startTime?: number])[];
  exemplars?: readonly { labels: readonly string[]; value: number; time: number }[];
};

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}

function field(number: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([
    Uint8Array.from([...varint(BigInt(number * 8 + 2)), ...varint(BigInt(body.length))]),
    body,
  ]);
}

function labelFields(labels: readonly string[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const [name = "", value = ""] = labels.slice(i, i + 2);
    out.push(field(1, Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(value))])));
  }
  return out;
}

export function encodeWriteRequest(series: readonly TestSeries[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { labels, samples, histograms = [], exemplars = [] } of series) {
    const inner = labelFields(labels);
    for (const [time, value, startTime = 0] of samples) {
      const start = startTime === 0 ? [] : number(3, startTime);
      const times = Uint8Array.from([...number(2, time), ...start]);
      inner.push(field(2, Buffer.concat([double(1, value), times])));
    }
    for (const { labels: own, value, time } of exemplars) {
      const rest = [double(2, value), Uint8Array.from(number(3, time))];
      inner.push(field(3, Buffer.concat([...labelFields(own), ...rest])));
    }
    for (const [time, histogram, startTime = 0] of histograms) {
      const start = startTime === 0 ? [] : number(17, startTime);
      const message = [encodeHistogram(time, histogram), Uint8Array.from(start)];
      inner.push(field(4, Buffer.concat(message)));
    }
    parts.push(field(1, Buffer.concat(inner)));
  }
  return new Uint8Array(Buffer.concat(parts));
}

const STALE_SUM = 0x7ff0000000000002n;
const HINTS = ["unknown", "reset", "not_reset", "gauge"];

const number = (id: number, value: number) => [...varint(BigInt(id * 8)), ...varint(BigInt(value))];
const zigzag = (value: number) => (value >= 0 ? 2 * value : -2 * value - 1);

function bits(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

function doubles(values: Iterable<number>): Uint8Array {
  const all = Float64Array.from(values);
  return new Uint8Array(all.buffer);
}

function double(id: number, value: number): Uint8Array {
  return Buffer.concat([Uint8Array.of(id * 8 + 1), doubles([value])]);
}

/** Counts of an integer histogram as differences. */
function buckets(ids: [deltas: number, counts: number], counts: Float64Array, integer: boolean) {
  if (!integer) return field(ids[1], doubles(counts));
  const deltas: number[] = [];
  counts.forEach((count, i) => {
    deltas.push(...varint(BigInt(zigzag(count - (i === 0 ? 0 : (counts[i - 1] as number))))));
  });
  return field(ids[0], Uint8Array.from(deltas));
}

function spans(id: number, all: readonly BucketSpan[]): Uint8Array[] {
  return all.map(({ offset, length }) =>
    field(id, Uint8Array.from([...number(1, zigzag(offset)), ...number(2, length)])),
  );
}

export function encodeHistogram(time: number, histogram: Histogram): Uint8Array {
  const { isInteger, count, zeroCount } = histogram;
  const count_ = isInteger ? Uint8Array.from(number(1, count)) : double(2, count);
  const zero = isInteger ? Uint8Array.from(number(6, zeroCount)) : double(7, zeroCount);
  return Buffer.concat([
    count_,
    histogram.sumIsStale
      ? Buffer.concat([Uint8Array.of(25), bits(STALE_SUM)])
      : double(3, histogram.sum),
    Uint8Array.from(number(4, zigzag(histogram.schema))),
    double(5, histogram.zeroThreshold),
    zero,
    ...spans(8, histogram.negativeSpans),
    buckets([9, 10], histogram.negativeBuckets, isInteger),
    ...spans(11, histogram.positiveSpans),
    buckets([12, 13], histogram.positiveBuckets, isInteger),
    Uint8Array.from(number(14, HINTS.indexOf(histogram.counterResetHint))),
    Uint8Array.from(number(15, time)),
    field(16, doubles(histogram.customValues)),
  ]);
}

/** A walked request; the caller releases it. */
export function walkedRequest(series: readonly TestSeries[]): WriteRequestBuffer {
  const body = encodeWriteRequest(series);
  const request = WriteRequestBuffer.acquire();
  request.reserve(body.length).set(body);
  request.useRaw(body.length);
  request.walk(null);
  return request;
}
