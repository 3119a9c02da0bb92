/**
 * `/federate`: the newest sample of each series in Prometheus' text format, as a Prometheus answers (exposition format
 * 0.0.4). Staleness markers leave a series out; native histograms have a text only when their bounds are custom ones.
 */

import {
  CUSTOM_BUCKETS_SCHEMA,
  compareLabels,
  type Histogram,
  isStale,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  wordsOf,
} from "@torus/model";

/** How names that only UTF-8 allows are written for a client (escaping=… of the Accept header). */
export type NameEscaping = "underscores" | "dots" | "values" | "allow-utf-8";

export type FederateOptions = {
  data: Queryable;
  /** The samples of the last `lookbackMs` up to now. */
  nowMs: number;
  lookbackMs: number;
  escaping: NameEscaping;
  signal: AbortSignal;
  onWarning: (text: string) => void;
  charge: (bytes: number) => void;
};

type Newest = { labels: Labels; timeMs: number; value: number; histogram: Histogram | undefined };

/** The text, in parts. @param selectors A series that several of them select is there once. */
export async function federate(
  selectors: readonly (readonly Matcher[])[],
  options: FederateOptions,
): Promise<Iterable<Uint8Array>> {
  const found = new Map<string, Newest>();
  for (const matchers of selectors) {
    const batches = options.data.select({
      mint: options.nowMs - options.lookbackMs,
      maxt: options.nowMs,
      matchers,
      skipChunks: false,
      limit: 0,
      signal: options.signal,
      hints: { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false },
      onWarning: options.onWarning,
    });
    for await (const batch of batches) {
      for (const { labels, timestamps, values, histograms } of batch) {
        const last = timestamps.length - 1;
        if (last < 0) continue;
        const histogram = histograms?.[last];
        const isGone =
          histogram === undefined ? isStale(wordsOf(values), last) : histogram.sumIsStale;
        if (isGone || labelValue(labels, "__name__") === "") continue;
        const key = JSON.stringify(labels);
        if (!found.has(key)) options.charge(3 * key.length + 200);
        found.set(key, {
          labels,
          timeMs: timestamps[last] as number,
          value: values[last] as number,
          histogram,
        });
      }
    }
  }
  return texts([...found.values()], options.escaping);
}

const PART_LENGTH = 32_768;

function* texts(all: Newest[], escaping: NameEscaping): Generator<Uint8Array> {
  all.sort((a, b) => compareNames(a.labels, b.labels) || compareLabels(a.labels, b.labels));
  let family = "";
  let out = "";
  for (const newest of all) {
    const { labels, timeMs, histogram } = newest;
    if (histogram !== undefined && histogram.schema !== CUSTOM_BUCKETS_SCHEMA) continue;
    const name = labelValue(labels, "__name__");
    const type = histogram === undefined ? "untyped" : "histogram";
    if (family !== `${type} ${name}`) {
      family = `${type} ${name}`;
      out += `# TYPE ${familyName(name, escaping)} ${type}\n`;
    }
    const own = pairs(labels, escaping);
    if (histogram === undefined) {
      out += `${series(name, own, escaping)} ${goFloat(newest.value)} ${timeMs}\n`;
    } else out += histogramLines(name, own, escaping, histogram, timeMs);
    if (out.length > PART_LENGTH) {
      yield Buffer.from(out);
      out = "";
    }
  }
  if (out !== "") yield Buffer.from(out);
}

function compareNames(a: Labels, b: Labels): number {
  return compareLabels([labelValue(a, "__name__")], [labelValue(b, "__name__")]);
}

/** Every label but the name; an empty instance where there is none, so that whoever scrapes this adds none. */
function pairs(labels: Labels, escaping: NameEscaping): string[] {
  const out: string[] = [];
  let hasInstance = false;
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i] as string;
    if (name === "__name__") continue;
    if (name === "instance") hasInstance = true;
    const text = escapedName(name, escaping, LEGACY_LABEL);
    const quoted = LEGACY_LABEL.test(text) ? text : quote(text);
    out.push(`${quoted}=${quote(labels[i + 1] as string)}`);
  }
  if (!hasInstance) out.push('instance=""');
  return out;
}

const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

function quote(text: string): string {
  const escaped = text.replace(/[\\"\n]/g, (char) => (char === "\n" ? "\\n" : `\\${char}`));
  return `"${escaped}"`;
}

function familyName(name: string, escaping: NameEscaping): string {
  const text = escapedName(name, escaping, LEGACY_METRIC);
  return LEGACY_METRIC.test(text) ? text : quote(text);
}

function series(name: string, labels: readonly string[], escaping: NameEscaping): string {
  const text = escapedName(name, escaping, LEGACY_METRIC);
  if (!LEGACY_METRIC.test(text)) return `{${[quote(text), ...labels].join(",")}}`;
  return `${text}{${labels.join(",")}}`;
}

function escapedName(name: string, escaping: NameEscaping, legacy: RegExp): string {
  if (escaping === "allow-utf-8" || legacy.test(name)) return name;
  const isValid = (char: string, i: number) => (i > 0 && /\d/.test(char)) || legacy.test(char);
  const chars = Array.from(name, (char, i) => {
    switch (escaping) {
      case "underscores":
        return isValid(char, i) ? char : "_";
      case "dots":
        return char === "." ? "_dot_" : char === "_" || !isValid(char, i) ? "__" : char;
      case "values":
        return char === "_"
          ? "__"
          : isValid(char, i)
            ? char
            : `_${(char.codePointAt(0) as number).toString(16)}_`;
    }
  });
  return (escaping === "values" ? "U__" : "") + chars.join("");
}

function histogramLines(
  name: string,
  labels: readonly string[],
  escaping: NameEscaping,
  histogram: Histogram,
  timeMs: number,
): string {
  const { customValues, positiveSpans, positiveBuckets, sum, count } = histogram;
  const counts = new Float64Array(customValues.length + 1);
  let bucket = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    bucket += offset;
    for (let i = 0; i < length; i++) counts[bucket++] = positiveBuckets[at++] as number;
  }
  let total = 0;
  let out = "";
  for (const [i, bound] of customValues.entries()) {
    total += counts[i] as number;
    const le = [...labels, `le="${goFloat(bound)}"`];
    out += `${series(`${name}_bucket`, le, escaping)} ${goFloat(total)} ${timeMs}\n`;
  }
  const le = [...labels, 'le="+Inf"'];
  out += `${series(`${name}_bucket`, le, escaping)} ${goFloat(count)} ${timeMs}\n`;
  out += `${series(`${name}_sum`, labels, escaping)} ${goFloat(sum)} ${timeMs}\n`;
  return `${out}${series(`${name}_count`, labels, escaping)} ${goFloat(count)} ${timeMs}\n`;
}

/** The shortest text that reads back, as Go's 'g' has it: with an exponent below 1e-4 and from 1e6, hence 1e+06. */
export function goFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [digits = "", exponent = "0"] = value.toExponential().split("e");
  const power = Number(exponent);
  // No such number needs an exponent in JavaScript.
  if (power >= -4 && power < 6) return String(value);
  return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** The escaping that an Accept header asks for, of the first media type that has one. */
export function nameEscaping(accept: string): NameEscaping {
  const match = /;\s*escaping=(allow-utf-8|underscores|dots|values)\b/.exec(accept);
  return (match?.[1] as NameEscaping | undefined) ?? "underscores";
}
