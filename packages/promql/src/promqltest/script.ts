/**
 * Script tests of PromQL, read into commands. Blocks are separated by blank lines; a line that starts with `#` is
 * blank. `load` fills storage, `store` begins another store, `clear` empties all, `eval` asks and expects.
 */

import { parseDurationMs, parseNumber } from "../parse/numbers.ts";
import { unquote } from "../parse/quote.ts";
import { ScriptError } from "./script-error.ts";
import { parseSeriesLine, parseStartTimestamps, type SeriesLine } from "./series-line.ts";

export type TextMatch =
  | { kind: "any" }
  | { kind: "text"; text: string }
  | { kind: "regex"; regex: RegExp };

export type Expectations = {
  fail: TextMatch | null;
  warn: TextMatch[];
  info: TextMatch[];
  noWarn: boolean;
  noInfo: boolean;
  ordered: boolean;
  string: string | null;
  rangeVector: { startMs: number; endMs: number; stepMs: number } | null;
};

export type LoadedSeries = { line: SeriesLine; startTimestamps: (number | null)[] | null };

export type Command =
  | { kind: "clear" }
  | { kind: "store"; mintMs: number; maxtMs: number }
  | { kind: "load"; intervalMs: number; withNhcb: boolean; series: LoadedSeries[] }
  | {
      kind: "eval";
      /** 1-based line of the `eval`. */
      line: number;
      /** The name in a `# case` comment before it, or "". */
      name: string;
      query: string;
      times:
        | { kind: "instant"; atMs: number }
        | { kind: "range"; startMs: number; endMs: number; stepMs: number };
      expect: Expectations;
      scalar: number | null;
      series: SeriesLine[];
    };

/** @throws {ScriptError} with the line's number. */
export function parseScript(text: string): Command[] {
  const lines = text.split("\n").map((line) => line.trim());
  const commands: Command[] = [];
  let name = "";
  let i = 0;
  const isBlank = (line: string | undefined) =>
    line === undefined || line === "" || line.startsWith("#");
  while (i < lines.length) {
    const line = lines[i] as string;
    if (isBlank(line)) {
      name = /^# case (\S+)/.exec(line)?.[1] ?? name;
      i++;
      continue;
    }
    const start = i++;
    const block: string[] = [];
    const isEval = /^eval/i.test(line);
    const more = /^(eval|load)/i.test(line);
    while (more && !isBlank(lines[i])) {
      const next = lines[i++] as string;
      block.push(next);
      if (isEval && (parseNumber(next) !== null || /^expected_fail_(message|regexp)\s/.test(next)))
        break;
    }
    try {
      commands.push(parseCommand(line, block, start + 1, name));
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      throw new ScriptError(`line ${start + 1}: ${error.message}`, { cause: error });
    }
    if (isEval) name = "";
  }
  return commands;
}

function parseCommand(
  line: string,
  block: readonly string[],
  number: number,
  name: string,
): Command {
  if (/^clear$/i.test(line)) return { kind: "clear" };
  const store = /^store\s+(\{[^}]*\})\s+(\S+)\s+(\S+)$/i.exec(line);
  if (store !== null) {
    if (!/^\{\s*\}$/.test(store[1] as string))
      throw new ScriptError("matchers of a store are not supported yet");
    return { kind: "store", mintMs: durationOf(store[2]), maxtMs: durationOf(store[3]) };
  }
  const load = /^(load|load_with_nhcb)\s+(\S+)$/i.exec(line);
  if (load !== null) {
    const withNhcb = /nhcb$/i.test(load[1] as string);
    return { kind: "load", intervalMs: durationOf(load[2]), withNhcb, series: loadedSeries(block) };
  }
  const instant = /^eval(_fail|_warn|_info|_ordered)?\s+instant\s+(?:at\s+(\S+))?\s*(.+)$/i.exec(
    line,
  );
  const range =
    /^eval(_fail|_warn|_info)?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$/i.exec(
      line,
    );
  if (instant === null && range === null) throw new ScriptError(`invalid command ${line}`);
  const expect: Expectations = {
    fail: null,
    warn: [],
    info: [],
    noWarn: false,
    noInfo: false,
    ordered: false,
    string: null,
    rangeVector: null,
  };
  const suffix = (instant?.[1] ?? range?.[1] ?? "").toLowerCase();
  if (suffix === "_fail") expect.fail = { kind: "any" };
  if (suffix === "_warn") expect.warn.push({ kind: "any" });
  if (suffix === "_info") expect.info.push({ kind: "any" });
  if (suffix === "_ordered") expect.ordered = true;
  const query = (instant?.[3] ?? range?.[5]) as string;
  const times =
    instant !== null
      ? ({ kind: "instant", atMs: instant[2] === undefined ? 0 : durationOf(instant[2]) } as const)
      : ({
          kind: "range",
          startMs: durationOf(range?.[2]),
          endMs: durationOf(range?.[3]),
          stepMs: durationOf(range?.[4]),
        } as const);
  let scalar: number | null = null;
  const series: SeriesLine[] = [];
  for (const entry of block) {
    if (readExpectation(entry, expect)) continue;
    const value = parseNumber(entry);
    if (value !== null) scalar = value;
    else series.push(parseSeriesLine(entry));
  }
  return { kind: "eval", line: number, name, query, times, expect, scalar, series };
}

function loadedSeries(block: readonly string[]): LoadedSeries[] {
  const out: LoadedSeries[] = [];
  let pending: (number | null)[] | null = null;
  for (const entry of block) {
    const line = parseSeriesLine(entry);
    if (line.startTimestamps) {
      pending = parseStartTimestamps(line.values);
      continue;
    }
    if (pending !== null && pending.length !== line.points.length) {
      throw new ScriptError(`${pending.length} start timestamps for ${line.points.length} points`);
    }
    out.push({ line, startTimestamps: pending });
    pending = null;
  }
  return out;
}

function readExpectation(line: string, expect: Expectations): boolean {
  const old = /^expected_fail_(message|regexp)\s+(.+)$/.exec(line);
  if (old !== null) {
    expect.fail = textMatch(old[1] === "message" ? "msg" : "regex", old[2] as string);
    return true;
  }
  if (!/^expect\s/.test(line)) return false;
  const rest = line.slice("expect".length).trim();
  const annotation = /^(fail|warn|info|no_warn|no_info|ordered)(?:\s+(msg|regex):\s*(.*))?$/.exec(
    rest,
  );
  if (annotation !== null) {
    const match = textMatch(annotation[2], annotation[3] ?? "");
    if (annotation[1] === "fail") expect.fail = match;
    if (annotation[1] === "warn") expect.warn.push(match);
    if (annotation[1] === "info") expect.info.push(match);
    if (annotation[1] === "no_warn") expect.noWarn = true;
    if (annotation[1] === "no_info") expect.noInfo = true;
    if (annotation[1] === "ordered") expect.ordered = true;
    return true;
  }
  const string = /^string\s+(["'`].*["'`])$/.exec(rest);
  if (string !== null) {
    expect.string = unquote(string[1] as string);
    return true;
  }
  const range = /^range vector from (\S+) to (\S+) step (\S+)$/.exec(rest);
  if (range === null) throw new ScriptError(`invalid expectation ${line}`);
  const [startMs, endMs, stepMs] = range.slice(1).map(durationOf) as [number, number, number];
  expect.rangeVector = { startMs, endMs, stepMs };
  return true;
}

function textMatch(kind: string | undefined, text: string): TextMatch {
  if (kind === undefined) return { kind: "any" };
  if (kind === "msg") return { kind: "text", text };
  return { kind: "regex", regex: new RegExp(text) };
}

function durationOf(text: string | undefined): number {
  const negative = text?.startsWith("-") === true;
  const ms = parseDurationMs((text ?? "").replace(/^-/, ""));
  const plain = ms === null ? parseNumber((text ?? "").replace(/^-/, "")) : null;
  const value = ms ?? (plain === null ? null : plain * 1000);
  if (value === null || Number.isNaN(value)) throw new ScriptError(`bad duration ${text}`);
  return negative ? -value : value;
}
