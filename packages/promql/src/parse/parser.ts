/**
 * PromQL's grammar by recursive descent, binary operators by precedence climbing. Time is linear in the text and
 * nesting is bounded, so that no query can exhaust the stack. Errors have the texts and positions of Prometheus 3.14.
 */

import type { AggregateOp, BinaryOp, Expr, VectorMatching, VectorSelector } from "../ast.ts";
import { signatures } from "../signatures.ts";
import { type Token } from "./lexer.ts";
import { functionWords, POWER, precedence } from "./operators.ts";
import { PromqlParseError } from "./parse-error.ts";
import { quote, unquote } from "./quote.ts";
import { SelectorParser } from "./selector-parser.ts";

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
export class Parser extends SelectorParser {
  /** The one expression that is the whole text. @throws {PromqlParseError} */
  whole(): Expr {
    if (this.peek().type === "eof") {
      throw new PromqlParseError(this.text, 0, 0, "no expression found in input");
    }
    const expr = this.binary(1);
    if (this.peek().type !== "eof") this.unexpected();
    return expr;
  }

  /** The one selector without modifiers that is the whole text. @throws {PromqlParseError} */
  wholeSelector(): VectorSelector {
    const selector = this.primary();
    if (selector.kind !== "vectorSelector" || this.peek().type !== "eof") this.unexpected();
    return selector as VectorSelector;
  }

  protected binary(least: number): Expr {
    this.enter();
    let left = this.unary();
    let chain = 0;
    for (;;) {
      const token = this.peek();
      if (token.type !== "operator") break;
      const op = token.text.toLowerCase();
      const binding = precedence[op];
      if (binding === undefined || binding < least) break;
      // A chain `1+1+…` is a tree as deep as it is long.
      chain++;
      this.enter();
      this.take();
      const returnBool = this.isWord("bool") && this.take() !== null;
      const written = this.matching();
      const right = this.binary(op === "^" ? binding : binding + 1);
      left = this.newBinary(token, op as BinaryOp, left, right, { returnBool, written });
    }
    this.depth -= chain + 1;
    return left;
  }

  protected newBinary(
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
      !this.features.has("promql-binop-fill-modifiers")
    ) {
      this.fail(position, "binop fill modifiers are experimental and not enabled");
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

  protected matching(): VectorMatching {
    let on = false;
    let labels: readonly string[] = [];
    let include: readonly string[] = [];
    let card: VectorMatching["card"] = "one-to-one";
    if (this.isWord("on") || this.isWord("ignoring")) {
      on = this.take().text.toLowerCase() === "on";
      labels = this.groupingLabels();
      if (this.isWord("group_left") || this.isWord("group_right")) {
        card = this.take().text.toLowerCase() === "group_left" ? "many-to-one" : "one-to-many";
        if (this.isSymbol("(")) include = this.groupingLabels();
      }
    }
    let fillLeft: number | null = null;
    let fillRight: number | null = null;
    if (this.isFill("fill")) {
      fillLeft = this.fillValue();
      fillRight = fillLeft;
    } else if (this.isFill("fill_left")) {
      fillLeft = this.fillValue();
      if (this.isFill("fill_right")) fillRight = this.fillValue();
    } else if (this.isFill("fill_right")) {
      fillRight = this.fillValue();
      if (this.isFill("fill_left")) fillLeft = this.fillValue();
    }
    return { card, on, labels, include, fillLeft, fillRight };
  }

  /** `fill` is a metric's name as well; only in front of a parenthesis is it a modifier. */
  protected isFill(name: string): boolean {
    return this.isWord(name) && this.peekSecond().text === "(";
  }

  protected fillValue(): number {
    this.take();
    this.take();
    const value = this.signedNumber();
    if (value === null || this.accept(")") === null) this.unexpected();
    return value as number;
  }

  protected unary(): Expr {
    if (!this.isOperator("-") && !this.isOperator("+")) return this.postfix(this.primary());
    const sign = this.take();
    const operand = this.binary(POWER);
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

  protected primary(): Expr {
    const token = this.peek();
    switch (token.type) {
      case "number":
      case "duration":
        this.take();
        return {
          kind: "number",
          value: this.number(token),
          isDuration: token.type === "duration",
          start: token.start,
          end: token.end,
        };
      case "string":
        this.take();
        return { kind: "string", value: unquote(token.text), start: token.start, end: token.end };
      case "aggregator": {
        const second = this.peekSecond();
        const word = second.text.toLowerCase();
        if (
          second.text === "(" ||
          (second.type === "keyword" && (word === "by" || word === "without"))
        ) {
          return this.aggregation();
        }
        return this.selector();
      }
      case "identifier":
        return this.peekSecond().text === "(" ? this.call() : this.selector();
      case "metricIdentifier":
        return this.selector();
      case "keyword":
        if (notAMetricName.has(token.text.toLowerCase())) this.unexpected();
        return this.selector();
      case "operator":
        if (!/^(and|or|unless)$/i.test(token.text)) this.unexpected();
        return this.selector();
      case "symbol":
        if (token.text === "(") {
          this.take();
          const expr = this.binary(1);
          const close = this.accept(")");
          if (close === null) this.unexpected();
          return { kind: "paren", expr, start: token.start, end: (close as Token).end };
        }
        if (token.text === "{") return this.selector();
        if (functionWords.has(token.text.toLowerCase())) {
          return this.peekSecond().text === "(" ? this.call() : this.selector();
        }
        return this.unexpected();
      case "eof":
      case "error":
        return this.unexpected();
    }
  }

  protected call(): Expr {
    const name = this.take();
    const func = signatures.get(name.type === "symbol" ? name.text.toLowerCase() : name.text);
    const { args, end } = this.arguments();
    if (func === undefined)
      return this.fail(name, `unknown function with name ${quote(name.text)}`);
    if (func.experimental && !this.features.has("promql-experimental-functions")) {
      this.fail(name, `function ${quote(name.text)} is not enabled`);
    }
    return { kind: "call", func, args, start: name.start, end };
  }

  protected arguments(): { args: Expr[]; end: number } {
    if (this.accept("(") === null) this.unexpected("aggregation");
    const args: Expr[] = [];
    let close = this.accept(")");
    while (close === null) {
      args.push(this.binary(1));
      close = this.accept(")");
      if (close !== null) break;
      const comma = this.accept(",");
      if (comma === null) this.unexpected();
      if (this.isSymbol(")"))
        this.fail(comma as Token, "trailing commas not allowed in function call args");
    }
    return { args, end: close.end };
  }

  protected aggregation(): Expr {
    const name = this.take();
    const op = name.text.toLowerCase() as AggregateOp;
    let modifier = this.aggregateModifier();
    const { args, end } = this.arguments();
    let last = end;
    if (modifier === null) {
      modifier = this.aggregateModifier();
      if (modifier !== null) last = modifier.end;
    }
    const position = { start: name.start, end: last };
    if (args.length === 0) this.fail(position, "no arguments for aggregate expression provided");
    const wanted = withParameter.has(op) ? 2 : 1;
    if (op.startsWith("limit") && !this.features.has("promql-experimental-functions")) {
      this.fail(
        position,
        `${op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions`,
      );
    }
    if (args.length !== wanted) {
      this.fail(
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

  protected aggregateModifier(): { labels: string[]; without: boolean; end: number } | null {
    if (!this.isWord("by") && !this.isWord("without")) return null;
    const without = this.take().text.toLowerCase() === "without";
    const labels = this.groupingLabels();
    return { labels, without, end: (this.tokens[this.next - 1] as Token).end };
  }
}
