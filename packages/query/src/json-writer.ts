/**
 * Writes the API's answers as JSON, in the very bytes that Prometheus writes (Prometheus' HTTP API): sample values
 * are strings in the shortest form that reads back, timestamps are seconds with three decimals when they need them
 * (as few as they need beside scalars and strings).
 * The bytes come in parts of about 64 KiB, so that a large answer is sent while it is written.
 */

import { SAMPLE_TEXTS, sampleTexts, timeText, valueText } from "@torus/kernels";
import type { Histogram, Labels } from "@torus/model";
import type { QueryResult, ResultSeries } from "@torus/promql";
import { histogramBuckets } from "./histogram-json.ts";

const PART_BYTES = 64 * 1024;
/** A part is handed over when so little room is left that a number may not fit. */
const RESERVE = 512;

/** A float without an exponent, as scalars are written. */
export function formatPlain(value: number): string {
  const text = valueText(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return text;
  const [, sign = "", lead = "", fraction = "", exponent = "0"] = match;
  const digits = lead + fraction;
  const point = 1 + Number(exponent);
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  return sign + digits.padEnd(point, "0");
}

/** A string in results: of control characters only tab, newline and return have short escapes. */
function labelString(text: string): string {
  const quoted = JSON.stringify(text);
  if (!quoted.includes("\\")) return quoted;
  return quoted.replace(/\\\\|\\b|\\f/g, (escape) =>
    escape === "\\b" ? "\\u0008" : escape === "\\f" ? "\\u000c" : escape,
  );
}

/** A string as Go's encoder writes it outside of results: also `<`, `>`, `&` and line separators are escaped. */
export function goString(text: string): string {
  return labelString(text).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

class Parts {
  #buffer = Buffer.allocUnsafe(PART_BYTES);
  #length = 0;

  get full(): boolean {
    return this.#length > PART_BYTES - RESERVE;
  }

  /** ASCII shorter than the reserve. */
  ascii(text: string): void {
    this.#length += this.#buffer.write(text, this.#length, "latin1");
  }

  /** What was written so far, together with `text`, which may be of any length and content. */
  text(text: string): void {
    const size = Buffer.byteLength(text);
    if (this.#length + size > this.#buffer.length - RESERVE) this.#widen(size);
    this.#length += this.#buffer.write(text, this.#length, "utf8");
  }

  /** Bytes that fit into what is left of a part, or into a part. */
  bytes(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Bytes of any length. */
  long(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#buffer.length - RESERVE) this.#widen(bytes.length);
    this.bytes(bytes);
  }

  #widen(more: number): void {
    const larger = Buffer.allocUnsafe(this.#length + more + PART_BYTES);
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }

  /** One byte less. */
  dropLast(): void {
    this.#length--;
  }

  hasRoomFor(size: number): boolean {
    return this.#length + size <= this.#buffer.length;
  }

  take(): Buffer {
    const part = this.#buffer.subarray(0, this.#length);
    this.#buffer = Buffer.allocUnsafe(PART_BYTES);
    this.#length = 0;
    return part;
  }
}

/** Of label sets that come again, which are the same arrays then. */
const metricTexts = new WeakMap<Labels, Buffer>();

function metricJson(labels: Labels): Buffer {
  let text = metricTexts.get(labels);
  if (text === undefined) {
    text = Buffer.from(metricText(labels));
    metricTexts.set(labels, text);
  }
  return text;
}

function metricText(labels: Labels): string {
  const pairs: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    pairs.push(`${labelString(labels[i] as string)}:${labelString(labels[i + 1] as string)}`);
  }
  return `{"metric":{${pairs.join(",")}}`;
}

function histogramJson(histogram: Histogram): string {
  const buckets = histogramBuckets(histogram).map(
    ({ bounds, lower, upper, count }) =>
      `[${bounds},"${valueText(lower)}","${valueText(upper)}","${valueText(count)}"]`,
  );
  const { count, sum } = histogram;
  const tail = buckets.length > 0 ? `,"buckets":[${buckets.join(",")}]` : "";
  return `{"count":"${valueText(count)}","sum":"${valueText(sum)}"${tail}}`;
}

function* vector(out: Parts, series: readonly ResultSeries[]): Generator<Buffer> {
  let first = true;
  for (const { labels, timestamps, values, histograms } of series) {
    if (!first) out.ascii(",");
    first = false;
    out.long(metricJson(labels));
    const time = timeText(timestamps[0] as number);
    const histogram = histograms?.[0];
    if (histogram === undefined)
      out.ascii(`,"value":[${time},"${valueText(values[0] as number)}"]}`);
    else out.text(`,"histogram":[${time},${histogramJson(histogram)}]}`);
    if (out.full) yield out.take();
  }
}

function* matrix(out: Parts, series: readonly ResultSeries[]): Generator<Buffer> {
  let first = true;
  for (const { labels, timestamps, values, histograms } of series) {
    if (!first) out.ascii(",");
    first = false;
    out.long(metricJson(labels));
    if (histograms === null) {
      yield* points(out, timestamps, values);
      continue;
    }
    let separator = ',"values":[';
    for (let i = 0; i < timestamps.length; i++) {
      if (histograms[i] !== undefined) continue;
      out.ascii(
        `${separator}[${timeText(timestamps[i] as number)},"${valueText(values[i] as number)}"]`,
      );
      separator = ",";
      if (out.full) yield out.take();
    }
    if (separator === ",") out.ascii("]");
    separator = ',"histograms":[';
    for (let i = 0; i < histograms.length; i++) {
      const histogram = histograms[i];
      if (histogram === undefined) continue;
      out.text(`${separator}[${timeText(timestamps[i] as number)},${histogramJson(histogram)}]`);
      separator = ",";
      if (out.full) yield out.take();
    }
    if (separator === ",") out.ascii("]");
    out.ascii("}");
    if (out.full) yield out.take();
  }
}

/** A series of floats only, which most are: its texts come from the kernel. */
function* points(out: Parts, timestamps: Float64Array, values: Float64Array): Generator<Buffer> {
  out.ascii(',"values":[');
  for (let i = 0; i < timestamps.length; i += SAMPLE_TEXTS) {
    const texts = sampleTexts(
      timestamps.subarray(i, i + SAMPLE_TEXTS),
      values.subarray(i, i + SAMPLE_TEXTS),
    );
    if (!out.hasRoomFor(texts.length + RESERVE)) yield out.take();
    out.bytes(texts);
  }
  if (timestamps.length > 0) out.dropLast();
  out.ascii("]}");
  if (out.full) yield out.take();
}

export type QueryExtras = {
  /** JSON of `data.stats`, or null. */
  stats: string | null;
  /** JSON of `data.analysis`, or null. */
  analysis: string | null;
  warnings: readonly string[];
  infos: readonly string[];
};

/** The answer of query and query_range. */
export function* queryAnswer(result: QueryResult, extras: QueryExtras): Generator<Buffer> {
  const out = new Parts();
  out.ascii(`{"status":"success","data":{"resultType":"${result.type}","result":[`);
  if (result.type === "matrix") yield* matrix(out, result.series);
  else if (result.type === "vector") yield* vector(out, result.series);
  else if (result.type === "scalar") {
    out.ascii(`${valueText(result.timestampMs / 1000)},"`);
    out.text(`${formatPlain(result.value)}"`);
  } else out.text(`${valueText(result.timestampMs / 1000)},${goString(result.value)}`);
  out.ascii("]");
  if (extras.stats !== null) out.text(`,"stats":${extras.stats}`);
  if (extras.analysis !== null) out.text(`,"analysis":${extras.analysis}`);
  out.ascii("}");
  out.text(`${messagesJson(extras)}}`);
  yield out.take();
}

function messagesJson({ warnings, infos }: Pick<QueryExtras, "warnings" | "infos">): string {
  const list = (name: string, texts: readonly string[]) =>
    texts.length === 0 ? "" : `,"${name}":[${texts.map(goString).join(",")}]`;
  return list("warnings", warnings) + list("infos", infos);
}

/** The answer of every other endpoint. @param data JSON text. */
export function answer(data: string, warnings: readonly string[] = []): Buffer {
  return Buffer.from(`{"status":"success","data":${data}${messagesJson({ warnings, infos: [] })}}`);
}

export function stringList(strings: readonly string[]): string {
  return `[${strings.map(goString).join(",")}]`;
}

export function seriesList(all: readonly Labels[]): string {
  const one = (labels: Labels) => {
    const pairs: string[] = [];
    for (let i = 0; i < labels.length; i += 2) {
      pairs.push(`${goString(labels[i] as string)}:${goString(labels[i + 1] as string)}`);
    }
    return `{${pairs.join(",")}}`;
  };
  return `[${all.map(one).join(",")}]`;
}

export function errorAnswer(type: string, message: string): Buffer {
  return Buffer.from(`{"status":"error","errorType":"${type}","error":${goString(message)}}`);
}
