/**
 * Samples and series in the notation of the golden files, which is also what `tools tsdb dump` prints: values as the
 * shortest decimal that reads back as the same double, `NaN:` and its bits for a NaN, counts as strings.
 */

import {
  type BucketSpan,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  type Labels,
} from "@torus/model";
import { bitsOf, doubleOf, type StoredSamples } from "./samples.ts";
import type { StoredHistogram } from "./stored-histogram.ts";

const EXPONENT = 0x7ff0000000000000n;
const FRACTION = 0x000fffffffffffffn;

export type SpanPair = [offset: number, length: number];

export type WrittenHistogram = {
  schema: number;
  zero_threshold: string;
  zero_count: string;
  count: string;
  sum: string;
  hint: string;
  pos_spans: SpanPair[];
  neg_spans: SpanPair[];
  pos_deltas?: string[];
  neg_deltas?: string[];
  pos_counts?: string[];
  neg_counts?: string[];
  custom_values?: string[];
};

export type WrittenSample =
  | [time: number, value: string]
  | [time: number, value: string, startTime: number]
  | { t: number; h?: WrittenHistogram; fh?: WrittenHistogram; st?: number };

export function formatValue(bits: bigint): string {
  if ((bits & EXPONENT) === EXPONENT && (bits & FRACTION) !== 0n) {
    return `NaN:${bits.toString(16).padStart(16, "0")}`;
  }
  return formatDouble(doubleOf(bits));
}

/** As Go's strconv formats with 'g' and the fewest digits: exponents below -4 and from 6 on, of two digits at least. */
export function formatDouble(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  if (Object.is(value, -0)) return "-0";
  const magnitude = Math.abs(value);
  if (magnitude === 0 || (magnitude >= 1e-4 && magnitude < 1e6)) return String(value);
  const [digits = "", exponent = ""] = value.toExponential().split("e");
  return `${digits}e${exponent.charAt(0)}${exponent.slice(1).padStart(2, "0")}`;
}

export function parseValue(text: string): bigint {
  if (text.startsWith("NaN:")) return BigInt(`0x${text.slice(4)}`);
  if (text === "+Inf") return bitsOf(Number.POSITIVE_INFINITY);
  if (text === "-Inf") return bitsOf(Number.NEGATIVE_INFINITY);
  return bitsOf(Number(text));
}

/** @param withStartTime Whether start timestamps are shown. */
export function sampleNotation(
  samples: StoredSamples,
  index: number,
  withStartTime: boolean,
): WrittenSample {
  const time = Number(samples.times[index]);
  const startTime = Number(samples.startTimes?.[index] ?? 0n);
  const histogram = samples.histograms?.[index];
  if (histogram === undefined) {
    const value = formatValue(samples.values[index] as bigint);
    return withStartTime ? [time, value, startTime] : [time, value];
  }
  const written = histogramNotation(histogram);
  return {
    t: time,
    ...(histogram.float ? { fh: written } : { h: written }),
    ...(withStartTime ? { st: startTime } : {}),
  };
}

export type WrittenSeries = { labels: [name: string, value: string][]; samples: WrittenSample[] };

export function seriesNotation(
  labels: Labels,
  samples: StoredSamples,
  withStartTimes: boolean,
): WrittenSeries {
  const pairs: [string, string][] = [];
  for (let i = 0; i < labels.length; i += 2)
    pairs.push([labels[i] as string, labels[i + 1] as string]);
  return {
    labels: pairs,
    samples: Array.from(samples.times, (_, i) => sampleNotation(samples, i, withStartTimes)),
  };
}

export function histogramNotation(histogram: StoredHistogram): WrittenHistogram {
  const { float, layout, positive, negative } = histogram;
  const spans = (list: readonly BucketSpan[]) =>
    list.map(({ offset, length }): SpanPair => [offset, length]);
  const number = (field: bigint) => (float ? formatValue(field) : String(field));
  const buckets = (list: BigInt64Array) =>
    Array.from(list, (bucket) => number(float ? BigInt.asUintN(64, bucket) : bucket));
  return {
    schema: layout.schema,
    zero_threshold: formatDouble(layout.zeroThreshold),
    zero_count: number(histogram.zeroCount),
    count: number(histogram.count),
    sum: formatValue(histogram.sum),
    hint: histogram.hint,
    pos_spans: spans(layout.positiveSpans),
    neg_spans: spans(layout.negativeSpans),
    ...(float
      ? { pos_counts: buckets(positive), neg_counts: buckets(negative) }
      : { pos_deltas: buckets(positive), neg_deltas: buckets(negative) }),
    ...(layout.schema === CUSTOM_BUCKETS_SCHEMA
      ? { custom_values: Array.from(layout.customValues, formatDouble) }
      : {}),
  };
}

export function histogramFromNotation(written: WrittenHistogram): StoredHistogram {
  const float = written.pos_counts !== undefined || written.neg_counts !== undefined;
  const number = (text: string) => (float ? parseValue(text) : BigInt(text));
  const buckets = (list: readonly string[] = []) =>
    BigInt64Array.from(list, (text) => BigInt.asIntN(64, number(text)));
  const spans = (list: readonly SpanPair[]) => list.map(([offset, length]) => ({ offset, length }));
  return {
    float,
    hint: written.hint as CounterResetHint,
    layout: {
      schema: written.schema,
      zeroThreshold: doubleOf(parseValue(written.zero_threshold)),
      positiveSpans: spans(written.pos_spans),
      negativeSpans: spans(written.neg_spans),
      customValues: Float64Array.from(written.custom_values ?? [], (text) =>
        doubleOf(parseValue(text)),
      ),
    },
    zeroCount: number(written.zero_count),
    count: number(written.count),
    sum: parseValue(written.sum),
    positive: buckets(written.pos_deltas ?? written.pos_counts),
    negative: buckets(written.neg_deltas ?? written.neg_counts),
  };
}
