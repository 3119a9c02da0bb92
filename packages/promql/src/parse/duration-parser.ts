/** Durations and expressions of durations: `5m`, `step() * 2`, `-(1h + 30s)`. */

import type { Duration, DurationExpr } from "../ast.ts";
import { type Token } from "./lexer.ts";
import { MAX_DURATION_MS } from "./numbers.ts";

import { functionWords, POWER, precedence } from "./operators.ts";
import { TokenCursor } from "./token-cursor.ts";

export class DurationParser extends TokenCursor {
  /** Where a duration stands and what may stand there, for its errors. */
  protected durationPlace: readonly [context: string, expected: string] = ["", ""];

  /** A duration in brackets, above zero. */
  protected durationIn(context: string, expected: string): Duration {
    const first = this.peek();
    const starts =
      first.type === "number" ||
      first.type === "duration" ||
      this.isOperator("+") ||
      this.isOperator("-") ||
      (first.type === "symbol" &&
        (first.text === "(" || functionWords.has(first.text.toLowerCase())));
    if (!starts) this.unexpected(context, expected);
    this.durationPlace = [context, expected];
    const duration = this.duration(this.durationBinary(4));
    if (duration.expr === null && duration.ms <= 0)
      this.fail(duration, "duration must be greater than 0");
    return duration;
  }

  /** Folds a literal; all else waits for the step and range of the query. */
  protected duration(expr: DurationExpr): Duration {
    const { start, end } = expr;
    const experimental = !this.features.has("promql-duration-expr");
    if (expr.kind === "seconds") {
      const ms = Math.round(expr.value * 1e6) / 1e3;
      if (!(Math.abs(ms) <= MAX_DURATION_MS)) this.fail(expr, "duration out of range");
      return { ms: Math.round(ms), expr: null, start, end };
    }
    if (experimental) this.fail(expr, "experimental duration expression is not enabled");
    return { ms: 0, expr, start, end };
  }

  protected durationBinary(least: number): DurationExpr {
    this.enter();
    let left = this.durationUnary();
    let chain = 0;
    for (;;) {
      const token = this.peek();
      const binding = token.type === "operator" ? precedence[token.text] : undefined;
      if (binding === undefined || binding < least || binding < 4 || token.text === "atan2") break;
      chain++;
      this.enter();
      this.take();
      const right = this.durationBinary(token.text === "^" ? binding : binding + 1);
      if (
        right.kind === "seconds" &&
        right.value === 0 &&
        (token.text === "/" || token.text === "%")
      ) {
        this.fail(token, token.text === "/" ? "division by zero" : "modulo by zero");
      }
      const op = token.text as "+" | "-" | "*" | "/" | "%" | "^";
      left = { kind: "binary", op, left, right, start: left.start, end: right.end };
    }
    this.depth -= chain + 1;
    return left;
  }

  protected durationUnary(): DurationExpr {
    if (!this.isOperator("-") && !this.isOperator("+")) return this.durationPrimary();
    const sign = this.take();
    return signed(sign, this.durationBinary(POWER));
  }

  protected durationPrimary(): DurationExpr {
    const token = this.peek();
    if (token.type === "number" || token.type === "duration") {
      this.take();
      const value = this.number(token);
      return {
        kind: "seconds",
        value,
        isDuration: token.type === "duration",
        start: token.start,
        end: token.end,
      };
    }
    if (this.accept("(") !== null) {
      const operand = this.durationBinary(4);
      const close = this.accept(")");
      if (close === null) return this.unexpected(...this.durationPlace);
      return { kind: "group", operand, start: token.start, end: close.end };
    }
    const word = token.type === "symbol" ? token.text.toLowerCase() : "";
    if (word === "step" || word === "range") {
      this.take();
      if (this.accept("(") === null) this.unexpected(...this.durationPlace);
      const close = this.accept(")");
      if (close === null) return this.unexpected(...this.durationPlace);
      return { kind: word, start: token.start, end: close.end };
    }
    if (word === "min_of" || word === "max_of") {
      this.take();
      if (this.accept("(") === null) this.unexpected(...this.durationPlace);
      const left = this.durationBinary(4);
      if (this.accept(",") === null) this.unexpected(...this.durationPlace);
      const right = this.durationBinary(4);
      const close = this.accept(")");
      if (close === null) return this.unexpected(...this.durationPlace);
      return { kind: word, left, right, start: token.start, end: close.end };
    }
    return this.unexpected(...this.durationPlace);
  }
}

export function signed(sign: Token, operand: DurationExpr): DurationExpr {
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
