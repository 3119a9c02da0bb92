/**
 * Label matchers. A missing label is the empty string to every matcher, as in Prometheus.
 * Regular expressions are RE2's, anchored at both ends, with `.` matching newlines as well; they run in linear time.
 */

import { RE2JS } from "re2js";

export type MatchType = "=" | "!=" | "=~" | "!~";

export class MatcherRegexError extends Error {
  readonly pattern: string;
  constructor(pattern: string, cause: unknown) {
    super(`error parsing regexp: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.name = "MatcherRegexError";
    this.pattern = pattern;
  }
}

export class Matcher {
  readonly type: MatchType;
  readonly name: string;
  readonly value: string;
  readonly #test: (value: string) => boolean;

  /** @throws {MatcherRegexError} when `value` is not a valid RE2 expression. */
  constructor(type: MatchType, name: string, value: string) {
    this.type = type;
    this.name = name;
    this.value = value;
    this.#test = compile(type, value);
  }

  matches(value: string): boolean {
    return this.#test(value);
  }

  /** True when a series without the label passes too. */
  get matchesEmpty(): boolean {
    return this.#test("");
  }

  toString(): string {
    return `${this.name}${this.type}${JSON.stringify(this.value)}`;
  }
}

function compile(type: MatchType, value: string): (value: string) => boolean {
  switch (type) {
    case "=":
      return (other) => other === value;
    case "!=":
      return (other) => other !== value;
    case "=~":
      return compileRegex(value);
    case "!~": {
      const test = compileRegex(value);
      return (other) => !test(other);
    }
  }
}

function compileRegex(pattern: string): (value: string) => boolean {
  try {
    const regex = RE2JS.compile(`^(?s:${pattern})$`);
    return (value) => regex.testExact(value);
  } catch (error) {
    throw new MatcherRegexError(pattern, error);
  }
}
