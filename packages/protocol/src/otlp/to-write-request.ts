/**
 * OpenTelemetry's metrics as a prometheus.WriteRequest, translated as Prometheus' OTLP endpoint does it: attributes
 * become labels, service.namespace/service.name the job, service.instance.id the instance, what else a resource has a
 * series target_info of its own. Classic histograms stay classic, exponential ones become native. Exemplars of a
 * classic histogram go to the bucket that they fell into.
 *
 * What cannot be translated (delta temporality, a name of nothing but underscores, a scale below -4) is left out, and
 * said; everything else goes on.
 */

import { ByteWriter } from "@torus/encoding";
import { compareStrings, type Labels } from "@torus/model";
import { writeLabels } from "../labels.ts";
import { bytesField, writeInt64 } from "../wire.ts";
import {
  type Attributes,
  CUMULATIVE,
  type ExponentialBuckets,
  type ExponentialPoint,
  type OtlpData,
  type OtlpExemplar,
  type OtlpMetric,
  type OtlpPoint,
  type OtlpResource,
} from "./metrics.ts";
import { labelName, metricName, plainNumber, unitName } from "./names.ts";

export type OtlpSettings = {
  /** Whether resources become target_info. */
  targetInfo: boolean;
  /** Attributes of resources that every series gets as labels. */
  promote: ReadonlySet<string>;
  /** Bytes of the result: a resource's labels are written with each of its series. */
  maxBytes: number;
  /** Whether samples of what counts up get start timestamps; they do not when it is left out. */
  startTimes?: boolean;
};

export type Translated = {
  /** A prometheus.WriteRequest. */
  body: Uint8Array;
  /** Data points that were left out, and why. */
  rejected: number;
  reasons: string[];
  /** What the metrics are, by their names here. */
  metadata: { metric: string; type: string; help: string; unit: string }[];
};

/** The result would be larger than is allowed. */
export class OtlpTooLargeError extends Error {
  readonly limit: number;
  constructor(limit: number) {
    super(`OTLP request: more than ${limit} bytes as remote write`);
    this.name = "OtlpTooLargeError";
    this.limit = limit;
  }
}

const STALE = 0x7ff0000000000002n;
const ZERO_THRESHOLD = 1e-128;
const COARSEST = -4;
const FINEST = 8;
/** Buckets of one histogram, at most. */
const MOST_BUCKETS = 10_000;
/** target_info is found by queries that look back for five minutes. */
const TARGET_INFO_STEP_MS = 150_000;
const MOST_TARGET_INFO = 60;
const MOST_REASONS = 5;
/** Names and values of an exemplar's labels together (OpenMetrics), in characters. */
const MOST_EXEMPLAR_RUNES = 128;
const IDENTIFYING = new Set(["service.namespace", "service.name", "service.instance.id"]);

/** @throws {OtlpTooLargeError} */
export function otlpToWriteRequest(
  resources: readonly OtlpResource[],
  settings: OtlpSettings,
): Translated {
  const out = new Translation(settings);
  for (const resource of resources) out.resource(resource);
  return out.finish();
}

class Translation {
  readonly #settings: OtlpSettings;
  readonly #out = new ByteWriter(4096);
  readonly #series = new ByteWriter(512);
  readonly #reasons = new Set<string>();
  readonly #metadata = new Map<string, Translated["metadata"][number]>();
  #rejected = 0;
  #own: [name: string, value: string][] = [];
  #promoted: Attributes = [];

  constructor(settings: OtlpSettings) {
    this.#settings = settings;
  }

  resource({ attributes, metrics }: OtlpResource): void {
    const all = new Map(attributes);
    const namespace = all.get("service.namespace") ?? "";
    const service = all.get("service.name") ?? "";
    const instance = all.get("service.instance.id") ?? "";
    this.#own = [];
    if (service !== "") {
      this.#own.push(["job", namespace === "" ? service : `${namespace}/${service}`]);
    }
    if (instance !== "") this.#own.push(["instance", instance]);
    this.#promoted = attributes.filter(([key]) => this.#settings.promote.has(key));
    let first = Number.POSITIVE_INFINITY;
    let last = Number.NEGATIVE_INFINITY;
    for (const metric of metrics) {
      this.#metric(metric);
      for (const { timeMs } of metric.data?.points ?? []) {
        first = Math.min(first, timeMs);
        last = Math.max(last, timeMs);
      }
    }
    if (last >= first) this.#targetInfo(attributes, first, last);
  }

  finish(): Translated {
    return {
      body: this.#out.copy(),
      rejected: this.#rejected,
      reasons: [...this.#reasons],
      metadata: [...this.#metadata.values()],
    };
  }

  #reject(points: number, reason: string): void {
    this.#rejected += points;
    if (this.#reasons.size < MOST_REASONS) this.#reasons.add(reason);
  }

  #metric({ name: given, description: help, unit, data }: OtlpMetric): void {
    if (data === null) return this.#reject(0, `metric ${JSON.stringify(given)} has no data`);
    if ("temporality" in data && data.temporality !== CUMULATIVE) {
      const what = `invalid temporality and type combination for metric ${JSON.stringify(given)}`;
      return this.#reject(data.points.length, what);
    }
    const isCounter = data.kind === "sum" && data.monotonic;
    const kind = isCounter ? "counter" : data.kind === "gauge" ? "gauge" : "other";
    const name = metricName(given, unit, kind);
    if (name === "") {
      const what = `normalization for metric ${JSON.stringify(given)} resulted in an empty name`;
      return this.#reject(data.points.length, what);
    }
    this.#tell(name, promType(data), help, unitName(unit));
    this.#points(name, data);
  }

  #tell(metric: string, type: string, help: string, unit: string): void {
    if (!this.#metadata.has(metric)) this.#metadata.set(metric, { metric, type, help, unit });
  }

  #points(name: string, data: OtlpData): void {
    switch (data.kind) {
      case "gauge":
      case "sum":
        for (const point of data.points) {
          const labels = this.#labels(point);
          if (labels === null) continue;
          // As Prometheus does: those of a gauge tell nothing that its value does not.
          const exemplars = data.kind === "sum" ? point.exemplars : [];
          const counts = data.kind === "sum" && data.monotonic;
          const timed = counts ? point : withoutStart(point);
          this.#sample(name, labels, timed, point.value, exemplars);
        }
        return;
      case "histogram":
        for (const point of data.points) {
          const labels = this.#labels(point);
          if (labels === null) continue;
          if (point.sum !== null) this.#sample(`${name}_sum`, labels, point, point.sum);
          this.#sample(`${name}_count`, labels, point, Number(point.count));
          let count = 0n;
          let left: readonly OtlpExemplar[] = point.exemplars;
          const bounds = point.bounds.slice(0, point.counts.length);
          for (const [i, bound] of bounds.entries()) {
            count += point.counts[i] as bigint;
            let own: readonly OtlpExemplar[] = [];
            if (left.length > 0) {
              own = left.filter(({ value }) => value <= bound);
              left = left.filter(({ value }) => !(value <= bound));
            }
            this.#bucket(name, labels, point, plainNumber(bound), count, own);
          }
          this.#bucket(name, labels, point, "+Inf", point.count, left);
        }
        return;
      case "exponential":
        for (const point of data.points) {
          if (point.scale < COARSEST) {
            this.#reject(1, `scale must be >= ${COARSEST}, was ${point.scale}`);
            continue;
          }
          const labels = this.#labels(point);
          if (labels !== null) this.#histogram(name, labels, point);
        }
        return;
      case "summary":
        for (const point of data.points) {
          const labels = this.#labels(point);
          if (labels === null) continue;
          this.#sample(`${name}_sum`, labels, point, point.sum);
          this.#sample(`${name}_count`, labels, point, Number(point.count));
          for (const { quantile, value } of point.quantiles) {
            const own = new Map(labels).set("quantile", plainNumber(quantile));
            this.#sample(name, own, withoutStart(point), value);
          }
        }
    }
  }

  #bucket(
    name: string,
    labels: ReadonlyMap<string, string>,
    point: OtlpPoint,
    le: string,
    count: bigint,
    exemplars: readonly OtlpExemplar[],
  ): void {
    const own = new Map(labels).set("le", le);
    this.#sample(`${name}_bucket`, own, point, Number(count), exemplars);
  }

  /** Null when an attribute's name cannot be a label's; that is counted. */
  #labels({ attributes }: OtlpPoint): Map<string, string> | null {
    const labels = this.#merged(attributes, new Set());
    if (labels === null) return null;
    for (const [key, value] of this.#promoted) {
      const name = labelName(key);
      if (name !== "" && !labels.has(name)) labels.set(name, value);
    }
    for (const [name, value] of this.#own) labels.set(name, value);
    return labels;
  }

  /** Attributes in the order of their keys; values of those that become one name stand side by side. */
  #merged(attributes: Attributes, without: ReadonlySet<string>): Map<string, string> | null {
    const labels = new Map<string, string>();
    for (const [key, value] of [...attributes].sort(([a], [b]) => compareStrings(a, b))) {
      if (key === "__name__" || without.has(key)) continue;
      const name = labelName(key);
      if (name === "") {
        this.#reject(1, `label name ${JSON.stringify(key)} is empty after normalization`);
        return null;
      }
      const before = labels.get(name) ?? "";
      labels.set(name, before === "" ? value : `${before};${value}`);
    }
    return labels;
  }

  #targetInfo(attributes: Attributes, first: number, last: number): void {
    if (!this.#settings.targetInfo || this.#own.length === 0) return;
    if (attributes.every(([key]) => IDENTIFYING.has(key))) return;
    const labels = this.#merged(attributes, IDENTIFYING);
    if (labels === null) return;
    for (const [name, value] of this.#own) labels.set(name, value);
    this.#tell("target_info", "gauge", "Target metadata", "");
    const point = { attributes: [], timeMs: 0, startMs: 0, noValue: false };
    const from = Math.max(first, last - TARGET_INFO_STEP_MS * MOST_TARGET_INFO);
    for (let timeMs = from; timeMs < last; timeMs += TARGET_INFO_STEP_MS) {
      this.#sample("target_info", labels, { ...point, timeMs }, 1);
    }
    this.#sample("target_info", labels, { ...point, timeMs: last }, 1);
  }

  #sample(
    name: string,
    labels: ReadonlyMap<string, string>,
    { timeMs, startMs, noValue }: OtlpPoint,
    value: number,
    exemplars: readonly OtlpExemplar[] = [],
  ): void {
    const sample = new ByteWriter(24);
    doubleField(sample, 1, value, noValue);
    sample.u8(0x10);
    writeInt64(sample, timeMs);
    if (this.#settings.startTimes === true && startMs !== 0) {
      sample.u8(0x18);
      writeInt64(sample, startMs);
    }
    this.#write(name, labels, 2, sample.written, written(exemplars, timeMs));
  }

  #histogram(name: string, labels: ReadonlyMap<string, string>, point: ExponentialPoint): void {
    const scaleDown = Math.max(0, point.scale - FINEST);
    const positive = sparse(point.positive, scaleDown);
    const negative = sparse(point.negative, scaleDown);
    if (positive === null || negative === null) {
      return this.#reject(1, `more than ${MOST_BUCKETS} buckets`);
    }
    const out = new ByteWriter(128);
    out.u8(0x08);
    out.uvarintBig(BigInt.asUintN(64, point.count));
    doubleField(out, 3, point.sum ?? 0, point.noValue);
    out.u8(0x20);
    zigzag(out, BigInt(point.scale - scaleDown));
    doubleField(out, 5, ZERO_THRESHOLD, false);
    out.u8(0x30);
    out.uvarintBig(BigInt.asUintN(64, point.zeroCount));
    bucketFields(out, negative, 8, 9);
    bucketFields(out, positive, 11, 12);
    out.u8(0x78);
    writeInt64(out, point.timeMs);
    if (this.#settings.startTimes === true && point.startMs !== 0) {
      // Field 17.
      out.uvarint(17 * 8);
      writeInt64(out, point.startMs);
    }
    this.#write(name, labels, 4, out.written, written(point.exemplars, point.timeMs));
  }

  #write(
    name: string,
    labels: ReadonlyMap<string, string>,
    field: number,
    content: Uint8Array,
    exemplars: readonly Uint8Array[],
  ): void {
    this.#series.reset();
    writeLabels(this.#series, 1, sorted(name, labels));
    bytesField(this.#series, field, content);
    for (const each of exemplars) bytesField(this.#series, 3, each);
    bytesField(this.#out, 1, this.#series.written);
    const { maxBytes } = this.#settings;
    if (this.#out.written.length > maxBytes) throw new OtlpTooLargeError(maxBytes);
  }
}

/** Of what does not count up: that it began says nothing. */
function withoutStart<T extends OtlpPoint>(point: T): T {
  return { ...point, startMs: 0 };
}

function promType(data: OtlpData): string {
  if (data.kind === "sum") return data.monotonic ? "counter" : "gauge";
  return data.kind === "exponential" ? "histogram" : data.kind;
}

/** prometheus.Exemplar { labels 1, value 2, timestamp 3 } each, oldest first, as a series takes them. */
function written(exemplars: readonly OtlpExemplar[], pointMs: number): Uint8Array[] {
  if (exemplars.length === 0) return [];
  const timed = exemplars.map((each) => ({ ...each, timeMs: each.timeMs || pointMs }));
  timed.sort((a, b) => a.timeMs - b.timeMs);
  return timed.map((exemplar) => {
    const out = new ByteWriter(128);
    writeLabels(out, 1, exemplarLabels(exemplar));
    doubleField(out, 2, exemplar.value, false);
    out.u8(0x18);
    writeInt64(out, exemplar.timeMs);
    return out.copy();
  });
}

/** Attributes go when there is no room for all of them beside the ids. */
function exemplarLabels({ traceId, spanId, attributes }: OtlpExemplar): Labels {
  const ids: [string, string][] = [];
  if (traceId !== "") ids.push(["trace_id", traceId]);
  if (spanId !== "") ids.push(["span_id", spanId]);
  const all = new Map([...attributes, ...ids].filter(([, value]) => value !== ""));
  const runes = [...all].reduce((sum, pair) => sum + Array.from(pair.join("")).length, 0);
  const pairs = runes > MOST_EXEMPLAR_RUNES ? ids : [...all];
  return pairs.sort(([a], [b]) => compareStrings(a, b)).flat();
}

function sorted(name: string, labels: ReadonlyMap<string, string>): Labels {
  // An empty value is no label.
  const pairs = [...labels].filter(([, value]) => value !== "");
  pairs.push(["__name__", name]);
  return pairs.sort(([a], [b]) => compareStrings(a, b)).flat();
}

function doubleField(out: ByteWriter, field: number, value: number, stale: boolean): void {
  out.u8(field * 8 + 1);
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  if (stale) view.setBigUint64(0, STALE, true);
  else view.setFloat64(0, value, true);
  out.bytes(bytes);
}

function zigzag(out: ByteWriter, value: bigint): void {
  out.uvarintBig(BigInt.asUintN(64, value >= 0n ? value * 2n : -value * 2n - 1n));
}

type Bucket = [index: number, count: bigint];

/**
 * Buckets that are not empty, 2^scaleDown of them joined each. OpenTelemetry's bucket 0 begins at 1 where Prometheus'
 * ends there. Null for too many.
 */
function sparse({ offset, counts }: ExponentialBuckets, scaleDown: number): Bucket[] | null {
  const buckets: Bucket[] = [];
  for (const [i, count] of counts.entries()) {
    if (count === 0n) continue;
    const index = Math.floor((offset + i) / 2 ** scaleDown) + 1;
    const last = buckets.at(-1);
    if (last !== undefined && last[0] === index) last[1] += count;
    else buckets.push([index, count]);
  }
  return buckets.length > MOST_BUCKETS ? null : buckets;
}

/** Gaps of up to two buckets are filled with empty ones, longer ones begin a span. */
function bucketFields(
  out: ByteWriter,
  buckets: readonly Bucket[],
  spanField: number,
  deltaField: number,
): void {
  const spans: { offset: number; length: number }[] = [];
  const deltas = new ByteWriter(64);
  let end = 0;
  let before = 0n;
  const push = (count: bigint) => {
    zigzag(deltas, count - before);
    before = count;
  };
  for (const [index, count] of buckets) {
    const span = spans.at(-1);
    const gap = index - end;
    if (span === undefined || gap > 2) spans.push({ offset: gap, length: 1 });
    else {
      for (let i = 0; i < gap; i++) push(0n);
      span.length += gap + 1;
    }
    push(count);
    end = index + 1;
  }
  for (const { offset, length } of spans) {
    const span = new ByteWriter(16);
    span.u8(0x08);
    zigzag(span, BigInt(offset));
    span.u8(0x10);
    span.uvarint(length);
    bytesField(out, spanField, span.written);
  }
  if (buckets.length > 0) bytesField(out, deltaField, deltas.written);
}
