/**
 * Reads Prometheus' text exposition format 0.0.4, as the cluster's own `/metrics` is written:
 *
 *     # HELP name text
 *     # TYPE name counter
 *     name{label="value",…} number [milliseconds]
 */

import { type Labels, labelsFromPairs, METRIC_NAME } from "@torus/model";

export type ExposedSample = {
  /** With __name__; sorted. */
  labels: Labels;
  value: number;
  /** Milliseconds since the epoch; undefined when the line has none. */
  timestamp: number | undefined;
};

export class ExpositionError extends Error {
  /** From 1. */
  readonly line: number;
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = "ExpositionError";
    this.line = line;
  }
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(,|(?=\}))/y;
const REST = /\s*(\S+)(?:\s+(-?\d+))?\s*$/y;

/** @throws {ExpositionError} */
export function parseExposition(text: string): ExposedSample[] {
  const samples: ExposedSample[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    samples.push(parseLine(line, index + 1));
  }
  return samples;
}

function parseLine(line: string, number: number): ExposedSample {
  const [name] = match(NAME, line, 0) ?? [];
  if (name === undefined) throw new ExpositionError(number, "no metric name");
  const pairs: [string, string][] = [[METRIC_NAME, name]];
  let at = name.length;
  if (line[at] === "{") {
    at++;
    for (;;) {
      while (line[at] === " ") at++;
      if (line[at] === "}") break;
      const label = match(LABEL, line, at);
      if (label === undefined) throw new ExpositionError(number, `malformed label at ${at}`);
      const [whole, key = "", value = ""] = label;
      pairs.push([key, unescape(value)]);
      at += whole.length;
    }
    at++;
  }
  const rest = match(REST, line, at);
  if (rest === undefined) throw new ExpositionError(number, "no value");
  const [, valueText = "", time] = rest;
  const value = parseValue(valueText);
  if (value === undefined) throw new ExpositionError(number, `not a value: ${valueText}`);
  const timestamp = time === undefined ? undefined : Number(time);
  return { labels: labelsFromPairs(pairs), value, timestamp };
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

function unescape(value: string): string {
  return value.replaceAll(/\\(.)/g, (whole, char: string) => {
    if (char === "n") return "\n";
    return char === "\\" || char === '"' ? char : whole;
  });
}

function parseValue(text: string): number | undefined {
  if (/^\+?Inf$/i.test(text)) return Number.POSITIVE_INFINITY;
  if (/^-Inf$/i.test(text)) return Number.NEGATIVE_INFINITY;
  if (/^NaN$/i.test(text)) return Number.NaN;
  return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}
