/** What `/federate` answers in Prometheus' text format 0.0.4: untyped, with the samples' own times. */

import { CUSTOM_BUCKETS_SCHEMA, type Histogram, type Labels, labelValue } from "@torus/model";
import { cumulativeCounts } from "@torus/protocol";
import type { NameEscaping } from "./federate-format.ts";
import {
  escapedName,
  LEGACY_LABEL,
  LEGACY_METRIC,
  type Newest,
  ownLabels,
} from "./federate-labels.ts";

const PART_LENGTH = 32_768;

/** The text, in parts. @param all Ascending by name. */
export function* federateText(
  all: readonly Newest[],
  escaping: NameEscaping,
): Generator<Uint8Array> {
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

function pairs(labels: Labels, escaping: NameEscaping): string[] {
  const own = ownLabels(labels, escaping);
  const out: string[] = [];
  for (let i = 0; i < own.length; i += 2) {
    const name = own[i] as string;
    const quoted = LEGACY_LABEL.test(name) ? name : quote(name);
    out.push(`${quoted}=${quote(own[i + 1] as string)}`);
  }
  return out;
}

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

function histogramLines(
  name: string,
  labels: readonly string[],
  escaping: NameEscaping,
  histogram: Histogram,
  timeMs: number,
): string {
  const { customValues, sum, count } = histogram;
  let out = "";
  for (const [i, total] of cumulativeCounts(histogram).entries()) {
    const le = [...labels, `le="${goFloat(customValues[i] as number)}"`];
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
