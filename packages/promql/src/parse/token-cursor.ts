/** A text as tokens, and what every part of the grammar asks of them. Nesting is bounded, errors have places. */

import type { Position } from "../ast.ts";
import { describeToken, type Token, tokenize } from "./lexer.ts";
import { MAX_DURATION_MS, parseDurationMs, parseNumber } from "./numbers.ts";
import { functionWords } from "./operators.ts";
import { PromqlParseError } from "./parse-error.ts";
import { quote, unquote } from "./quote.ts";

/** Names as in --enable-feature. */
export type Feature =
  | "promql-experimental-functions"
  | "promql-extended-range-selectors"
  | "promql-binop-fill-modifiers"
  | "promql-duration-expr";

/** Levels of parentheses, calls, signs and operators one inside another. */
export const MAX_DEPTH = 1_000;

export class TokenCursor {
  protected readonly text: string;
  protected readonly tokens: readonly Token[];
  protected readonly features: ReadonlySet<Feature>;
  protected next = 0;
  /** Levels that are open now. */
  protected depth = 0;

  constructor(text: string, features: ReadonlySet<Feature>) {
    this.text = text;
    this.features = features;
    this.tokens = tokenize(text);
  }

  protected peek(): Token {
    return this.tokens[this.next] as Token;
  }

  protected peekSecond(): Token {
    return this.tokens[Math.min(this.next + 1, this.tokens.length - 1)] as Token;
  }

  protected take(): Token {
    const token = this.peek();
    if (token.type !== "eof" && token.type !== "error") this.next++;
    return token;
  }

  protected isSymbol(text: string): boolean {
    const token = this.peek();
    return token.type === "symbol" && token.text.toLowerCase() === text;
  }

  protected isWord(text: string): boolean {
    const token = this.peek();
    return token.type === "keyword" && token.text.toLowerCase() === text;
  }

  protected isOperator(text: string): boolean {
    const token = this.peek();
    return token.type === "operator" && token.text === text;
  }

  protected accept(symbol: string): Token | null {
    return this.isSymbol(symbol) ? this.take() : null;
  }

  protected fail(at: Position, reason: string): never {
    throw new PromqlParseError(this.text, at.start, at.end, reason);
  }

  protected unexpected(context = "", expected = ""): never {
    const token = this.peek();
    if (token.type === "error") this.fail(token, token.text);
    const where = context === "" ? "" : ` in ${context}`;
    const wanted = expected === "" ? "" : `, expected ${expected}`;
    return this.fail(token, `unexpected ${describeToken(token)}${where}${wanted}`);
  }

  protected enter(): void {
    if (++this.depth > MAX_DEPTH) {
      this.fail(this.peek(), `expression is nested more than ${MAX_DEPTH} levels deep`);
    }
  }

  protected signedNumber(): number | null {
    const negative = this.isOperator("-");
    if (negative || this.isOperator("+")) this.take();
    const token = this.peek();
    if (token.type !== "number" && token.type !== "duration") return null;
    this.take();
    const value = this.number(token);
    return negative ? -value : value;
  }

  protected number(token: Token): number {
    if (token.type === "duration") {
      const ms = parseDurationMs(token.text);
      if (ms === null) this.fail(token, `not a valid duration string: ${quote(token.text)}`);
      if ((ms as number) > MAX_DURATION_MS) this.fail(token, "duration out of range");
      return (ms as number) / 1000;
    }
    const value = parseNumber(token.text);
    if (value === null) {
      this.fail(
        token,
        `error parsing number: strconv.ParseFloat: parsing ${quote(token.text)}: invalid syntax`,
      );
    }
    if (/[0-9]/.test(token.text) && !Number.isFinite(value)) {
      this.fail(
        token,
        `error parsing number: strconv.ParseFloat: parsing ${quote(token.text)}: value out of range`,
      );
    }
    return value as number;
  }

  protected groupingLabels(): string[] {
    if (this.accept("(") === null) this.unexpected("grouping opts", '"("');
    const labels: string[] = [];
    while (this.accept(")") === null) {
      const token = this.peek();
      if (token.type === "string") {
        this.take();
        const label = unquote(token.text);
        if (label === "" || /\p{Surrogate}/u.test(label)) {
          this.fail(token, `invalid label name for grouping: ${quote(label)}`);
        }
        labels.push(label);
      } else if (isLabelWord(token)) {
        this.take();
        labels.push(token.text);
      } else this.unexpected("grouping opts", "label");
      if (this.accept(",") === null && !this.isSymbol(")")) {
        this.unexpected("grouping opts", '"," or ")"');
      }
    }
    return labels;
  }
}

function isLabelWord(token: Token): boolean {
  switch (token.type) {
    case "identifier":
    case "metricIdentifier":
    case "aggregator":
      return true;
    case "keyword":
      return token.text.toLowerCase() !== "without";
    case "operator":
      return /^(and|or|unless|atan2)$/i.test(token.text);
    case "symbol":
      return functionWords.has(token.text.toLowerCase());
    case "string":
    case "number":
    case "duration":
    case "eof":
    case "error":
      return false;
  }
}
