/**
 * Series as OpenMetrics text (a public specification), one line a sample:
 *
 *   name{label="value",…} value seconds          {"name","label"="value",…} value seconds
 *   # EOF
 *
 * Written and read by `torus tools tsdb`. Native histograms and the staleness marker have no form in it.
 */

import { type Labels, labelsFromPairs, METRIC_NAME } from "@torus/model";
import { formatDouble } from "../chunkenc/notation.ts";
import { bitsOf, doubleOf, STALE_BITS, type StoredSamples } from "../chunkenc/samples.ts";

export class OpenMetricsError extends Error {
  /** From 1. */
  readonly line: number;
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = "OpenMetricsError";
    this.line = line;
  }
}

const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"')}"`;
}

/** The series as it stands in front of a value. */
export function formatSeriesName(labels: Labels): string {
  let name = "";
  const parts: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const label = labels[i] as string;
    const value = labels[i + 1] as string;
    if (label !== METRIC_NAME) {
      parts.push(`${LEGACY_LABEL.test(label) ? label : quoted(label)}=${quoted(value)}`);
    } else if (LEGACY_METRIC.test(value)) name = value;
    else parts.unshift(quoted(value));
  }
  return parts.length === 0 && name !== "" ? name : `${name}{${parts.join(",")}}`;
}

/** @returns Lines with their ends, and how many samples have no form in OpenMetrics. */
export function formatOpenMetrics(
  labels: Labels,
  samples: StoredSamples,
): { text: string; left: number } {
  const name = formatSeriesName(labels);
  let text = "";
  let left = 0;
  for (let i = 0; i < samples.times.length; i++) {
    const bits = samples.values[i] as bigint;
    if (samples.histograms?.[i] !== undefined || bits === STALE_BITS) {
      left++;
      continue;
    }
    const value = doubleOf(bits);
    const shown = Number.isNaN(value) ? "NaN" : formatDouble(value);
    text += `${name} ${shown} ${formatSeconds(samples.times[i] as bigint)}\n`;
  }
  return { text, left };
}

function formatSeconds(ms: bigint): string {
  const sign = ms < 0n ? "-" : "";
  const magnitude = ms < 0n ? -ms : ms;
  return `${sign}${magnitude / 1000n}.${String(magnitude % 1000n).padStart(3, "0")}`;
}

export type OpenMetricsSample = {
  labels: Labels;
  /** Bits of the double. */
  value: bigint;
  /** Milliseconds. */
  time: number;
};

/** Reads line after line. Metadata and exemplars are passed over. */
export class OpenMetricsReader {
  #line = 0;
  #ended = false;
  /** Labels by what stands in front of the value: most lines repeat those of a line before. */
  readonly #known = new Map<string, Labels>();

  /** @returns null for a line without a sample. @throws {OpenMetricsError} */
  read(line: string): OpenMetricsSample | null {
    this.#line++;
    if (line === "" && this.#ended) return null;
    if (this.#ended) throw this.#error("data after # EOF");
    if (line === "# EOF") {
      this.#ended = true;
      return null;
    }
    if (line.startsWith("#")) return null;
    const end = this.#seriesEnd(line);
    const name = line.slice(0, end);
    let labels = this.#known.get(name);
    if (labels === undefined) {
      labels = this.#labels(name);
      this.#known.set(name, labels);
    }
    const [sample = ""] = line.slice(end).split(" # ", 1);
    const [value = "", time, more] = sample.trim().split(" ");
    if (time === undefined)
      throw this.#error("no timestamp: blocks are made of samples that have one");
    if (more !== undefined) throw this.#error(`more than a value and a timestamp: ${more}`);
    const ms = Math.round(Number(time) * 1000);
    if (time === "" || !Number.isSafeInteger(ms)) throw this.#error(`not a timestamp: ${time}`);
    return { labels, value: this.#value(value), time: ms };
  }

  /** @throws {OpenMetricsError} when the text stopped before its end mark. */
  end(): void {
    if (!this.#ended) throw this.#error("data does not end with # EOF");
  }

  #error(message: string): OpenMetricsError {
    return new OpenMetricsError(this.#line, message);
  }

  /** Index behind the name and labels. */
  #seriesEnd(line: string): number {
    const space = line.indexOf(" ");
    const brace = line.indexOf("{");
    if (brace < 0 || (space >= 0 && space < brace)) return space < 0 ? line.length : space;
    let inQuotes = false;
    for (let i = brace; i < line.length; i++) {
      const char = line[i];
      if (inQuotes && char === "\\") i++;
      else if (char === '"') inQuotes = !inQuotes;
      else if (char === "}" && !inQuotes) return i + 1;
    }
    throw this.#error("labels have no end");
  }

  #labels(text: string): Labels {
    const brace = text.indexOf("{");
    const name = brace < 0 ? text : text.slice(0, brace);
    const pairs: [string, string][] = [];
    if (name !== "") {
      if (!LEGACY_METRIC.test(name)) throw this.#error(`not a metric name: ${name}`);
      pairs.push([METRIC_NAME, name]);
    }
    const inner = brace < 0 ? "" : text.slice(brace + 1, -1);
    const part =
      /\s*("(?:[^"\\]|\\.)*"|[a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=\s*("(?:[^"\\]|\\.)*")\s*)?(?:,|$)/y;
    while (part.lastIndex < inner.length) {
      const at = part.lastIndex;
      const found = part.exec(inner);
      if (found === null) throw this.#error(`malformed label at ${inner.slice(at, at + 20)}`);
      const [, key = "", value] = found;
      if (value !== undefined) pairs.push([unquoted(key), unquoted(value)]);
      else if (key.startsWith('"')) pairs.push([METRIC_NAME, unquoted(key)]);
      else throw this.#error(`label ${key} has no value`);
    }
    const labels = labelsFromPairs(pairs);
    if (pairs.filter(([key]) => key === METRIC_NAME).length !== 1)
      throw this.#error("no metric name");
    if (new Set(pairs.map(([key]) => key)).size !== pairs.length)
      throw this.#error("a label is there twice");
    return labels;
  }

  #value(text: string): bigint {
    if (/^[+-]?inf(inity)?$/i.test(text)) {
      return bitsOf(text.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY);
    }
    // Prometheus' own NaN, not the one of this machine.
    if (/^nan$/i.test(text)) return 0x7ff8000000000001n;
    const value = Number(text);
    if (text === "" || Number.isNaN(value)) throw this.#error(`not a value: ${text}`);
    return bitsOf(value);
  }
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  return text.slice(1, -1).replaceAll(/\\(.)/g, (whole, char: string) => {
    if (char === "n") return "\n";
    return char === "\\" || char === '"' ? char : whole;
  });
}
