/** Functions that give a scalar at each step. */

import type { Call, Expr } from "./ast.ts";
import { type Grid } from "./column.ts";
import type { Evaluation } from "./evaluate.ts";
import { larger, smaller } from "./functions/elementwise.ts";
import { QueryExecutionError } from "./query-errors.ts";

export async function scalarCall(
  evaluation: Evaluation,
  expr: Call,
  grid: Grid,
  out: Float64Array,
): Promise<Float64Array> {
  const scope = evaluation.scope;
  const [first, second] = expr.args;
  switch (expr.func.name) {
    case "pi":
      return out.fill(Math.PI);
    case "time":
      for (let i = 0; i < grid.count; i++) out[i] = (grid.startMs + i * grid.stepMs) / 1000;
      return out;
    case "start":
      return out.fill(scope.startMs / 1000);
    case "end":
      return out.fill(scope.endMs / 1000);
    case "step":
      return out.fill(scope.stepMs / 1000);
    case "range":
      return out.fill((scope.endMs - scope.startMs) / 1000);
    case "min_of":
    case "max_of": {
      const a = await evaluation.scalar(first as Expr, grid);
      const b = await evaluation.scalar(second as Expr, grid);
      const pick = expr.func.name === "min_of" ? smaller : larger;
      return a.map((value, i) => pick(value, b[i] as number));
    }
    case "scalar": {
      const columns = await evaluation.collectOnce(first as Expr, grid);
      for (let i = 0; i < grid.count; i++) {
        const there = columns.filter((c) => c.present[i] === 1 && c.histograms?.[i] === undefined);
        out[i] = there.length === 1 ? (there[0]?.values[i] as number) : Number.NaN;
      }
      return out;
    }
    default:
      throw new QueryExecutionError(`function "${expr.func.name}" is not supported yet`);
  }
}
