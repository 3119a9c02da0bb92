/**
 * ExportMetricsServiceRequest in JSON (OTLP specification, "JSON Protobuf Encoding"): names in lowerCamelCase, 64-bit
 * whole numbers as text or numbers, enumerations as numbers. Unknown names are passed over.
 */

import {
  type Attributes,
  type ExponentialBuckets,
  millis,
  type OtlpData,
  type OtlpExemplar,
  OtlpMalformedError,
  type OtlpMetric,
  type OtlpPoint,
  type OtlpResource,
  type PlainValue,
  textOfValue,
  traceIds,
} from "./metrics.ts";

const MOST_DEPTH = 32;

type Json = Readonly<Record<string, unknown>>;

/** @throws {OtlpMalformedError} */
export function decodeOtlpJson(body: Uint8Array): OtlpResource[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString());
  } catch (error) {
    throw new OtlpMalformedError((error as Error).message, { cause: error });
  }
  return list(record(value, "the request"), "resourceMetrics").map((each) => {
    const one = record(each, "resourceMetrics");
    const resource = record(one["resource"] ?? {}, "resource");
    const scopes = list(one, "scopeMetrics").map((scope) => record(scope, "scopeMetrics"));
    return {
      attributes: attributesOf(resource),
      metrics: scopes.flatMap((scope) => list(scope, "metrics").map(metricOf)),
    };
  });
}

function record(value: unknown, what: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw new OtlpMalformedError(`${what} is no object`);
}

function list(from: Json, name: string): readonly unknown[] {
  const value = from[name] ?? [];
  if (!Array.isArray(value)) throw new OtlpMalformedError(`${name} is no list`);
  return value as unknown[];
}

function text(from: Json, name: string): string {
  const value = from[name] ?? "";
  if (typeof value !== "string") throw new OtlpMalformedError(`${name} is no text`);
  return value;
}

function whole(value: unknown, name: string): bigint {
  if (value === undefined || value === null) return 0n;
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  if (typeof value === "string" && /^-?\d{1,20}$/.test(value)) return BigInt(value);
  throw new OtlpMalformedError(`${name} is no whole number`);
}

/** JSON has no words for these. */
const SPECIAL: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};

function double(value: unknown, name: string): number {
  if (value === undefined || value === null) return 0;
  if (typeof value === "number") return value;
  if (typeof value === "string" && value in SPECIAL) return SPECIAL[value] as number;
  if (typeof value === "string" && value !== "" && !Number.isNaN(Number(value))) {
    return Number(value);
  }
  throw new OtlpMalformedError(`${name} is no number`);
}

function optional(from: Json, name: string): number | null {
  const value = from[name];
  return value === undefined || value === null ? null : double(value, name);
}

function metricOf(value: unknown): OtlpMetric {
  const metric = record(value, "metrics");
  return {
    name: text(metric, "name"),
    description: text(metric, "description"),
    unit: text(metric, "unit"),
    data: dataOf(metric),
  };
}

function dataOf(metric: Json): OtlpData | null {
  const of = (name: string): Json | null =>
    metric[name] === undefined ? null : record(metric[name], name);
  const points = (from: Json): Json[] =>
    list(from, "dataPoints").map((each) => record(each, "dataPoints"));
  const temporality = (from: Json): number => {
    const value = from["aggregationTemporality"];
    if (typeof value === "string") return TEMPORALITIES.indexOf(value);
    return Number(whole(value, "aggregationTemporality"));
  };
  const gauge = of("gauge");
  if (gauge !== null) return { kind: "gauge", points: points(gauge).map(numberOf) };
  const sum = of("sum");
  if (sum !== null) {
    const monotonic = sum["isMonotonic"] === true;
    const all = points(sum).map(numberOf);
    return { kind: "sum", points: all, temporality: temporality(sum), monotonic };
  }
  const histogram = of("histogram");
  if (histogram !== null) {
    const all = points(histogram).map((each) => ({
      ...pointOf(each),
      count: whole(each["count"], "count"),
      sum: optional(each, "sum"),
      bounds: list(each, "explicitBounds").map((bound) => double(bound, "explicitBounds")),
      counts: list(each, "bucketCounts").map((count) => whole(count, "bucketCounts")),
      exemplars: exemplarsOf(each),
    }));
    return { kind: "histogram", points: all, temporality: temporality(histogram) };
  }
  const exponential = of("exponentialHistogram");
  if (exponential !== null) {
    const all = points(exponential).map((each) => ({
      ...pointOf(each),
      count: whole(each["count"], "count"),
      sum: optional(each, "sum"),
      scale: Number(whole(each["scale"], "scale")),
      zeroCount: whole(each["zeroCount"], "zeroCount"),
      positive: bucketsOf(each, "positive"),
      negative: bucketsOf(each, "negative"),
      exemplars: exemplarsOf(each),
    }));
    return { kind: "exponential", points: all, temporality: temporality(exponential) };
  }
  const summary = of("summary");
  if (summary === null) return null;
  const all = points(summary).map((each) => ({
    ...pointOf(each),
    count: whole(each["count"], "count"),
    sum: double(each["sum"], "sum"),
    quantiles: list(each, "quantileValues").map((entry) => {
      const { quantile, value } = record(entry, "quantileValues");
      return { quantile: double(quantile, "quantile"), value: double(value, "value") };
    }),
  }));
  return { kind: "summary", points: all };
}

const TEMPORALITIES = [
  "AGGREGATION_TEMPORALITY_UNSPECIFIED",
  "AGGREGATION_TEMPORALITY_DELTA",
  "AGGREGATION_TEMPORALITY_CUMULATIVE",
];

function pointOf(point: Json): OtlpPoint {
  return {
    attributes: attributesOf(point),
    timeMs: millis(BigInt.asUintN(64, whole(point["timeUnixNano"], "timeUnixNano"))),
    startMs: millis(BigInt.asUintN(64, whole(point["startTimeUnixNano"], "startTimeUnixNano"))),
    noValue: (whole(point["flags"], "flags") & 1n) === 1n,
  };
}

function numberOf(point: Json) {
  return { ...pointOf(point), value: valueOfNumber(point), exemplars: exemplarsOf(point) };
}

function valueOfNumber({ asInt, asDouble }: Json): number {
  return asInt === undefined || asInt === null
    ? double(asDouble, "asDouble")
    : Number(whole(asInt, "asInt"));
}

function exemplarsOf(point: Json): OtlpExemplar[] {
  return list(point, "exemplars").map((each) => {
    const exemplar = record(each, "exemplars");
    return {
      attributes: attributesOf(exemplar, "filteredAttributes"),
      timeMs: millis(BigInt.asUintN(64, whole(exemplar["timeUnixNano"], "timeUnixNano"))),
      value: valueOfNumber(exemplar),
      ...traceIds(text(exemplar, "traceId"), text(exemplar, "spanId")),
    };
  });
}

function bucketsOf(point: Json, name: string): ExponentialBuckets {
  const buckets = record(point[name] ?? {}, name);
  return {
    offset: Number(whole(buckets["offset"], "offset")),
    counts: list(buckets, "bucketCounts").map((count) => whole(count, "bucketCounts")),
  };
}

function attributesOf(from: Json, name = "attributes"): Attributes {
  return list(from, name).map((each) => {
    const [key, value] = keyValueOf(each, 0);
    return [key, textOfValue(value)];
  });
}

function keyValueOf(value: unknown, depth: number): [key: string, value: PlainValue] {
  const pair = record(value, "an attribute");
  return [text(pair, "key"), valueOf(pair["value"] ?? {}, depth)];
}

function valueOf(given: unknown, depth: number): PlainValue {
  if (depth > MOST_DEPTH) throw new OtlpMalformedError("values are nested too deep");
  const value = record(given, "a value");
  if (value["stringValue"] !== undefined) return text(value, "stringValue");
  if (value["boolValue"] !== undefined) return value["boolValue"] === true;
  if (value["intValue"] !== undefined) return whole(value["intValue"], "intValue");
  if (value["doubleValue"] !== undefined) return double(value["doubleValue"], "doubleValue");
  if (value["bytesValue"] !== undefined) return text(value, "bytesValue");
  if (value["arrayValue"] !== undefined) {
    const all = list(record(value["arrayValue"], "arrayValue"), "values");
    return all.map((each) => valueOf(each, depth + 1));
  }
  if (value["kvlistValue"] !== undefined) {
    const all = list(record(value["kvlistValue"], "kvlistValue"), "values");
    return Object.fromEntries(all.map((each) => keyValueOf(each, depth + 1)));
  }
  return null;
}
