/**
 * ExportMetricsServiceRequest in protobuf (opentelemetry-proto, collector/metrics/v1 and metrics/v1). Numbers beside
 * a name are the fields'; minima, maxima and start times are passed over.
 *
 *     request     resource metrics 1 { resource 1 { attributes 1 }  scope metrics 2 { metrics 2 } }
 *     metric      name 1  description 2  unit 3  gauge 5  sum 7  histogram 9  exponential histogram 10  summary 11
 *     each of it  points 1  temporality 2  monotonic 3
 *     number      time 3  double 4  exemplars 5  int 6  attributes 7  flags 8
 *     histogram   time 3  count 4  sum 5  counts 6  bounds 7  exemplars 8  attributes 9  flags 10
 *     exponential attributes 1  time 3  count 4  sum 5  scale 6  zeros 7  positive 8, negative 9 { offset 1 counts 2 }  flags 10
 *                 exemplars 11
 *     summary     time 3  count 4  sum 5  quantiles 6 { quantile 1 value 2 }  attributes 7  flags 8
 *     exemplar    time 2  double 3  span id 4  trace id 5  int 6  attributes 7
 */

import type { ByteReader } from "@torus/encoding";
import { MessageMalformedError, readFields, WireType } from "../wire.ts";
import {
  type Attributes,
  type ExponentialBuckets,
  type ExponentialPoint,
  type HistogramPoint,
  millis,
  type NumberPoint,
  type OtlpData,
  type OtlpExemplar,
  OtlpMalformedError,
  type OtlpMetric,
  type OtlpPoint,
  type OtlpResource,
  type PlainValue,
  type SummaryPoint,
  textOfValue,
  traceIds,
} from "./metrics.ts";

/** Values inside of values. */
const MOST_DEPTH = 32;
/** Numbers in one list: a byte on the wire becomes many here. */
const MOST_NUMBERS = 16_384;

/** @throws {OtlpMalformedError} */
export function decodeOtlpProtobuf(body: Uint8Array): OtlpResource[] {
  const resources: OtlpResource[] = [];
  try {
    messages(body, "ExportMetricsServiceRequest", {
      1: (bytes) => resources.push(readResource(bytes)),
    });
  } catch (error) {
    if (!(error instanceof MessageMalformedError)) throw error;
    throw new OtlpMalformedError(error.message, { cause: error });
  }
  return resources;
}

type Visit = (reader: ByteReader, wire: number) => boolean;

function fields(bytes: Uint8Array, what: string, visits: Readonly<Record<number, Visit>>): void {
  readFields(what, bytes, (number, wire, reader) => visits[number]?.(reader, wire) ?? false);
}

function messages(
  bytes: Uint8Array,
  what: string,
  visits: Readonly<Record<number, (bytes: Uint8Array) => void>>,
): void {
  const all = Object.entries(visits).map(([number, visit]) => [Number(number), message(visit)]);
  fields(bytes, what, Object.fromEntries(all) as Record<number, Visit>);
}

function message(visit: (bytes: Uint8Array) => void): Visit {
  return (reader, wire) => {
    if (wire !== WireType.BYTES) return false;
    visit(reader.lengthPrefixed());
    return true;
  };
}

function text(set: (value: string) => void): Visit {
  return message((bytes) => set(Buffer.from(bytes).toString()));
}

function varint(set: (value: bigint) => void): Visit {
  return (reader, wire) => {
    if (wire !== WireType.VARINT) return false;
    set(reader.uvarintBig());
    return true;
  };
}

function fixed(set: (bits: bigint) => void): Visit {
  return (reader, wire) => {
    if (wire !== WireType.FIXED64) return false;
    set(bitsAt(reader.take(8), 0));
    return true;
  };
}

function double(set: (value: number) => void): Visit {
  return fixed((bits) => set(doubleOf(bits)));
}

/** Packed or one by one. */
function fixedList(push: (bits: bigint) => void): Visit {
  return (reader, wire) => {
    if (wire === WireType.FIXED64) push(bitsAt(reader.take(8), 0));
    else if (wire === WireType.BYTES) {
      const bytes = reader.lengthPrefixed();
      if (bytes.length % 8 !== 0) throw new MessageMalformedError("list", "a cut number");
      checkLength(bytes.length / 8);
      for (let at = 0; at < bytes.length; at += 8) push(bitsAt(bytes, at));
    } else return false;
    return true;
  };
}

function checkLength(numbers: number): void {
  if (numbers > MOST_NUMBERS) {
    throw new MessageMalformedError("list", `more than ${MOST_NUMBERS} buckets`);
  }
}

function bitsAt(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at, true);
}

const scratch = new DataView(new ArrayBuffer(8));
function doubleOf(bits: bigint): number {
  scratch.setBigUint64(0, bits);
  return scratch.getFloat64(0);
}

function zigzag(raw: bigint): number {
  return Number(BigInt.asIntN(32, (raw >> 1n) ^ -(raw & 1n)));
}

function readResource(bytes: Uint8Array): OtlpResource {
  const resource: OtlpResource = { attributes: [], metrics: [] };
  messages(bytes, "ResourceMetrics", {
    1: (inner) => messages(inner, "Resource", { 1: attributeInto(resource.attributes) }),
    2: (inner) =>
      messages(inner, "ScopeMetrics", { 2: (one) => resource.metrics.push(readMetric(one)) }),
  });
  return resource;
}

function readMetric(bytes: Uint8Array): OtlpMetric {
  const metric: OtlpMetric = { name: "", description: "", unit: "", data: null };
  const data = <T>(read: (bytes: Uint8Array) => T, make: (all: Data<T>) => OtlpData) =>
    message((inner) => {
      metric.data = make(readData(inner, read));
    });
  fields(bytes, "Metric", {
    1: text((name) => {
      metric.name = name;
    }),
    2: text((description) => {
      metric.description = description;
    }),
    3: text((unit) => {
      metric.unit = unit;
    }),
    5: data(readNumber, ({ points }) => ({ kind: "gauge", points })),
    7: data(readNumber, (all) => ({ kind: "sum", ...all })),
    9: data(readHistogram, ({ points, temporality }) => ({
      kind: "histogram",
      points,
      temporality,
    })),
    10: data(readExponential, ({ points, temporality }) => ({
      kind: "exponential",
      points,
      temporality,
    })),
    11: data(readSummary, ({ points }) => ({ kind: "summary", points })),
  });
  return metric;
}

type Data<T> = { points: T[]; temporality: number; monotonic: boolean };

function readData<T>(bytes: Uint8Array, read: (bytes: Uint8Array) => T): Data<T> {
  const data: Data<T> = { points: [], temporality: 0, monotonic: false };
  fields(bytes, "data", {
    1: message((inner) => data.points.push(read(inner))),
    2: varint((value) => {
      data.temporality = Number(value);
    }),
    3: varint((value) => {
      data.monotonic = value !== 0n;
    }),
  });
  return data;
}

function newPoint(): OtlpPoint {
  return { attributes: [], timeMs: 0, startMs: 0, noValue: false };
}

/** Both times, and the fields of attributes and flags, whose numbers differ. */
function common(point: OtlpPoint, attributes: number, flags: number): Record<number, Visit> {
  return {
    2: fixed((nanos) => {
      point.startMs = millis(nanos);
    }),
    3: fixed((nanos) => {
      point.timeMs = millis(nanos);
    }),
    [attributes]: message(attributeInto(point.attributes)),
    [flags]: varint((value) => {
      point.noValue = (value & 1n) === 1n;
    }),
  };
}

function readNumber(bytes: Uint8Array): NumberPoint {
  const point: NumberPoint = { ...newPoint(), value: 0, exemplars: [] };
  fields(bytes, "NumberDataPoint", {
    ...common(point, 7, 8),
    5: message((inner) => point.exemplars.push(readExemplar(inner))),
    4: double((value) => {
      point.value = value;
    }),
    6: fixed((bits) => {
      point.value = Number(BigInt.asIntN(64, bits));
    }),
  });
  return point;
}

function readHistogram(bytes: Uint8Array): HistogramPoint {
  const point: HistogramPoint = {
    ...newPoint(),
    count: 0n,
    sum: null,
    bounds: [],
    counts: [],
    exemplars: [],
  };
  fields(bytes, "HistogramDataPoint", {
    ...common(point, 9, 10),
    ...totals(point),
    6: fixedList((bits) => point.counts.push(bits)),
    7: fixedList((bits) => point.bounds.push(doubleOf(bits))),
    8: message((inner) => point.exemplars.push(readExemplar(inner))),
  });
  return point;
}

function totals(point: { count: bigint; sum: number | null }): Record<number, Visit> {
  return {
    4: fixed((bits) => {
      point.count = bits;
    }),
    5: double((value) => {
      point.sum = value;
    }),
  };
}

function readExponential(bytes: Uint8Array): ExponentialPoint {
  const point: ExponentialPoint = {
    ...newPoint(),
    count: 0n,
    sum: null,
    scale: 0,
    zeroCount: 0n,
    positive: { offset: 0, counts: [] },
    negative: { offset: 0, counts: [] },
    exemplars: [],
  };
  fields(bytes, "ExponentialHistogramDataPoint", {
    ...common(point, 1, 10),
    ...totals(point),
    6: varint((raw) => {
      point.scale = zigzag(raw);
    }),
    7: fixed((bits) => {
      point.zeroCount = bits;
    }),
    8: message((inner) => readBuckets(inner, point.positive)),
    9: message((inner) => readBuckets(inner, point.negative)),
    11: message((inner) => point.exemplars.push(readExemplar(inner))),
  });
  return point;
}

function readExemplar(bytes: Uint8Array): OtlpExemplar {
  const exemplar: OtlpExemplar = { attributes: [], timeMs: 0, value: 0, traceId: "", spanId: "" };
  const hex = (id: Uint8Array): string => Buffer.from(id).toString("hex");
  fields(bytes, "Exemplar", {
    2: fixed((nanos) => {
      exemplar.timeMs = millis(nanos);
    }),
    3: double((value) => {
      exemplar.value = value;
    }),
    4: message((id) => {
      exemplar.spanId = hex(id);
    }),
    5: message((id) => {
      exemplar.traceId = hex(id);
    }),
    6: fixed((bits) => {
      exemplar.value = Number(BigInt.asIntN(64, bits));
    }),
    7: message(attributeInto(exemplar.attributes)),
  });
  return { ...exemplar, ...traceIds(exemplar.traceId, exemplar.spanId) };
}

function readBuckets(bytes: Uint8Array, buckets: ExponentialBuckets): void {
  fields(bytes, "Buckets", {
    1: varint((raw) => {
      buckets.offset = zigzag(raw);
    }),
    2: (reader, wire) => {
      if (wire === WireType.VARINT) buckets.counts.push(reader.uvarintBig());
      else if (wire === WireType.BYTES) {
        const end = reader.uvarint() + reader.offset;
        if (end - reader.offset > reader.remaining) {
          throw new MessageMalformedError("Buckets", "counts are cut short");
        }
        while (reader.offset < end) {
          buckets.counts.push(reader.uvarintBig());
          checkLength(buckets.counts.length);
        }
      } else return false;
      return true;
    },
  });
}

function readSummary(bytes: Uint8Array): SummaryPoint {
  const point: SummaryPoint = { ...newPoint(), count: 0n, sum: 0, quantiles: [] };
  fields(bytes, "SummaryDataPoint", {
    ...common(point, 7, 8),
    4: fixed((bits) => {
      point.count = bits;
    }),
    5: double((value) => {
      point.sum = value;
    }),
    6: message((inner) => {
      const entry = { quantile: 0, value: 0 };
      fields(inner, "ValueAtQuantile", {
        1: double((value) => {
          entry.quantile = value;
        }),
        2: double((value) => {
          entry.value = value;
        }),
      });
      point.quantiles.push(entry);
    }),
  });
  return point;
}

function attributeInto(attributes: Attributes): (bytes: Uint8Array) => void {
  return (bytes) => {
    const [key, value] = readKeyValue(bytes, 0);
    attributes.push([key, textOfValue(value)]);
  };
}

function readKeyValue(bytes: Uint8Array, depth: number): [key: string, value: PlainValue] {
  let key = "";
  let value: PlainValue = null;
  fields(bytes, "KeyValue", {
    1: text((given) => {
      key = given;
    }),
    2: message((inner) => {
      value = readValue(inner, depth);
    }),
  });
  return [key, value];
}

function readValue(bytes: Uint8Array, depth: number): PlainValue {
  if (depth > MOST_DEPTH) throw new MessageMalformedError("AnyValue", "values are nested too deep");
  let value: PlainValue = null;
  const set = (given: PlainValue) => {
    value = given;
  };
  fields(bytes, "AnyValue", {
    1: text(set),
    2: varint((raw) => set(raw !== 0n)),
    3: varint((raw) => set(BigInt.asIntN(64, raw))),
    4: double(set),
    5: message((inner) => {
      const list: PlainValue[] = [];
      messages(inner, "ArrayValue", { 1: (one) => list.push(readValue(one, depth + 1)) });
      set(list);
    }),
    6: message((inner) => {
      const all: [string, PlainValue][] = [];
      messages(inner, "KeyValueList", { 1: (one) => all.push(readKeyValue(one, depth + 1)) });
      set(Object.fromEntries(all));
    }),
    7: message((inner) => set(Buffer.from(inner).toString("base64"))),
  });
  return value;
}
