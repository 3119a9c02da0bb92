/** Selectors with their matchers, ranges, subqueries, offsets and `@`. */

import { Matcher, MatcherRegexError, type MatchType } from "@torus/model";
import type { At, Duration, Expr, VectorSelector } from "../ast.ts";
import { DurationParser, signed } from "./duration-parser.ts";
import { type Token } from "./lexer.ts";
import { unquote } from "./quote.ts";

export abstract class SelectorParser extends DurationParser {
  protected selector(): VectorSelector {
    const first = this.peek();
    let name = "";
    let end = first.end;
    if (first.text !== "{" || first.type !== "symbol") name = this.take().text;
    const matchers: Matcher[] = [];
    if (this.accept("{") !== null) {
      let close = this.accept("}");
      while (close === null) {
        matchers.push(this.matcher());
        close = this.accept("}");
        if (close === null && this.accept(",") === null)
          this.unexpected("label matching", '"," or "}"');
        if (close === null) close = this.accept("}");
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

  protected matcher(): Matcher {
    const label = this.peek();
    if (label.type !== "identifier" && label.type !== "string") {
      this.unexpected("label matching", 'identifier or "}"');
    }
    this.take();
    const name = label.type === "string" ? unquote(label.text) : label.text;
    const op = this.peek();
    const isMatch = op.text === "=" || op.text === "!=" || op.text === "=~" || op.text === "!~";
    if (!isMatch || (op.type !== "symbol" && op.type !== "operator")) {
      if (label.type === "string" && (this.isSymbol(",") || this.isSymbol("}"))) {
        return new Matcher("=", "__name__", name);
      }
      if (label.type === "string") this.unexpected("label matching", '"," or "}"');
      this.unexpected("label matching", "label matching operator");
    }
    this.take();
    const value = this.peek();
    if (value.type !== "string") this.unexpected("label matching", "string");
    this.take();
    try {
      return new Matcher(op.text as MatchType, name, unquote(value.text));
    } catch (error) {
      if (!(error instanceof MatcherRegexError)) throw error;
      return this.fail({ start: label.start, end: value.end }, error.message);
    }
  }

  protected postfix(primary: Expr): Expr {
    let expr = primary;
    for (;;) {
      if (this.isSymbol("[")) expr = this.brackets(expr);
      else if (this.isWord("offset")) expr = this.offset(expr);
      else if (this.isOperator("@")) expr = this.at(expr);
      else if (this.isWord("anchored") || this.isWord("smoothed")) expr = this.extended(expr);
      else return expr;
    }
  }

  protected brackets(expr: Expr): Expr {
    const open = this.take();
    const range = this.durationIn(
      "subquery or range selector",
      "number, duration, step(), or range()",
    );
    if (this.accept(":") !== null) {
      const step = this.isSymbol("]")
        ? null
        : this.durationIn("subquery selector", 'number, duration, step(), range(), or "]"');
      const close = this.accept("]");
      if (close === null) this.unexpected("subquery selector", '"]"');
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
    const close = this.accept("]");
    if (close === null) return this.unexpected("subquery or range", '":" or "]"');
    const inBrackets = { start: open.start, end: close.end };
    if (expr.kind !== "vectorSelector")
      return this.fail(inBrackets, "ranges only allowed for vector selectors");
    if (expr.offset !== null) this.fail(inBrackets, "no offset modifiers allowed before range");
    if (expr.at !== null) this.fail(inBrackets, "no @ modifiers allowed before range");
    return { kind: "matrixSelector", selector: expr, range, start: expr.start, end: close.end };
  }

  protected offset(expr: Expr): Expr {
    this.take();
    const first = this.peek();
    const sign = this.isOperator("-") || this.isOperator("+") ? this.take() : null;
    const head = this.peek();
    const starts =
      head.type === "number" ||
      head.type === "duration" ||
      (head.type === "symbol" && /^(\(|step|range|min_of|max_of)$/i.test(head.text));
    if (!starts) this.unexpected("offset", "number, duration, step(), or range()");
    this.durationPlace = ["offset", "number, duration, step(), or range()"];
    const written = this.durationPrimary();
    const offset = this.duration(sign === null ? written : signed(sign, written));
    const end = offset.end;
    const set = (old: Duration | null): Duration => {
      if (old !== null && (old.ms !== 0 || old.expr !== null)) {
        this.fail(expr, "offset may not be set multiple times");
      }
      return { ...offset, start: first.start };
    };
    if (expr.kind === "vectorSelector" || expr.kind === "subquery") {
      return { ...expr, offset: set(expr.offset), end };
    }
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: { ...expr.selector, offset: set(expr.selector.offset) }, end };
    }
    return this.fail(
      expr,
      "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }

  protected at(expr: Expr): Expr {
    this.take();
    const at = this.atTime(expr);
    const end = (this.tokens[this.next - 1] as Token).end;
    const set = (old: At | null): At => {
      if (old !== null) this.fail(expr, "@ <timestamp> may not be set multiple times");
      return at;
    };
    if (expr.kind === "vectorSelector" || expr.kind === "subquery") {
      return { ...expr, at: set(expr.at), end };
    }
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: { ...expr.selector, at: set(expr.selector.at) }, end };
    }
    return this.fail(
      expr,
      "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }

  protected atTime(expr: Expr): At {
    const word = this.peek();
    if (this.isSymbol("start") || this.isSymbol("end")) {
      this.take();
      if (this.accept("(") === null || this.accept(")") === null) this.unexpected("@", "timestamp");
      return { type: word.text.toLowerCase() as "start" | "end" };
    }
    const seconds = this.signedNumber();
    if (seconds === null) return this.unexpected("@", "timestamp");
    if (!Number.isFinite(seconds) || Math.abs(seconds) >= 2 ** 63) {
      const text = Number.isFinite(seconds)
        ? seconds.toFixed(6)
        : `${seconds}`.replace(
            /^(-?)Infinity$/,
            (_, minus: string) => `${minus === "" ? "+" : "-"}Inf`,
          );
      this.fail(expr, `timestamp out of bounds for @ modifier: ${text}`);
    }
    return { type: "time", ms: Math.round(seconds * 1000) };
  }

  protected extended(expr: Expr): Expr {
    const word = this.take();
    const name = word.text.toLowerCase() as "anchored" | "smoothed";
    if (!this.features.has("promql-extended-range-selectors")) {
      this.fail(expr, `${name} modifier is experimental and not enabled`);
    }
    const set = (selector: VectorSelector): VectorSelector => {
      if (name === "anchored" ? selector.smoothed : selector.anchored) {
        this.fail(expr, "anchored and smoothed modifiers cannot be used together");
      }
      return { ...selector, [name]: true };
    };
    if (expr.kind === "vectorSelector") return { ...set(expr), end: word.end };
    if (expr.kind === "matrixSelector") {
      return { ...expr, selector: set(expr.selector), end: word.end };
    }
    if (expr.kind === "subquery") {
      return this.fail(expr, `${name} modifier is not supported for subqueries`);
    }
    return this.fail(expr, `${name} modifier not implemented`);
  }
}
