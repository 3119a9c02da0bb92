/** OpenTelemetry's metrics as they come over OTLP, whatever the encoding (opentelemetry-proto, metrics/v1). */

/** Values are text already, as labels have them. */
export type Attributes = [key: string, value: string][];

export type OtlpPoint = {
  attributes: Attributes;
  /** Milliseconds. */
  timeMs: number;
  /** When what is counted began, in ms; 0 when the sender does not say. */
  startMs: number;
  /** The sender has nothing to report: the series is stale. */
  noValue: boolean;
};

export type OtlpExemplar = {
  /** Of the measurement, those that the point does not have. */
  attributes: Attributes;
  /** Milliseconds; 0 when it has none. */
  timeMs: number;
  value: number;
  /** In hexadecimal; "" for none. */
  traceId: string;
  spanId: string;
};

export type NumberPoint = OtlpPoint & { value: number; exemplars: OtlpExemplar[] };

export type HistogramPoint = OtlpPoint & {
  count: bigint;
  /** Null when it is not kept. */
  sum: number | null;
  bounds: number[];
  /** One more than bounds, or none. */
  counts: bigint[];
  exemplars: OtlpExemplar[];
};

/** Buckets from `offset` on, side by side. */
export type ExponentialBuckets = { offset: number; counts: bigint[] };

export type ExponentialPoint = OtlpPoint & {
  count: bigint;
  sum: number | null;
  scale: number;
  zeroCount: bigint;
  positive: ExponentialBuckets;
  negative: ExponentialBuckets;
  exemplars: OtlpExemplar[];
};

export type SummaryPoint = OtlpPoint & {
  count: bigint;
  sum: number;
  quantiles: { quantile: number; value: number }[];
};

export type OtlpData =
  | { kind: "gauge"; points: NumberPoint[] }
  | { kind: "sum"; points: NumberPoint[]; temporality: number; monotonic: boolean }
  | { kind: "histogram"; points: HistogramPoint[]; temporality: number }
  | { kind: "exponential"; points: ExponentialPoint[]; temporality: number }
  | { kind: "summary"; points: SummaryPoint[] };

export type OtlpMetric = {
  name: string;
  description: string;
  unit: string;
  data: OtlpData | null;
};

export type OtlpResource = { attributes: Attributes; metrics: OtlpMetric[] };

export const CUMULATIVE = 2;

/** A request that is no ExportMetricsServiceRequest. */
export class OtlpMalformedError extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(`OTLP request: ${what}`, options);
    this.name = "OtlpMalformedError";
  }
}

const TRACE_ID_DIGITS = 32;
const SPAN_ID_DIGITS = 16;

/** Hexadecimal ids of an exemplar; "" for one of zeros, which is none. @throws {OtlpMalformedError} */
export function traceIds(traceId: string, spanId: string): { traceId: string; spanId: string } {
  return {
    traceId: idOf(traceId, TRACE_ID_DIGITS, "trace id"),
    spanId: idOf(spanId, SPAN_ID_DIGITS, "span id"),
  };
}

function idOf(id: string, digits: number, what: string): string {
  if (/^0*$/.test(id)) return "";
  if (id.length === digits && /^[0-9a-f]+$/i.test(id)) return id.toLowerCase();
  throw new OtlpMalformedError(`a ${what} is not of ${digits} hexadecimal digits`);
}

/** Nanoseconds since 1970 as milliseconds, cut. */
export function millis(nanos: bigint): number {
  return Number(nanos / 1_000_000n);
}

/** A value that is neither text nor a list: as OpenTelemetry writes it where text is wanted. */
export type PlainValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | PlainValue[]
  | { [key: string]: PlainValue };

export function textOfValue(value: PlainValue): string {
  if (value === null) return "";
  if (typeof value === "object") return jsonOf(value);
  return String(value);
}

/** As Go writes JSON: keys sorted, and what has a meaning in HTML escaped. */
function jsonOf(value: PlainValue): string {
  if (typeof value === "string") return escaped(JSON.stringify(value));
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(",")}]`;
  const fields = Object.keys(value)
    .sort()
    .map((key) => `${escaped(JSON.stringify(key))}:${jsonOf(value[key] as PlainValue)}`);
  return `{${fields.join(",")}}`;
}

function escaped(json: string): string {
  return json.replace(/[<>&\u2028\u2029]/g, (each) => {
    const code = each.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}
