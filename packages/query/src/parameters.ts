/** The parameters of Prometheus' HTTP API: texts in, times in milliseconds out. */

import { type Matcher, MatcherRegexError } from "@torus/model";
import { PromqlParseError, parseMetricSelector } from "@torus/promql";
import { ApiError, badParameter } from "./api-error.ts";

/** Earlier than every sample and later than every sample, for requests that name no time. */
export const MIN_TIME = -(2 ** 53) + 1;
export const MAX_TIME = 2 ** 53 - 1;

const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;
const FLOAT = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** Float seconds or RFC 3339, to whole milliseconds; undefined when it is neither. */
function parseTime(text: string): number | undefined {
  if (FLOAT.test(text)) {
    const ms = Math.round(Number(text) * 1000);
    return Number.isSafeInteger(ms) ? ms : undefined;
  }
  if (RFC3339.test(text)) {
    const ms = Date.parse(text);
    return Number.isNaN(ms) ? undefined : ms;
  }
  // What client libraries write for the two ends of Go's time range.
  if (text === "-292273086-05-16T16:47:06Z") return MIN_TIME;
  if (text === "292277025-08-18T07:12:54.999999999Z") return MAX_TIME;
  return undefined;
}

const UNITS_MS: Readonly<Record<string, number>> = {
  y: 365 * 86_400_000,
  w: 7 * 86_400_000,
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
};
const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;

/** Float seconds or a Prometheus duration, in milliseconds; undefined when it is neither. */
export function parseDuration(text: string): number | undefined {
  if (FLOAT.test(text)) return Math.round(Number(text) * 1000);
  const match = text === "" ? null : DURATION.exec(text);
  if (match === null) return undefined;
  return ["y", "w", "d", "h", "m", "s", "ms"].reduce(
    (sum, unit, i) => sum + Number(match[i + 1] ?? 0) * (UNITS_MS[unit] ?? 0),
    0,
  );
}

/** URL and form parameters in one; of single values the body's come first. */
export class Parameters {
  readonly #values: URLSearchParams[];

  /** @param body Of a POST form, or null. */
  constructor(query: string, body: string | null) {
    this.#values = [
      ...(body === null ? [] : [new URLSearchParams(body)]),
      new URLSearchParams(query),
    ];
  }

  /** The first value, "" when there is none. */
  text(name: string): string {
    for (const values of this.#values) {
      const value = values.get(name);
      if (value !== null && value !== "") return value;
    }
    return "";
  }

  all(name: string): string[] {
    return this.#values.flatMap((values) => values.getAll(name));
  }

  time(name: string, missing: number): number {
    const text = this.text(name);
    if (text === "") return missing;
    const ms = parseTime(text);
    if (ms === undefined) {
      throw badParameter(
        name,
        `Invalid time value for '${name}': cannot parse "${text}" to a valid timestamp`,
      );
    }
    return ms;
  }

  requiredTime(name: string): number {
    const text = this.text(name);
    const ms = parseTime(text);
    if (ms === undefined) throw badParameter(name, `cannot parse "${text}" to a valid timestamp`);
    return ms;
  }

  /** Milliseconds. */
  duration(name: string, missing: number): number {
    const text = this.text(name);
    if (text === "") return missing;
    const ms = parseDuration(text);
    if (ms === undefined || !Number.isFinite(ms)) {
      throw badParameter(name, `cannot parse "${text}" to a valid duration`);
    }
    return ms;
  }

  /** As Go reads a bool. */
  boolean(name: string, missing: boolean): boolean {
    const text = this.text(name);
    if (text === "") return missing;
    if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
    if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
    throw badParameter(name, `strconv.ParseBool: parsing "${text}": invalid syntax`);
  }

  /** 0 for no limit. */
  limit(): number {
    const text = this.text("limit");
    if (text === "") return 0;
    const limit = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(limit)) {
      throw badParameter("limit", `strconv.Atoi: parsing "${text}": invalid syntax`);
    }
    if (limit < 0) throw badParameter("limit", "limit must be non-negative");
    return limit;
  }
}

/**
 * Selectors, each with a matcher that the empty string fails.
 *
 * @param name The parameter, where an error names it.
 * @throws {ApiError}
 */
export function readSelectors(texts: readonly string[], name?: string): Matcher[][] {
  const wrong = (message: string) =>
    name === undefined ? new ApiError("bad_data", message) : badParameter(name, message);
  return texts.map((text) => {
    let matchers: readonly Matcher[];
    try {
      matchers = parseMetricSelector(text);
    } catch (error) {
      if (error instanceof PromqlParseError || error instanceof MatcherRegexError) {
        throw wrong(error.message);
      }
      throw error;
    }
    if (matchers.every((matcher) => matcher.matchesEmpty)) {
      throw wrong(`${name ?? "match[]"} must contain at least one non-empty matcher`);
    }
    return [...matchers];
  });
}

/** A label name in a path, of which the escaped form `U__` stands for any UTF-8 name. */
export function unescapeLabelName(name: string): string | null {
  if (!name.startsWith("U__")) return name;
  const rest = name.slice(3);
  const parts = rest.match(/__|_[0-9A-Fa-f]{1,6}_|[^_]/g) ?? [];
  if (parts.join("") !== rest) return null;
  return parts
    .map((part) =>
      part === "__"
        ? "_"
        : part.startsWith("_")
          ? String.fromCodePoint(Math.min(Number.parseInt(part.slice(1, -1), 16), 0x10ffff))
          : part,
    )
    .join("");
}
