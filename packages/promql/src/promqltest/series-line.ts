/**
 * A series with its points on one line of a script test: `up{job="a"} 1 _x2 0+10x5 stale {{count:3}}x2`.
 */

import { type Histogram, type Labels, labelsFromPairs } from "@torus/model";
import { tokenize } from "../parse/lexer.ts";
import { parseDurationMs, parseNumber } from "../parse/numbers.ts";
import { unquote } from "../parse/quote.ts";
import { addHistograms, parseHistogram } from "./histogram-notation.ts";
import { ScriptError } from "./script-error.ts";

/** Null is a missing point. */
export type Point =
  | null
  | { kind: "stale" }
  | { kind: "float"; value: number }
  | { kind: "histogram"; histogram: Histogram; hintGiven: boolean };

export type SeriesLine = {
  labels: Labels;
  points: Point[];
  startTimestamps: boolean;
  values: string;
};

/** More points on a line than this are refused. */
const MAX_POINTS = 1_000_000;

/** @throws {ScriptError} */
export function parseSeriesLine(line: string): SeriesLine {
  const head = headOf(line);
  let values = line.slice(head.length);
  const startTimestamps = values.startsWith("@st");
  if (startTimestamps) values = values.slice(3);
  return {
    labels: parseLabels(head),
    points: startTimestamps ? [] : parsePoints(values),
    startTimestamps,
    values,
  };
}

function headOf(line: string): string {
  const name = /^[^\s{@]*/.exec(line)?.[0] ?? "";
  const open = /^\s*\{(?!\{)/.exec(line.slice(name.length))?.[0];
  if (open === undefined) return name;
  let quoted = "";
  for (let i = name.length + open.length; i < line.length; i++) {
    const c = line[i] as string;
    if (quoted !== "") {
      if (c === "\\" && quoted !== "`") i++;
      else if (c === quoted) quoted = "";
    } else if (c === '"' || c === "'" || c === "`") quoted = c;
    else if (c === "}") return line.slice(0, i + 1);
  }
  throw new ScriptError(`unclosed brace in ${line}`);
}

/** `metric{a="b", "c.d"="e"}` or `{"metric.name", a="b"}`. @throws {ScriptError} */
export function parseLabels(text: string): Labels {
  const tokens = tokenize(text);
  const pairs: [string, string][] = [];
  let i = 0;
  const wrong = () => new ScriptError(`bad series ${text}`);
  if (tokens[0]?.text !== "{" && tokens[0]?.type !== "eof") {
    pairs.push(["__name__", (tokens[0] as { text: string }).text]);
    i = 1;
  }
  if (tokens[i]?.text === "{") {
    i++;
    while (tokens[i]?.text !== "}") {
      const name = tokens[i];
      if (name === undefined || (name.type !== "identifier" && name.type !== "string"))
        throw wrong();
      const label = name.type === "string" ? unquote(name.text) : name.text;
      if (tokens[i + 1]?.text === "=") {
        const value = tokens[i + 2];
        if (value?.type !== "string") throw wrong();
        pairs.push([label, unquote(value.text)]);
        i += 3;
      } else {
        pairs.push(["__name__", label]);
        i++;
      }
      if (tokens[i]?.text === ",") i++;
      else if (tokens[i]?.text !== "}") throw wrong();
    }
    i++;
  }
  if (tokens[i]?.type !== "eof") throw wrong();
  return labelsFromPairs(pairs);
}

const NUMBER = "(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|nan";
const floats = new RegExp(`^([+-]?(?:${NUMBER}))(?:([+-])(${NUMBER}))?(?:x([0-9]+))?$`, "i");
const histograms = /^\{\{(.*?)\}\}(?:([+-])\{\{(.*?)\}\})?(?:x([0-9]+))?$/s;

function parsePoints(text: string): Point[] {
  const points: Point[] = [];
  const repeat = (count: number, make: () => Point) => {
    if (points.length + count > MAX_POINTS) throw new ScriptError(`more than ${MAX_POINTS} points`);
    for (let i = 0; i < count; i++) points.push(make());
  };
  for (const item of text.match(/(?:\{\{.*?\}\}|[^\s{])+/g) ?? []) {
    const missing = /^_(?:x([0-9]+))?$/.exec(item);
    if (missing !== null) {
      repeat(Number(missing[1] ?? 1), () => null);
      continue;
    }
    if (item === "stale") {
      points.push({ kind: "stale" });
      continue;
    }
    const noted = histograms.exec(item);
    if (noted !== null) {
      const [, base = "", sign, increment, times] = noted;
      const { histogram, hintGiven } = parseHistogram(base);
      const step = increment === undefined ? null : parseHistogram(increment).histogram;
      let current = histogram;
      repeat(Number(times ?? 0) + 1, () => {
        const point: Point = { kind: "histogram", histogram: current, hintGiven };
        if (step !== null) current = addHistograms(current, step, sign === "-" ? -1 : 1);
        return point;
      });
      continue;
    }
    const float = floats.exec(item);
    if (float === null) {
      const hex = /^0x[0-9a-f]+$/i.test(item) ? parseNumber(item) : null;
      if (hex === null) throw new ScriptError(`bad point ${item}`);
      points.push({ kind: "float", value: hex });
      continue;
    }
    const [, base = "", sign, increment, times] = float;
    const step = increment === undefined ? 0 : (parseNumber(increment) as number);
    let value = parseNumber(base) as number;
    repeat(Number(times ?? 0) + 1, () => {
      const point: Point = { kind: "float", value };
      if (sign !== undefined) value += sign === "-" ? -step : step;
      return point;
    });
  }
  return points;
}

/** The points of an `@st` line: milliseconds relative to the sample, or null where none is known. @throws {ScriptError} */
export function parseStartTimestamps(text: string): (number | null)[] {
  const out: (number | null)[] = [];
  const duration = (item: string): number => {
    const ms = parseDurationMs(item.replace(/^[+-]/, ""));
    if (ms === null) throw new ScriptError(`bad start timestamp ${item}`);
    return item.startsWith("-") ? -ms : ms;
  };
  for (const item of text.trim().split(/\s+/)) {
    const missing = /^_(?:x([0-9]+))?$/.exec(item);
    const match = /^([+-]?[0-9a-wyz]+)(?:([+-])([0-9a-wyz]+))?(?:x([0-9]+))?$/.exec(item);
    const count = missing === null ? Number(match?.[4] ?? 0) + 1 : Number(missing[1] ?? 1);
    if (out.length + count > MAX_POINTS) throw new ScriptError(`more than ${MAX_POINTS} points`);
    if (missing === null && match === null) throw new ScriptError(`bad start timestamp ${item}`);
    let value = match === null ? null : duration(match[1] as string);
    const step = match?.[3] === undefined ? 0 : duration(`${match[2]}${match[3]}`);
    for (let i = 0; i < count; i++) {
      out.push(value);
      if (value !== null) value += step;
    }
  }
  return out;
}
