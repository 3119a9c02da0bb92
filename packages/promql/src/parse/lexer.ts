/**
 * Tokens of PromQL. The whole text is cut in one pass; the first thing that is no token ends the list with one of
 * type `error`, which the parser reports when it gets there, so that an earlier error of grammar is told first.
 * Between braces every word is an identifier; between brackets only durations, numbers and their operators stand.
 */

import { quote, quoteCharacter } from "./quote.ts";

export type TokenType =
  | "identifier"
  | "metricIdentifier"
  | "string"
  | "number"
  | "duration"
  | "operator"
  | "aggregator"
  | "keyword"
  /** Brackets, commas, `=`, and the words start, end, step, range, max_of, min_of. */
  | "symbol"
  | "eof"
  | "error";

export type Token = {
  readonly type: TokenType;
  /** As written; lower case for words with a meaning. The message of an error. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
};

const words: ReadonlyMap<string, TokenType> = new Map([
  ...typed("operator", "and or unless atan2"),
  ...typed(
    "aggregator",
    "sum avg count min max group stddev stdvar topk bottomk count_values quantile limitk limit_ratio",
  ),
  ...typed(
    "keyword",
    "offset smoothed anchored by without on ignoring group_left group_right fill fill_left fill_right bool",
  ),
  ...typed("symbol", "start end step range max_of min_of"),
  ...typed("number", "inf nan"),
]);

function typed(type: TokenType, names: string): [string, TokenType][] {
  return names.split(" ").map((name) => [name, type]);
}

const durationWords: ReadonlySet<string> = new Set(["step", "range", "max_of", "min_of"]);

const space = /[ \t\n\r]+/y;
const comment = /#[^\r\n]*/y;
const word = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const label = /[a-zA-Z_][a-zA-Z0-9_]*/y;
const number =
  /(?:0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)/y;
const partialNumber = /[0-9]*\.?[0-9]*/y;
const duration = /[0-9]+(?:ms|[smhdwy])(?:[0-9]+(?:ms|[smhdw]))*/y;
const operators = ["==", "!=", "<=", "<", ">=", ">", "+", "-", "*", "/", "%", "^", "@"];

export function tokenize(input: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let braces = false;
  let brackets = false;
  let gotColon = false;
  let gotDuration = false;
  let parens = 0;

  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    return pattern.exec(input)?.[0] ?? null;
  };
  const push = (type: TokenType, length: number, text = input.slice(at, at + length)) => {
    tokens.push({ type, text, start: at, end: at + length });
    at += length;
  };
  const fail = (message: string): Token[] => {
    tokens.push({ type: "error", text: message, start: at, end: input.length });
    return tokens;
  };
  const character = (offset: number) =>
    quoteCharacter(String.fromCodePoint(input.codePointAt(offset) as number));

  for (;;) {
    const skipped = match(space) ?? match(comment);
    if (skipped !== null) {
      at += skipped.length;
      continue;
    }
    const c = input[at];
    if (c === undefined) {
      if (braces) return fail("unexpected end of input inside braces");
      // Behind the first duration in brackets Prometheus reads on as outside, with other words for the same fault.
      if (brackets && !gotDuration) return fail("unexpected end of input in duration expression");
      if (parens !== 0) return fail("unclosed left parenthesis");
      if (brackets) return fail("unclosed left bracket");
      push("eof", 0);
      return tokens;
    }
    if (c === '"' || c === "'" || c === "`") {
      if (brackets) return fail(`unexpected character in duration expression: ${character(at)}`);
      const end = endOfString(input, at);
      if (typeof end === "string") return fail(end);
      push("string", end - at);
      continue;
    }
    if (braces) {
      const name = match(label);
      if (name !== null) push("identifier", name.length);
      else if (c === ",") push("symbol", 1);
      else if (c === "}") {
        push("symbol", 1);
        braces = false;
      } else if (c === "=" || c === "!") {
        const next = input[at + 1];
        if (next === "~") push("operator", 2);
        else if (c === "=") push("symbol", 1);
        else if (next === "=") push("operator", 2);
        else if (next === undefined)
          return fail("unexpected character after '!' inside braces: '\\x00'");
        else return fail(`unexpected character after '!' inside braces: ${character(at + 1)}`);
      } else if (c === "{") return fail("unexpected left brace '{'");
      else return fail(`unexpected character inside braces: ${character(at)}`);
      continue;
    }
    if ((c >= "0" && c <= "9") || (c === "." && /[0-9]/.test(input[at + 1] ?? ""))) {
      gotDuration = true;
      const asDuration = match(duration);
      const asNumber = match(number);
      const ends = (text: string) => !/[a-zA-Z0-9_.]/.test(input[at + text.length] ?? "");
      if (asNumber !== null && ends(asNumber)) push("number", asNumber.length);
      else if (asDuration !== null && ends(asDuration)) push("duration", asDuration.length);
      else return fail(`bad number or duration syntax: ${quote(badNumber(input, at))}`);
      continue;
    }
    if (c === "(") {
      push("symbol", 1);
      parens++;
      continue;
    }
    if (c === ")") {
      if (parens === 0) {
        // The position that Prometheus gives is the one behind it.
        at++;
        return fail("unexpected right parenthesis ')'");
      }
      push("symbol", 1);
      parens--;
      continue;
    }
    if (brackets) {
      const name = match(label);
      if (c === "]") {
        push("symbol", 1);
        brackets = false;
      } else if (c === ":") {
        if (!gotDuration) return fail("unexpected colon before duration in duration expression");
        if (gotColon) return fail("unexpected colon ':'");
        gotColon = true;
        push("symbol", 1);
      } else if (name !== null && durationWords.has(name.toLowerCase())) {
        push("symbol", name.length, name.toLowerCase());
      } else if (c === ",") push("symbol", 1);
      else if ("+-*/%^".includes(c)) push("operator", 1);
      else if (!gotDuration) {
        return fail(`unexpected character in duration expression: ${character(at)}`);
      } else if (c === "[") return fail("unexpected left bracket '['");
      else
        return fail(
          `unexpected character: ${character(at)}${name === null ? "" : ", expected ':'"}`,
        );
      continue;
    }
    const name = match(word);
    if (name !== null) {
      const meaning = words.get(name.toLowerCase());
      if (meaning !== undefined)
        tokens.push({ type: meaning, text: name, start: at, end: at + name.length });
      else {
        const type = name.includes(":") ? "metricIdentifier" : "identifier";
        tokens.push({ type, text: name, start: at, end: at + name.length });
      }
      at += name.length;
      continue;
    }
    if (c === "{" || c === "[" || c === ",") {
      push("symbol", 1);
      if (c === "{") braces = true;
      if (c === "[") {
        brackets = true;
        gotColon = false;
        gotDuration = false;
      }
      continue;
    }
    if (c === "]") return fail("unexpected right bracket ']'");
    if (c === "=" && input[at + 1] === "~") return fail("unexpected character after '=': '~'");
    if (c === "!" && input[at + 1] !== "=") {
      if (input[at + 1] === undefined) return fail("unexpected character after '!': '\\x00'");
      return fail(`unexpected character after '!': ${character(at + 1)}`);
    }
    if (input.startsWith("</", at) || input.startsWith(">/", at)) {
      push("operator", 2);
      continue;
    }
    const operator = operators.find((text) => input.startsWith(text, at));
    if (operator !== undefined) push("operator", operator.length);
    else if (c === "=") push("symbol", 1);
    else return fail(`unexpected character: ${character(at)}`);
  }
}

/** The text up to and with the character that spoils it. */
function badNumber(input: string, at: number): string {
  duration.lastIndex = at;
  partialNumber.lastIndex = at;
  const good = duration.exec(input)?.[0] ?? partialNumber.exec(input)?.[0] ?? "";
  return input.slice(at, at + good.length + 1);
}

/** The offset behind the closing quote, or what is wrong. */
function endOfString(input: string, start: number): number | string {
  const open = input[start] as string;
  if (open === "`") {
    const end = input.indexOf("`", start + 1);
    return end < 0 ? "unterminated raw string" : end + 1;
  }
  let i = start + 1;
  for (;;) {
    const c = input[i];
    if (c === undefined || c === "\n") return "unterminated quoted string";
    if (c === open) return i + 1;
    if (c !== "\\") {
      i++;
      continue;
    }
    const escape = input[i + 1];
    if (escape === undefined) return "escape sequence not terminated";
    if ("abfnrtv\\".includes(escape) || escape === open) {
      i += 2;
      continue;
    }
    const shape = escapeShape(escape);
    if (shape === null) return `unknown escape sequence ${unicode(input, i + 1)}`;
    const from = escape >= "0" && escape <= "7" ? i + 1 : i + 2;
    for (let d = 0; d < shape.digits; d++) {
      const digit = input[from + d];
      if (digit === undefined) return "escape sequence not terminated";
      if (!shape.pattern.test(digit)) {
        return `illegal character ${unicode(input, from + d)} in escape sequence`;
      }
    }
    const value = Number.parseInt(input.slice(from, from + shape.digits), shape.base);
    if (value > shape.max || (shape.max > 255 && value >= 0xd800 && value < 0xe000)) {
      return "escape sequence is an invalid Unicode code point";
    }
    i = from + shape.digits;
  }
}

function escapeShape(
  escape: string,
): { digits: number; base: number; max: number; pattern: RegExp } | null {
  if (escape >= "0" && escape <= "7") return { digits: 3, base: 8, max: 255, pattern: /[0-7]/ };
  const pattern = /[0-9a-fA-F]/;
  if (escape === "x") return { digits: 2, base: 16, max: 255, pattern };
  if (escape === "u") return { digits: 4, base: 16, max: 0x10ffff, pattern };
  if (escape === "U") return { digits: 8, base: 16, max: 0x10ffff, pattern };
  return null;
}

/** As Go's %#U: `U+0071 'q'`. */
function unicode(input: string, at: number): string {
  const code = input.codePointAt(at) as number;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")} '${String.fromCodePoint(code)}'`;
}

/** How an error names a token: `identifier "up"`, `<op:+>`, `<by>`, `"("`, `end of input`. */
export function describeToken(token: Token): string {
  const { type, text } = token;
  switch (type) {
    case "eof":
      return "end of input";
    case "operator":
      return `<op:${text}>`;
    case "aggregator":
      return `<aggr:${text}>`;
    case "keyword":
      return `<${text}>`;
    case "symbol":
      return quote(text);
    case "error":
      return text;
    case "identifier":
      return `identifier ${quote(text)}`;
    case "metricIdentifier":
      return `metric identifier ${quote(text)}`;
    case "string":
    case "number":
    case "duration":
      return `${type} ${text.length > 10 ? `${quote(text.slice(0, 10))}...` : quote(text)}`;
  }
}
