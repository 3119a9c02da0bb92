/** Operators between two samples: floats, histograms, or one of each. */

import {
  addHistograms,
  dividedHistogram,
  type Histogram,
  histogramsEqual,
  IncompatibleHistogramsError,
  scaledHistogram,
} from "@torus/model";
import { infos, type Notes, warnings } from "./annotations.ts";
import { type BinaryOp, type ComparisonOp } from "./ast.ts";
import { trimmed } from "./functions/native-histogram.ts";
import { QueryExecutionError } from "./query-errors.ts";

export function arithmetic(op: BinaryOp, a: number, b: number): number {
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
    case "%":
      return a % b;
    case "^":
      // Go's Pow has 1 for these, JavaScript has NaN.
      return a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b;
    case "atan2":
      return Math.atan2(a, b);
    case "</":
    case ">/":
    case "==":
    case "!=":
    case ">":
    case "<":
    case ">=":
    case "<=":
    case "and":
    case "or":
    case "unless":
      throw new QueryExecutionError(`operator "${op}" not allowed for Scalar operations`);
  }
}

export function compare(op: ComparisonOp, a: number, b: number): boolean {
  switch (op) {
    case "==":
      return a === b;
    case "!=":
      return a !== b;
    case ">":
      return a > b;
    case "<":
      return a < b;
    case ">=":
      return a >= b;
    case "<=":
      return a <= b;
  }
}

export type Sample = number | Histogram;

/**
 * An operator between two samples of which one at least is a histogram. Undefined where it has no result, with a note
 * why; comparisons answer true or false.
 */
export function histogramOperation(
  op: BinaryOp,
  a: Sample,
  b: Sample,
  notes: Notes,
): Histogram | boolean | undefined {
  const refused = (): undefined => {
    const kind = (sample: Sample) => (typeof sample === "number" ? "float" : "histogram");
    notes.info(infos.binaryTypes(kind(a), op, kind(b)));
  };
  if (typeof a === "number") {
    return op === "*" && typeof b !== "number" ? scaledHistogram(b, a) : refused();
  }
  if (typeof b === "number") {
    if (op === "*") return scaledHistogram(a, b);
    if (op === "/") return dividedHistogram(a, b);
    if (op === "</" || op === ">/") return trimmed(a, b, op === "</");
    return refused();
  }
  if (op === "==") return histogramsEqual(a, b);
  if (op === "!=") return !histogramsEqual(a, b);
  if (op !== "+" && op !== "-") return refused();
  try {
    const { histogram, collision, reconciled } = addHistograms(a, b, op === "+" ? 1 : -1);
    const operation = op === "+" ? "addition" : "subtraction";
    if (collision) notes.warn(warnings.resetCollision(operation));
    if (reconciled) notes.info(infos.reconciled(operation));
    return op === "-" ? { ...histogram, counterResetHint: "gauge" } : histogram;
  } catch (error) {
    if (!(error instanceof IncompatibleHistogramsError)) throw error;
    notes.warn(warnings.binaryLayout(op));
    return undefined;
  }
}
