/**
 * Label matchers. A missing label is the empty string to every matcher, as in Prometheus.
 * Regular expressions are RE2's, anchored at both ends, with `.` matching newlines as well; they run in linear time.
 * Literals, alternations and `.*` are tested without an automaton (regex-shape.ts), the rest by re2js.
 */

import { RE2JS } from "re2js";
import { literalOf, regexSequences, sequenceTest } from "./regex-shape.ts";

export type MatchType = "=" | "!=" | "=~" | "!~";

/** Characters of an expression; longer ones are refused before anything is built from them. */
export const MAX_REGEX_LENGTH = 1 << 20;
/** Characters of one that needs an automaton. */
const MAX_AUTOMATON_LENGTH = 1 << 16;

export class MatcherRegexError extends Error {
  readonly pattern: string;
  constructor(pattern: string, cause: unknown) {
    const text = cause instanceof Error ? cause.message : String(cause);
    const reason = text.replace(/^error parsing regexp: /, "");
    super(`error parsing regexp: ${reason}`, { cause });
    this.name = "MatcherRegexError";
    this.pattern = pattern;
  }
}

type Compiled = {
  test: (value: string) => boolean;
  setMatches: readonly string[] | null;
  prefix: string;
};

export class Matcher {
  readonly type: MatchType;
  readonly name: string;
  readonly value: string;
  /** For `=` and `=~`: the only values that pass, when they can be listed, each once; an index looks these up. */
  readonly setMatches: readonly string[] | null;
  /** For `=` and `=~`: what every value that passes begins with, or "". */
  readonly prefix: string;
  readonly #test: (value: string) => boolean;

  /** @throws {MatcherRegexError} when `value` is not a valid RE2 expression. */
  constructor(type: MatchType, name: string, value: string) {
    this.type = type;
    this.name = name;
    this.value = value;
    const { test, setMatches, prefix } = compile(type, value);
    this.#test = test;
    this.setMatches = setMatches;
    this.prefix = prefix;
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

function compile(type: MatchType, value: string): Compiled {
  switch (type) {
    case "=":
      return { test: (other) => other === value, setMatches: [value], prefix: value };
    case "!=":
      return { test: (other) => other !== value, setMatches: null, prefix: "" };
    case "=~":
      return compileRegex(value);
    case "!~": {
      const { test } = compileRegex(value);
      return { test: (other) => !test(other), setMatches: null, prefix: "" };
    }
  }
}

function compileRegex(pattern: string): Compiled {
  if (pattern.length > MAX_REGEX_LENGTH)
    throw new MatcherRegexError(pattern, "expression too large");
  const sequences = regexSequences(pattern);
  if (sequences === null) return { test: compileAutomaton(pattern), setMatches: null, prefix: "" };
  const literals = new Set<string>();
  const tests: ((value: string) => boolean)[] = [];
  for (const sequence of sequences) {
    const literal = literalOf(sequence);
    if (literal === null) tests.push(sequenceTest(sequence));
    else literals.add(literal);
  }
  const [only] = sequences;
  if (tests.length === 0) {
    const setMatches = [...literals];
    const [literal = ""] = setMatches;
    if (literals.size === 1)
      return { test: (value) => value === literal, setMatches, prefix: literal };
    return { test: (value) => literals.has(value), setMatches, prefix: "" };
  }
  const prefix = sequences.length === 1 && typeof only?.[0] === "string" ? only[0] : "";
  const [first] = tests;
  if (tests.length === 1 && literals.size === 0 && first !== undefined) {
    return { test: first, setMatches: null, prefix };
  }
  const test = (value: string) => literals.has(value) || tests.some((one) => one(value));
  return { test, setMatches: null, prefix };
}

function compileAutomaton(pattern: string): (value: string) => boolean {
  if (pattern.length > MAX_AUTOMATON_LENGTH)
    throw new MatcherRegexError(pattern, "expression too large");
  try {
    const regex = RE2JS.compile(`^(?s:${pattern})$`);
    return (value) => regex.testExact(value);
  } catch (error) {
    // re2js reads nested groups by recursion.
    if (error instanceof RangeError)
      throw new MatcherRegexError(pattern, "expression nests too deeply");
    throw new MatcherRegexError(pattern, error);
  }
}
