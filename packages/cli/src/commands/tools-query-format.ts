/**
 * What `torus tools query` prints: the two formats of promtool. `promql` is a series or sample a line as the language
 * writes it, `json` one line with the answer's data.
 */

import {
  allBuckets,
  compareLabels,
  type Histogram,
  type Labels,
  METRIC_NAME,
  usesCustomBuckets,
} from "@torus/model";
import { formatFloat } from "@torus/promql";

/** A histogram's buckets, lowest first, empty ones left out; bounds as the HTTP API counts them (2 open, 3 closed). */
export type ShownHistogram = {
  count: number;
  sum: number;
  buckets: readonly { bounds: number; lower: number; upper: number; count: number }[];
};

export type ShownSeries = {
  labels: Labels;
  /** Milliseconds. */
  timestamps: ArrayLike<number>;
  values: ArrayLike<number>;
  /** Beside the samples; null for floats only. */
  histograms: readonly (ShownHistogram | undefined)[] | null;
};

export type Answer =
  | { type: "vector" | "matrix"; series: readonly ShownSeries[] }
  | { type: "scalar"; timestampMs: number; value: number }
  | { type: "string"; timestampMs: number; value: string };

export type Format = "promql" | "json";

export function shownHistogram(histogram: Histogram): ShownHistogram {
  const custom = usesCustomBuckets(histogram);
  const buckets = [...allBuckets(histogram)]
    .filter(({ count }) => count !== 0)
    .map(({ lower, upper, count }) => ({
      bounds: custom ? 0 : lower < 0 && upper > 0 ? 3 : upper <= 0 ? 1 : 0,
      lower,
      upper,
      count,
    }));
  return { count: histogram.count, sum: histogram.sum, buckets };
}

/** Ends with a line feed unless the answer is empty and the format shows nothing for that. */
export function formatAnswer(answer: Answer, format: Format): string {
  if (format === "json") return `${jsonOf(answer)}\n`;
  switch (answer.type) {
    case "string":
      return `${answer.value}\n`;
    case "scalar":
      return `scalar: ${sampleText(answer.value, answer.timestampMs)}\n`;
    case "vector":
      return `${answer.series.map((series) => `${metricText(series.labels)} => ${sampleAt(series, 0)}`).join("\n")}\n`;
    case "matrix": {
      const sorted = [...answer.series].sort((a, b) => compareLabels(a.labels, b.labels));
      const text = sorted.map((series) => {
        const lines = Array.from(series.timestamps, (_, i) => sampleAt(series, i));
        return `${metricText(series.labels)} =>\n${lines.join("\n")}`;
      });
      return `${text.join("\n")}\n`;
    }
  }
}

export function formatSeries(series: readonly Labels[], format: Format): string {
  if (format === "json") return `[${series.map(metricJson).join(",")}]\n`;
  return series.map((labels) => `{${pairs(labels).join(", ")}}\n`).join("");
}

export function formatNames(names: readonly string[], format: Format): string {
  if (format === "json") return `${escapedForHtml(JSON.stringify(names))}\n`;
  return names.map((name) => `${name}\n`).join("");
}

function sampleText(value: number, timestampMs: number): string {
  return `${formatFloat(value)} @[${formatFloat(timestampMs / 1000)}]`;
}

function sampleAt({ timestamps, values, histograms }: ShownSeries, i: number): string {
  const histogram = histograms?.[i];
  if (histogram === undefined) return sampleText(values[i] as number, timestamps[i] as number);
  const buckets = histogram.buckets.map(({ bounds, lower, upper, count }) => {
    const [open, close] = [bounds & 1 ? "[" : "(", bounds === 0 || bounds === 3 ? "]" : ")"];
    return `${open}${formatFloat(lower)},${formatFloat(upper)}${close}:${formatFloat(count)}`;
  });
  const { count, sum } = histogram;
  const text = `Count: ${count.toFixed(6)}, Sum: ${sum.toFixed(6)}, Buckets: [${buckets.join(" ")}]`;
  return `${text} @[${formatFloat((timestamps[i] as number) / 1000)}]`;
}

/** Names and values in quotes, without the metric name when `named`. */
function pairs(labels: Labels, named = false): string[] {
  const out: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    if (named && labels[i] === METRIC_NAME) continue;
    out.push(`${labels[i]}=${JSON.stringify(labels[i + 1])}`);
  }
  return out;
}

function metricText(labels: Labels): string {
  const at = labels.indexOf(METRIC_NAME);
  const named = at >= 0 && at % 2 === 0;
  const rest = pairs(labels, true);
  if (!named) return `{${rest.join(", ")}}`;
  return rest.length === 0 ? (labels[at + 1] as string) : `${labels[at + 1]}{${rest.join(", ")}}`;
}

function metricJson(labels: Labels): string {
  const fields: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    fields.push(`${JSON.stringify(labels[i])}:${JSON.stringify(labels[i + 1])}`);
  }
  return escapedForHtml(`{${fields.join(",")}}`);
}

/** As Go's encoder writes strings. */
function escapedForHtml(json: string): string {
  return json.replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function pointJson(timestampMs: number, value: string): string {
  return `[${formatFloat(timestampMs / 1000)},${escapedForHtml(JSON.stringify(value))}]`;
}

function jsonOf(answer: Answer): string {
  if (answer.type === "scalar") return pointJson(answer.timestampMs, formatFloat(answer.value));
  if (answer.type === "string") return pointJson(answer.timestampMs, answer.value);
  const one = answer.type === "vector";
  const series = answer.series.map((each) => {
    const points: string[] = [];
    const histograms: string[] = [];
    for (let i = 0; i < each.timestamps.length; i++) {
      const histogram = each.histograms?.[i];
      const time = each.timestamps[i] as number;
      if (histogram === undefined) {
        points.push(pointJson(time, formatFloat(each.values[i] as number)));
      } else histograms.push(`[${formatFloat(time / 1000)},${histogramJson(histogram)}]`);
    }
    const fields = [`"metric":${metricJson(each.labels)}`];
    if (points.length > 0)
      fields.push(one ? `"value":${points[0]}` : `"values":[${points.join(",")}]`);
    if (histograms.length > 0) {
      fields.push(one ? `"histogram":${histograms[0]}` : `"histograms":[${histograms.join(",")}]`);
    }
    return `{${fields.join(",")}}`;
  });
  return `[${series.join(",")}]`;
}

function histogramJson({ count, sum, buckets }: ShownHistogram): string {
  const rows = buckets.map(
    ({ bounds, lower, upper, count: in_ }) =>
      `[${bounds},"${formatFloat(lower)}","${formatFloat(upper)}","${formatFloat(in_)}"]`,
  );
  return `{"count":"${formatFloat(count)}","sum":"${formatFloat(sum)}","buckets":[${rows.join(",")}]}`;
}
