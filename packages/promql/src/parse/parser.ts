/**
 * PromQL's grammar by recursive descent, binary operators by precedence climbing. Time is linear in the text and
 * nesting is bounded, so that no query can exhaust the stack. Errors have the texts and positions of Prometheus 3.14.
 */

import { Matcher, MatcherRegexError, type MatchType } from "@torus/model";
import type {
  AggregateOp,
  At,
  BinaryOp,
  Duration,
  DurationExpr,
  Expr,
  Position,
  VectorMatching,
  VectorSelector,
} from "../ast.ts";
import { signatures } from "../signatures.ts";
import { describeToken, type Token, tokenize } from "./lexer.ts";
import { MAX_DURATION_MS, parseDurationMs, parseNumber } from "./numbers.ts";
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

const precedence: Readonly<Record<string, number>> = {
  or: 1,
  and: 2,
  unless: 2,
  "==": 3,
  "!=": 3,
  ">": 3,
  "<": 3,
  ">=": 3,
  "<=": 3,
  "</": 3,
  ">/": 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": 5,
  atan2: 5,
  "^": 6,
};
const POWER = 6;

const withParameter: ReadonlySet<string> = new Set([
  "topk",
  "bottomk",
  "count_values",
  "quantile",
  "limitk",
  "limit_ratio",
]);
const notAMetricName: ReadonlySet<string> = new Set([
  "on",
  "ignoring",
  "group_left",
  "group_right",
  "bool",
]);
const functionWords: ReadonlySet<string> = new Set([
  "start",
  "end",
  "step",
  "range",
  "max_of",
  "min_of",
]);

export class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  readonly #features: ReadonlySet<Feature>;
  #next = 0;
  #depth = 0;
  /** Where a duration stands and what may stand there, for its errors. */
  #durationPlace: readonly [context: string, expected: string] = ["", ""];

  constructor(text: string, features: ReadonlySet<Feature>) {
    this.#text = text;
    this.#features = features;
    this.#tokens = tokenize(text);
  }

  /** The one expression that is the whole text. @throws {PromqlParseError} */
  whole(): Expr {
    if (this.#peek().type === "eof") {
      throw new PromqlParseError(this.#text, 0, 0, "no expression found in input");
    }
    const expr = this.#binary(1);
    if (this.#peek().type !== "eof") this.#unexpected();
    return expr;
  }

  /** The one selector without modifiers that is the whole text. @throws {PromqlParseError} */
  wholeSelector(): VectorSelector {
    const selector = this.#primary();
    if (selector.kind !== "vectorSelector" || this.#peek().type !== "eof") this.#unexpected();
    return selector as VectorSelector;
  }

  #peek(): Token {
    return this.#tokens[this.#next] as Token;
  }

  #peekSecond(): Token {
    return this.#tokens[Math.min(this.#next + 1, this.#tokens.length - 1)] as Token;
  }

  #take(): Token {
    const token = this.#peek();
    if (token.type !== "eof" && token.type !== "error") this.#next++;
    return token;
  }

  #isSymbol(text: string): boolean {
    const token = this.#peek();
    return token.type === "symbol" && token.text.toLowerCase() === text;
  }

  #isWord(text: string): boolean {
    const token = this.#peek();
    return token.type === "keyword" && token.text.toLowerCase() === text;
  }

  #isOperator(text: string): boolean {
    const token = this.#peek();
    return token.type === "operator" && token.text === text;
  }

  #accept(symbol: string): Token | null {
    return this.#isSymbol(symbol) ? this.#take() : null;
  }

  #fail(at: Position, reason: string): never {
    throw new PromqlParseError(this.#text, at.start, at.end, reason);
  }

  #unexpected(context = "", expected = ""): never {
    const token = this.#peek();
    if (token.type === "error") this.#fail(token, token.text);
    const where = context === "" ? "" : ` in ${context}`;
    const wanted = expected === "" ? "" : `, expected ${expected}`;
    return this.#fail(token, `unexpected ${describeToken(token)}${where}${wanted}`);
  }

  #enter(): void {
    if (++this.#depth > MAX_DEPTH) {
      this.#fail(this.#peek(), `expression is nested more than ${MAX_DEPTH} levels deep`);
    }
  }

  #binary(least: number): Expr {
    this.#enter();
    let left = this.#unary();
    let chain = 0;
    for (;;) {
      const token = this.#peek();
      if (token.type !== "operator") break;
      const op = token.text.toLowerCase();
      const binding = precedence[op];
      if (binding === undefined || binding < least) break;
      // A chain `1+1+…` is a tree as deep as it is long.
      chain++;
      this.#enter();
      this.#take();
      const returnBool = this.#isWord("bool") && this.#take() !== null;
      const written = this.#matching();
      const right = this.#binary(op === "^" ? binding : binding + 1);
      left = this.#newBinary(token, op as BinaryOp, left, right, { returnBool, written });
    }
    this.#depth -= chain + 1;
    return left;
  }

  #newBinary(
    token: Token,
    op: BinaryOp,
    left: Expr,
    right: Expr,
    modifiers: { returnBool: boolean; written: VectorMatching },
  ): Expr {
    const position = { start: left.start, end: right.end };
    const { written, returnBool } = modifiers;
    if (
      (written.fillLeft !== null || written.fillRight !== null) &&
      !this.#features.has("promql-binop-fill-modifiers")
    ) {
      this.#fail(position, "binop fill modifiers are experimental and not enabled");
    }
    return {
      kind: "binary",
      op,
      left,
      right,
      returnBool,
      matching: written,
      opStart: token.start,
      opEnd: token.end,
      ...position,
    };
  }

  #matching(): VectorMatching {
    let on = false;
    let labels: readonly string[] = [];
    let include: readonly string[] = [];
    let card: VectorMatching["card"] = "one-to-one";
    if (this.#isWord("on") || this.#isWord("ignoring")) {
      on = this.#take().text.toLowerCase() === "on";
      labels = this.#groupingLabels();
      if (this.#isWord("group_left") || this.#isWord("group_right")) {
        card = this.#take().text.toLowerCase() === "group_left" ? "many-to-one" : "one-to-many";
        if (this.#isSymbol("(")) include = this.#groupingLabels();
      }
    }
    let fillLeft: number | null = null;
    let fillRight: number | null = null;
    if (this.#isFill("fill")) {
      fillLeft = this.#fillValue();
      fillRight = fillLeft;
    } else if (this.#isFill("fill_left")) {
      fillLeft = this.#fillValue();
      if (this.#isFill("fill_right")) fillRight = this.#fillValue();
    } else if (this.#isFill("fill_right")) {
      fillRight = this.#fillValue();
      if (this.#isFill("fill_left")) fillLeft = this.#fillValue();
    }
    return { card, on, labels, include, fillLeft, fillRight };
  }

  /** `fill` is a metric's name as well; only in front of a parenthesis is it a modifier. */
  #isFill(name: string): boolean {
    return this.#isWord(name) && this.#peekSecond().text === "(";
  }

  #fillValue(): number {
    this.#take();
    this.#take();
    const value = this.#signedNumber();
    if (value === null || this.#accept(")") === null) this.#unexpected();
    return value as number;
  }

  #signedNumber(): number | null {
    const negative = this.#isOperator("-");
    if (negative || this.#isOperator("+")) this.#take();
    const token = this.#peek();
    if (token.type !== "number" && token.type !== "duration") return null;
    this.#take();
    const value = this.#number(token);
    return negative ? -value : value;
  }

  #number(token: Token): number {
    if (token.type === "duration") {
      const ms = parseDurationMs(token.text);
      if (ms === null) this.#fail(token, `not a valid duration string: ${quote(token.text)}`);
      if ((ms as number) > MAX_DURATION_MS) this.#fail(token, "duration out of range");
      return (ms as number) / 1000;
    }
    const value = parseNumber(token.text);
    if (value === null) {
      this.#fail(
        token,
        `error parsing number: strconv.ParseFloat: parsing ${quote(token.text)}: invalid syntax`,
      );
    }
    if (/[0-9]/.test(token.text) && !Number.isFinite(value)) {
      this.#fail(
        token,
        `error parsing number: strconv.ParseFloat: parsing ${quote(token.text)}: value out of range`,
      );
    }
    return value as number;
  }

  #unary(): Expr {
    if (!this.#isOperator("-") && !this.#isOperator("+")) return this.#postfix(this.#primary());
    const sign = this.#take();
    const operand = this.#binary(POWER);
    // A sign in front of a number is part of the number.
    if (operand.kind === "number") {
      const value = sign.text === "-" ? -operand.value : operand.value;
      return { ...operand, value, start: sign.start };
    }
    return {
      kind: "unary",
      op: sign.text as "+" | "-",
      operand,
      start: sign.start,
      end: operand.end,
    };
  }

  #primary(): Expr {
    const token = this.#peek();
    switch (token.type) {
      case "number":
      case "duration":
        this.#take();
        return {
          kind: "number",
          value: this.#number(token),
          isDuration: token.type === "duration",
          start: token.start,
          end: token.end,
        };
      case "string":
        this.#take();
        return { kind: "string", value: unquote(token.text), start: token.start, end: token.end };
      case "aggregator": {
        const second = this.#peekSecond();
        const word = second.text.toLowerCase();
        if (
          second.text === "(" ||
          (second.type === "keyword" && (word === "by" || word === "without"))
        ) {
          return this.#aggregation();
        }
        return this.#selector();
      }
      case "identifier":
        return this.#peekSecond().text === "(" ? this.#call() : this.#selector();
      case "metricIdentifier":
        return this.#selector();
      case "keyword":
        if (notAMetricName.has(token.text.toLowerCase())) this.#unexpected();
        return this.#selector();
      case "operator":
        if (!/^(and|or|unless)$/i.test(token.text)) this.#unexpected();
        return this.#selector();
      case "symbol":
        if (token.text === "(") {
          this.#take();
          const expr = this.#binary(1);
          const close = this.#accept(")");
          if (close === null) this.#unexpected();
          return { kind: "paren", expr, start: token.start, end: (close as Token).end };
        }
        if (token.text === "{") return this.#selector();
        if (functionWords.has(token.text.toLowerCase())) {
          return this.#peekSecond().text === "(" ? this.#call() : this.#selector();
        }
        return this.#unexpected();
      case "eof":
      case "error":
        return this.#unexpected();
    }
  }

  #call(): Expr {
    const name = this.#take();
    const func = signatures.get(name.type === "symbol" ? name.text.toLowerCase() : name.text);
    const { args, end } = this.#arguments();
    if (func === undefined)
      return this.#fail(name, `unknown function with name ${quote(name.text)}`);
    if (func.experimental && !this.#features.has("promql-experimental-functions")) {
      this.#fail(name, `function ${quote(name.text)} is not enabled`);
    }
    return { kind: "call", func, args, start: name.start, end };
  }

  #arguments(): { args: Expr[]; end: number } {
    if (this.#accept("(") === null) this.#unexpected("aggregation");
    const args: Expr[] = [];
    let close = this.#accept(")");
    while (close === null) {
      args.push(this.#binary(1));
      close = this.#accept(")");
      if (close !== null) break;
      const comma = this.#accept(",");
      if (comma === null) this.#unexpected();
      if (this.#isSymbol(")"))
        this.#fail(comma as Token, "trailing commas not allowed in function call args");
    }
    return { args, end: close.end };
  }

  #aggregation(): Expr {
    const name = this.#take();
    const op = name.text.toLowerCase() as AggregateOp;
    let modifier = this.#aggregateModifier();
    const { args, end } = this.#arguments();
    let last = end;
    if (modifier === null) {
      modifier = this.#aggregateModifier();
      if (modifier !== null) last = modifier.end;
    }
    const position = { start: name.start, end: last };
    if (args.length === 0) this.#fail(position, "no arguments for aggregate expression provided");
    const wanted = withParameter.has(op) ? 2 : 1;
    if (op.startsWith("limit") && !this.#features.has("promql-experimental-functions")) {
      this.#fail(
        position,
        `${op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions`,
      );
    }
    if (args.length !== wanted) {
      this.#fail(
        position,
        `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${args.length}`,
      );
    }
    return {
      kind: "aggregation",
      op,
      expr: args[wanted - 1] as Expr,
      param: wanted === 2 ? (args[0] as Expr) : null,
      grouping: modifier?.labels ?? [],
      without: modifier?.without ?? false,
      ...position,
    };
  }

  #aggregateModifier(): { labels: string[]; without: boolean; end: number } | null {
    if (!this.#isWord("by") && !this.#isWord("without")) return null;
    const without = this.#take().text.toLowerCase() === "without";
    const labels = this.#groupingLabels();
    return { labels, without, end: (this.#tokens[this.#next - 1] as Token).end };
  }

  #groupingLabels(): string[] {
    if (this.#accept("(") === null) this.#unexpected("grouping opts", '"("');
    const labels: string[] = [];
    while (this.#accept(")") === null) {
      const token = this.#peek();
      if (token.type === "string") {
        this.#take();
        const label = unquote(token.text);
        if (label === "" || /\p{Surrogate}/u.test(label)) {
          this.#fail(token, `invalid label name for grouping: ${quote(label)}`);
        }
        labels.push(label);
      } else if (isLabelWord(token)) {
        this.#take();
        labels.push(token.text);
      } else this.#unexpected("grouping opts", "label");
      if (this.#accept(",") === null && !this.#isSymbol(")")) {
        this.#unexpected("grouping opts", '"," or ")"');
      }
    }
    return labels;
  }

  #selector(): VectorSelector {
    const first = this.#peek();
    let name = "";
    let end = first.end;
    if (first.text !== "{" || first.type !== "symbol") name = this.#take().text;
    const matchers: Matcher[] = [];
    if (this.#accept("{") !== null) {
      let close = this.#accept("}");
      while (close === null) {
        matchers.push(this.#matcher());
        close = this.#accept("}");
        if (close === null && this.#accept(",") === null)
          this.#unexpected("label matching", '"," or "}"');
        if (close === null) close = this.#accept("}");
      }
      end = close.end;
    }
    if (name !== "") matchers.push(new Matcher("=", "__name__", name));
    return {
      kind: "vectorSelector",
      name,
      matchers,
      offset: null,
      at: null,
      anchored: false,
      smoothed: false,
      start: first.start,
      end,
    };
  }

  #matcher(): Matcher {
    const label = this.#peek();
    if (label.type !== "identifier" && label.type !== "string") {
      this.#unexpected("label matching", 'identifier or "}"');
    }
    this.#take();
    const name = label.type === "string" ? unquote(label.text) : label.text;
    const op = this.#peek();
    const isMatch = op.text === "=" || op.text === "!=" || op.text === "=~" || op.text === "!~";
    if (!isMatch || (op.type !== "symbol" && op.type !== "operator")) {
      if (label.type === "string" && (this.#isSymbol(",") || this.#isSymbol("}"))) {
        return new Matcher("=", "__name__", name);
      }
      if (label.type === "string") this.#unexpected("label matching", '"," or "}"');
      this.#unexpected("label matching", "label matching operator");
    }
    this.#take();
    const value = this.#peek();
    if (value.type !== "string") this.#unexpected("label matching", "string");
    this.#take();
    try {
      return new Matcher(op.text as MatchType, name, unquote(value.text));
    } catch (error) {
      if (!(error instanceof MatcherRegexError)) throw error;
      return this.#fail({ start: label.start, end: value.end }, error.message);
    }
  }

  #postfix(primary: Expr): Expr {
    let expr = primary;
    for (;;) {
      if (this.#isSymbol("[")) expr = this.#brackets(expr);
      else if (this.#isWord("offset")) expr = this.#offset(expr);
      else if (this.#isOperator("@")) expr = this.#at(expr);
      else if (this.#isWord("anchored") || this.#isWord("smoothed")) expr = this.#extended(expr);
      else return expr;
    }
  }

  #brackets(expr: Expr): Expr {
    const open = this.#take();
    const range = this.#durationIn(
      "subquery or range selector",
      "number, duration, step(), or range()",
    );
    if (this.#accept(":") !== null) {
      const step = this.#isSymbol("]")
        ? null
        : this.#durationIn("subquery selector", 'number, duration, step(), range(), or "]"');
      const close = this.#accept("]");
      if (close === null) this.#unexpected("subquery selector", '"]"');
      const end = (close as Token).end;
      return {
        kind: "subquery",
        expr,
        range,
        step,
        offset: null,
        at: null,
        start: expr.start,
        end,
      };
    }
    const close = this.#accept("]");
    if (close === null) return this.#unexpected("subquery or range", '":" or "]"');
    const inBrackets = { start: open.start, end: close.end };
    if (expr.kind !== "vectorSelector")
      return this.#fail(inBrackets, "ranges only allowed for vector selectors");
    if (expr.offset !== null) this.#fail(inBrackets, "no offset modifiers allowed before range");
    if (expr.at !== null) this.#fail(inBrackets, "no @ modifiers allowed before range");
    return { kind: "matrixSelector", selector: expr, range, start: expr.start, end: close.end };
  }

  /** A duration in brackets, above zero. */
  #durationIn(context: string, expected: string): Duration {
    const first = this.#peek();
    const starts =
      first.type === "number" ||
      first.type === "duration" ||
      this.#isOperator("+") ||
      this.#isOperator("-") ||
      (first.type === "symbol" &&
        (first.text === "(" || functionWords.has(first.text.toLowerCase())));
    if (!starts) this.#unexpected(context, expected);
    this.#durationPlace = [context, expected];
    const duration = this.#duration(this.#durationBinary(4));
    if (duration.expr === null && duration.ms <= 0)
      this.#fail(duration, "duration must be greater than 0");
    return duration;
  }

  /** Folds a literal; all else waits for the step and range of the query. */
  #duration(expr: DurationExpr): Duration {
    const { start, end } = expr;
    const experimental = !this.#features.has("promql-duration-expr");
    if (expr.kind === "seconds") {
      const ms = Math.round(expr.value * 1e6) / 1e3;
      if (!(Math.abs(ms) <= MAX_DURATION_MS)) this.#fail(expr, "duration out of range");
      return { ms: Math.round(ms), expr: null, start, end };
    }
    if (experimental) this.#fail(expr, "experimental duration expression is not enabled");
    return { ms: 0, expr, start, end };
  }

  #durationBinary(least: number): DurationExpr {
    this.#enter();
    let left = this.#durationUnary();
    let chain = 0;
    for (;;) {
      const token = this.#peek();
      const binding = token.type === "operator" ? precedence[token.text] : undefined;
      if (binding === undefined || binding < least || binding < 4 || token.text === "atan2") break;
      chain++;
      this.#enter();
      this.#take();
      const right = this.#durationBinary(token.text === "^" ? binding : binding + 1);
      if (
        right.kind === "seconds" &&
        right.value === 0 &&
        (token.text === "/" || token.text === "%")
      ) {
        this.#fail(token, token.text === "/" ? "division by zero" : "modulo by zero");
      }
      const op = token.text as "+" | "-" | "*" | "/" | "%" | "^";
      left = { kind: "binary", op, left, right, start: left.start, end: right.end };
    }
    this.#depth -= chain + 1;
    return left;
  }

  #durationUnary(): DurationExpr {
    if (!this.#isOperator("-") && !this.#isOperator("+")) return this.#durationPrimary();
    const sign = this.#take();
    return signed(sign, this.#durationBinary(POWER));
  }

  #durationPrimary(): DurationExpr {
    const token = this.#peek();
    if (token.type === "number" || token.type === "duration") {
      this.#take();
      const value = this.#number(token);
      return {
        kind: "seconds",
        value,
        isDuration: token.type === "duration",
        start: token.start,
        end: token.end,
      };
    }
    if (this.#accept("(") !== null) {
      const operand = this.#durationBinary(4);
      const close = this.#accept(")");
      if (close === null) return this.#unexpected(...this.#durationPlace);
      return { kind: "group", operand, start: token.start, end: close.end };
    }
    const word = token.type === "symbol" ? token.text.toLowerCase() : "";
    if (word === "step" || word === "range") {
      this.#take();
      if (this.#accept("(") === null) this.#unexpected(...this.#durationPlace);
      const close = this.#accept(")");
      if (close === null) return this.#unexpected(...this.#durationPlace);
      return { kind: word, start: token.start, end: close.end };
    }
    if (word === "min_of" || word === "max_of") {
      this.#take();
      if (this.#accept("(") === null) this.#unexpected(...this.#durationPlace);
      const left = this.#durationBinary(4);
      if (this.#accept(",") === null) this.#unexpected(...this.#durationPlace);
      const right = this.#durationBinary(4);
      const close = this.#accept(")");
      if (close === null) return this.#unexpected(...this.#durationPlace);
      return { kind: word, left, right, start: token.start, end: close.end };
    }
    return this.#unexpected(...this.#durationPlace);
  }

  #offset(expr: Expr): Expr {
    this.#take();
    const first = this.#peek();
    const sign = this.#isOperator("-") || this.#isOperator("+") ? this.#take() : null;
    const head = this.#peek();
    const starts =
      head.type === "number" ||
      head.type === "duration" ||
      (head.type === "symbol" && /^(\(|step|range|min_of|max_of)$/i.test(head.text));
    if (!starts) this.#unexpected("offset", "number, duration, step(), or range()");
    this.#durationPlace = ["offset", "number, duration, step(), or range()"];
    const written = this.#durationPrimary();
    const offset = this.#duration(sign === null ? written : signed(sign, written));
    const end = offset.end;
    const set = (old: Duration | null): Duration => {
      if (old !== null && (old.ms !== 0 || old.expr !== null)) {
        this.#fail(expr, "offset may not be set multiple times");
      }
      return { ...offset, start: first.start };
    };
    if (expr.kind === "vectorSelector" || expr.kind === "subquery") {
      return { ...expr, offset: set(expr.offset), end };
    }
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: { ...expr.selector, offset: set(expr.selector.offset) }, end };
    }
    return this.#fail(
      expr,
      "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }

  #at(expr: Expr): Expr {
    this.#take();
    const at = this.#atTime(expr);
    const end = (this.#tokens[this.#next - 1] as Token).end;
    const set = (old: At | null): At => {
      if (old !== null) this.#fail(expr, "@ <timestamp> may not be set multiple times");
      return at;
    };
    if (expr.kind === "vectorSelector" || expr.kind === "subquery") {
      return { ...expr, at: set(expr.at), end };
    }
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: { ...expr.selector, at: set(expr.selector.at) }, end };
    }
    return this.#fail(
      expr,
      "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }

  #atTime(expr: Expr): At {
    const word = this.#peek();
    if (this.#isSymbol("start") || this.#isSymbol("end")) {
      this.#take();
      if (this.#accept("(") === null || this.#accept(")") === null)
        this.#unexpected("@", "timestamp");
      return { type: word.text.toLowerCase() as "start" | "end" };
    }
    const seconds = this.#signedNumber();
    if (seconds === null) return this.#unexpected("@", "timestamp");
    if (!Number.isFinite(seconds) || Math.abs(seconds) >= 2 ** 63) {
      const text = Number.isFinite(seconds)
        ? seconds.toFixed(6)
        : `${seconds}`.replace(
            /^(-?)Infinity$/,
            (_, minus: string) => `${minus === "" ? "+" : "-"}Inf`,
          );
      this.#fail(expr, `timestamp out of bounds for @ modifier: ${text}`);
    }
    return { type: "time", ms: Math.round(seconds * 1000) };
  }

  #extended(expr: Expr): Expr {
    const word = this.#take();
    const name = word.text.toLowerCase() as "anchored" | "smoothed";
    if (!this.#features.has("promql-extended-range-selectors")) {
      this.#fail(expr, `${name} modifier is experimental and not enabled`);
    }
    const set = (selector: VectorSelector): VectorSelector => {
      if (name === "anchored" ? selector.smoothed : selector.anchored) {
        this.#fail(expr, "anchored and smoothed modifiers cannot be used together");
      }
      return { ...selector, [name]: true };
    };
    if (expr.kind === "vectorSelector") return { ...set(expr), end: word.end };
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: set(expr.selector), end: word.end };
    }
    if (expr.kind === "subquery") {
      return this.#fail(expr, `${name} modifier is not supported for subqueries`);
    }
    return this.#fail(expr, `${name} modifier not implemented`);
  }
}

function signed(sign: Token, operand: DurationExpr): DurationExpr {
  if (operand.kind === "seconds") {
    return {
      ...operand,
      value: sign.text === "-" ? -operand.value : operand.value,
      start: sign.start,
    };
  }
  const kind = sign.text === "-" ? "negate" : "plus";
  return { kind, operand, start: sign.start, end: operand.end };
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
