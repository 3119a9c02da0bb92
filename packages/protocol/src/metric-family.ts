/**
 * Prometheus' exposition format in protobuf: one io.prometheus.client.MetricFamily (prometheus/client_model,
 * metrics.proto) after the other, each behind its length as a varint.
 *
 *     MetricFamily { string name = 1, MetricType type = 3, Metric metric = 4 }
 *     Metric       { LabelPair label = 1, Untyped untyped = 5, int64 timestamp_ms = 6, Histogram histogram = 7 }
 *     LabelPair    { string name = 1, string value = 2 }
 *     Untyped      { double value = 1 }
 *     Histogram    { double sample_sum = 2, Bucket bucket = 3, double sample_count_float = 4, sint32 schema = 5,
 *                    double zero_threshold = 6, double zero_count_float = 8,
 *                    BucketSpan negative_span = 9, double negative_count = 11,
 *                    BucketSpan positive_span = 12, double positive_count = 14 }
 *     Bucket       { double upper_bound = 2, double cumulative_count_float = 4 }
 *     BucketSpan   { sint32 offset = 1, uint32 length = 2 }
 *
 * It is proto2: what is there is written, zeros and empty strings too, and repeated numbers are not packed.
 */

import { ByteWriter } from "@torus/encoding";
import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA, type Histogram } from "@torus/model";
import { bytesField, WireType, writeInt64 } from "./wire.ts";

export type MetricType = "untyped" | "histogram" | "gaugehistogram";

const TYPES: Readonly<Record<MetricType, number>> = {
  untyped: 3,
  histogram: 4,
  gaugehistogram: 5,
};

export type FamilyMetric = {
  /** Names and values in turn, without the metric's name. */
  labels: readonly string[];
  timestampMs: number;
  value: number;
  /** Instead of the value. */
  histogram: Histogram | undefined;
};

/** Writes families; one instance may be used for many. */
export class MetricFamilyWriter {
  readonly #family = new ByteWriter(4096);
  readonly #metric = new ByteWriter(1024);
  readonly #inner = new ByteWriter(1024);
  readonly #innermost = new ByteWriter(64);
  readonly #out = new ByteWriter(4096);

  start(name: string, type: MetricType): void {
    this.#family.reset();
    text(this.#family, 1, name);
    varintField(this.#family, 3, TYPES[type]);
  }

  metric({ labels, timestampMs, value, histogram }: FamilyMetric): void {
    const metric = this.#metric;
    const inner = this.#inner;
    metric.reset();
    for (let i = 0; i < labels.length; i += 2) {
      inner.reset();
      text(inner, 1, labels[i] as string);
      text(inner, 2, labels[i + 1] as string);
      bytesField(metric, 1, inner.written);
    }
    inner.reset();
    if (histogram === undefined) {
      double(inner, 1, value);
      bytesField(metric, 5, inner.written);
    }
    varintField(metric, 6, timestampMs);
    if (histogram !== undefined) {
      this.#histogram(histogram);
      bytesField(metric, 7, inner.written);
    }
    bytesField(this.#family, 4, metric.written);
  }

  /** The family with its length before it, in memory of its own. */
  finish(): Uint8Array {
    this.#out.reset();
    this.#out.uvarint(this.#family.written.length);
    this.#out.bytes(this.#family.written);
    return this.#out.copy();
  }

  #histogram(histogram: Histogram): void {
    const out = this.#inner;
    double(out, 2, histogram.sum);
    if (histogram.schema === CUSTOM_BUCKETS_SCHEMA) {
      for (const [i, cumulative] of cumulativeCounts(histogram).entries()) {
        this.#innermost.reset();
        double(this.#innermost, 2, histogram.customValues[i] as number);
        double(this.#innermost, 4, cumulative);
        bytesField(out, 3, this.#innermost.written);
      }
      double(out, 4, histogram.count);
      return;
    }
    const { schema, zeroThreshold, zeroCount } = histogram;
    double(out, 4, histogram.count);
    varintField(out, 5, schema >= 0 ? 2 * schema : -2 * schema - 1);
    double(out, 6, zeroThreshold);
    double(out, 8, zeroCount);
    this.#spans(9, histogram.negativeSpans);
    for (const count of histogram.negativeBuckets) double(out, 11, count);
    const isBare =
      histogram.positiveSpans.length + histogram.negativeSpans.length === 0 &&
      zeroThreshold === 0 &&
      zeroCount === 0;
    // Without any of these it would be taken for a classic histogram.
    this.#spans(12, isBare ? [{ offset: 0, length: 0 }] : histogram.positiveSpans);
    for (const count of histogram.positiveBuckets) double(out, 14, count);
  }

  #spans(number: number, spans: readonly BucketSpan[]): void {
    for (const { offset, length } of spans) {
      this.#innermost.reset();
      varintField(this.#innermost, 1, offset >= 0 ? 2 * offset : -2 * offset - 1);
      varintField(this.#innermost, 2, length);
      bytesField(this.#inner, number, this.#innermost.written);
    }
  }
}

/** Of a histogram with custom bounds: how many observations are at most as large as each of them. */
export function cumulativeCounts({
  customValues,
  positiveSpans,
  positiveBuckets,
}: Histogram): Float64Array {
  const counts = new Float64Array(customValues.length + 1);
  let bucket = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    bucket += offset;
    for (let i = 0; i < length; i++) counts[bucket++] = positiveBuckets[at++] as number;
  }
  for (let i = 1; i < counts.length; i++) counts[i] = (counts[i] as number) + (counts[i - 1] ?? 0);
  // What is above the last bound is in the count.
  return counts.subarray(0, customValues.length);
}

function text(out: ByteWriter, number: number, value: string): void {
  out.uvarint(number * 8 + WireType.BYTES);
  out.string(value);
}

function varintField(out: ByteWriter, number: number, value: number): void {
  out.uvarint(number * 8 + WireType.VARINT);
  writeInt64(out, value);
}

const scratch = new DataView(new ArrayBuffer(8));
const scratchBytes = new Uint8Array(scratch.buffer);

function double(out: ByteWriter, number: number, value: number): void {
  out.uvarint(number * 8 + WireType.FIXED64);
  scratch.setFloat64(0, value, true);
  out.bytes(scratchBytes);
}
