/** The engine: queries as text or trees, over a Queryable, to results. */

import { compareLabels, EMPTY_LABELS, type Histogram, type Queryable } from "@torus/model";
import { warnings } from "./annotations.ts";
import { type Expr, valueType } from "./ast.ts";
import { type Column, type Grid, newColumn } from "./column.ts";
import { Evaluation, withNamesDropped } from "./evaluate.ts";
import { Meter } from "./meter.ts";
import type { Feature } from "./parse/token-cursor.ts";
import { parseExpr } from "./parse.ts";
import { analysisOf, explainPlan, type PlanNode } from "./plan/explain.ts";
import { type Plan, planOf } from "./plan/plan.ts";
import { QueryExecutionError } from "./query-errors.ts";
import type { QueryScope } from "./query-run.ts";
import type { QueryResult, ResultSeries } from "./result.ts";
import { rangeVector } from "./selectors.ts";
import { stringOf } from "./string-argument.ts";

export type EngineFeature = Feature | "promql-delayed-name-removal" | "use-start-timestamps";

export type EngineOptions = {
  /** How far an instant selector looks back. Default five minutes. */
  lookbackDeltaMs?: number;
  /** Samples a query may hold at a time; 0 for no limit. Default 50 million. */
  maxSamples?: number;
  timeoutMs: number;
  enabledFeatures?: ReadonlySet<EngineFeature>;
  /** The step of a subquery that names none. Default one minute. */
  noStepSubqueryIntervalMs?: number;
  now: () => number;
  /** Milliseconds as fine as they come, for `analyze`; default `now`. */
  clock?: () => number;
};

export type QueryOptions = {
  signal?: AbortSignal;
  lookbackDeltaMs?: number;
  /** Told how many bytes the evaluation holds whenever they grow; throws when they are too many. */
  charge?: (heldBytes: number) => void;
  /** The result has `analysis`: time and samples of each operator. */
  analyze?: boolean;
};

/** When a query is evaluated; an instant query has a step of 0 and ends where it starts. */
export type QueryTimes = { startMs: number; endMs: number; stepMs: number };

export class Engine {
  readonly #options: EngineOptions;

  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** @throws {PromqlParseError | QueryExecutionError | QueryTimeoutError | QueryCanceledError} */
  async instant(
    queryable: Queryable,
    query: string | Expr,
    timeMs: number,
    options: QueryOptions = {},
  ): Promise<QueryResult> {
    const expr = this.#parsed(query);
    const grid: Grid = { startMs: timeMs, stepMs: 1, count: 1 };
    const times = { startMs: timeMs, endMs: timeMs, stepMs: 0 };
    const { run, rest } = this.#evaluation(queryable, query, expr, times, options);
    switch (valueType(expr)) {
      case "scalar": {
        const value = (await run.scalar(expr, grid))[0] as number;
        return { type: "scalar", timestampMs: timeMs, value, ...rest() };
      }
      case "string":
        return { type: "string", timestampMs: timeMs, value: stringOf(expr), ...rest() };
      case "vector": {
        const columns = this.#finished(await run.collect(expr, grid));
        return { type: "vector", series: seriesOf(columns, grid), ...rest() };
      }
      case "matrix":
        return { type: "matrix", series: await rangeVector(run, expr, timeMs), ...rest() };
    }
  }

  /** @throws {PromqlParseError | QueryExecutionError | QueryTimeoutError | QueryCanceledError} */
  async range(
    queryable: Queryable,
    query: string | Expr,
    startMs: number,
    endMs: number,
    stepMs: number,
    options: QueryOptions = {},
  ): Promise<QueryResult> {
    const expr = this.#parsed(query);
    const type = valueType(expr);
    if (type !== "vector" && type !== "scalar") {
      throw new QueryExecutionError(
        `invalid expression type "${type === "matrix" ? "range vector" : type}" for range query, must be Scalar or instant Vector`,
      );
    }
    const count = endMs < startMs ? 0 : Math.floor((endMs - startMs) / stepMs) + 1;
    const grid: Grid = { startMs, stepMs, count };
    const times = { startMs, endMs, stepMs };
    const { run, rest } = this.#evaluation(queryable, query, expr, times, options);
    if (expr.kind === "call" && expr.func.name.startsWith("sort")) {
      run.warnAt(warnings.sortInRange, expr);
    }
    let columns: Column[];
    if (type === "scalar") {
      const values = await run.scalar(expr, grid);
      columns = [
        { ...newColumn(EMPTY_LABELS, count), values, present: new Uint8Array(count).fill(1) },
      ];
    } else columns = this.#finished(await run.collect(expr, grid));
    const series = seriesOf(columns, grid).sort((a, b) => compareLabels(a.labels, b.labels));
    return { type: "matrix", series, ...rest() };
  }

  /**
   * How the query would be evaluated; nothing is read.
   * @throws {PromqlParseError} @throws {QueryExecutionError} when a duration divides by zero.
   */
  explain(
    query: string | Expr,
    times: QueryTimes,
    options: Pick<QueryOptions, "lookbackDeltaMs"> = {},
  ): PlanNode {
    return explainPlan(this.#plan(query, this.#parsed(query), times, options.lookbackDeltaMs));
  }

  #plan(
    query: string | Expr,
    expr: Expr,
    times: QueryTimes,
    lookbackDeltaMs: number | undefined,
  ): Plan {
    return planOf(expr, typeof query === "string" ? query : "", {
      ...times,
      lookbackDeltaMs: this.#lookback(lookbackDeltaMs),
      noStepSubqueryIntervalMs: this.#noStepInterval,
    });
  }

  #evaluation(
    queryable: Queryable,
    query: string | Expr,
    expr: Expr,
    times: QueryTimes,
    options: QueryOptions,
  ): { run: Evaluation; rest: () => Omit<QueryResult, "type"> } {
    const { now, clock = now } = this.#options;
    const plan = this.#plan(query, expr, times, options.lookbackDeltaMs);
    const meter = options.analyze === true ? new Meter(clock) : null;
    const run = new Evaluation(this.#scope(queryable, query, times, options), plan, meter);
    const rest = () => ({
      warnings: run.warnings,
      infos: run.infos,
      stats: { totalQueryableSamples: run.totalSamples, peakSamples: run.peakSamples },
      ...(meter === null ? {} : { analysis: analysisOf(plan, meter.costs) }),
    });
    return { run, rest };
  }

  #lookback(ofQuery: number | undefined): number {
    return ofQuery ?? this.#options.lookbackDeltaMs ?? 300_000;
  }

  get #noStepInterval(): number {
    return this.#options.noStepSubqueryIntervalMs ?? 60_000;
  }

  get #delayed(): boolean {
    return this.#options.enabledFeatures?.has("promql-delayed-name-removal") ?? false;
  }

  #finished(columns: Column[]): Column[] {
    return withNamesDropped(columns);
  }

  #parsed(query: string | Expr): Expr {
    if (typeof query !== "string") return query;
    const features = new Set<Feature>();
    for (const feature of this.#options.enabledFeatures ?? []) {
      if (feature !== "promql-delayed-name-removal" && feature !== "use-start-timestamps")
        features.add(feature);
    }
    return parseExpr(query, { enabledFeatures: features });
  }

  #scope(
    queryable: Queryable,
    query: string | Expr,
    times: QueryTimes,
    options: QueryOptions,
  ): QueryScope {
    const { now, timeoutMs } = this.#options;
    return {
      queryable,
      text: typeof query === "string" ? query : "",
      ...times,
      lookbackDeltaMs: this.#lookback(options.lookbackDeltaMs),
      noStepSubqueryIntervalMs: this.#noStepInterval,
      maxSamples: this.#options.maxSamples ?? 50_000_000,
      delayedNameRemoval: this.#delayed,
      useStartTimestamps: this.#options.enabledFeatures?.has("use-start-timestamps") ?? false,
      signal: options.signal ?? new AbortController().signal,
      charge: options.charge,
      deadlineMs: now() + timeoutMs,
      now,
    };
  }
}

/** Columns without the steps that have no sample; series without any are left out. */
function seriesOf(columns: readonly Column[], grid: Grid): ResultSeries[] {
  const out: ResultSeries[] = [];
  for (const column of columns) {
    let n = 0;
    for (let i = 0; i < grid.count; i++) n += column.present[i] as number;
    if (n === 0) continue;
    const timestamps = new Float64Array(n);
    const values = new Float64Array(n);
    const histograms =
      column.histograms === null ? null : Array.from<Histogram | undefined>({ length: n });
    n = 0;
    for (let i = 0; i < grid.count; i++) {
      if (column.present[i] === 0) continue;
      timestamps[n] = grid.startMs + i * grid.stepMs;
      values[n] = column.values[i] as number;
      if (histograms !== null) histograms[n] = column.histograms?.[i];
      n++;
    }
    out.push({ labels: column.labels, timestamps, values, histograms });
  }
  return out;
}
