/**
 * Evaluation of a tree over a grid. Vectors stream as batches of columns, so that an aggregation over a selector
 * or a range function holds its groups only; whatever needs all series collects them, which is counted.
 */

import {
  compareLabels,
  EMPTY_LABELS,
  type Histogram,
  type Labels,
  labelValue,
  METRIC_NAME,
  type Queryable,
  type SeriesColumns,
  scaledHistogram,
} from "@torus/model";
import { Folder, limitedByRatio, quantiles, selected, valueCounts } from "./aggregate.ts";
import type { Notes } from "./annotations.ts";
import type {
  Aggregation,
  At,
  Binary,
  Call,
  Duration,
  Expr,
  Subquery,
  VectorSelector,
} from "./ast.ts";
import { children, isComparison, isSetOp, valueType } from "./ast.ts";
import { arithmetic, compare, setOperation, vectorOperation, withScalar } from "./binary.ts";
import {
  braced,
  type Column,
  columnBytes,
  dropMetadata,
  type Grid,
  joined,
  newColumn,
} from "./column.ts";
import { labelsOfAbsent } from "./functions/absent.ts";
import { dateFunctions, elementwise, larger, smaller } from "./functions/elementwise.ts";
import { checkExtension, type Extension, extended, extendedKernel } from "./functions/extended.ts";
import {
  fractionOfHistograms,
  quantileOfHistograms,
  quantilesOfHistograms,
} from "./functions/histogram.ts";
import { enriched, infoRequest } from "./functions/info.ts";
import { replaceLabel } from "./functions/label.ts";
import { histogramVariance } from "./functions/native-histogram.ts";
import { rangeKernels, type Windows } from "./functions/range.ts";
import { type MixedWindows, mixedKernel } from "./functions/range-histogram.ts";
import { sorted } from "./functions/sort.ts";
import { describePosition } from "./parse/parse-error.ts";
import { isLabelName, quote } from "./parse/quote.ts";
import { durationMs } from "./plan/durations.ts";
import { selectorsOfTotals, withResetsDetected } from "./plan/histogram-totals.ts";
import { repeatedAggregations } from "./plan/repeated.ts";
import { QueryCanceledError, QueryExecutionError, QueryTimeoutError } from "./query-errors.ts";
import type { ResultSeries } from "./result.ts";
import { lastSamples, referenceTimes, smoothedColumn, windowsOf } from "./scan.ts";
import { stringOf } from "./string-argument.ts";

export type QueryScope = {
  queryable: Queryable;
  text: string;
  /** Of the whole query: `@ start()`, `@ end()`, step(), range(). */
  startMs: number;
  endMs: number;
  stepMs: number;
  lookbackDeltaMs: number;
  noStepSubqueryIntervalMs: number;
  /** 0 for no limit. */
  maxSamples: number;
  delayedNameRemoval: boolean;
  /** Start timestamps tell of counter resets. */
  useStartTimestamps: boolean;
  /** Aborted when the client left or `deadlineMs` passed. */
  signal: AbortSignal;
  deadlineMs: number;
  /** Told the bytes held whenever they grow; throws when they are too many. */
  charge: ((heldBytes: number) => void) | undefined;
  now: () => number;
};

const DATE_DEFAULTS_TO_NOW = dateFunctions;

/** Range functions that keep the metric name. */
const keepsName: ReadonlySet<string> = new Set(["last_over_time", "first_over_time"]);

const foldable: ReadonlySet<string> = new Set([
  "sum",
  "avg",
  "count",
  "min",
  "max",
  "group",
  "stddev",
  "stdvar",
]);

const histogramReaders: ReadonlyMap<string, (histogram: Histogram) => number> = new Map([
  ["histogram_count", (histogram: Histogram) => histogram.count],
  ["histogram_sum", (histogram: Histogram) => histogram.sum],
  ["histogram_avg", (histogram: Histogram) => histogram.sum / histogram.count],
  ["histogram_stdvar", histogramVariance],
  ["histogram_stddev", (histogram: Histogram) => Math.sqrt(histogramVariance(histogram))],
]);

/** A subquery may skip samples, so what a histogram knows of resets since the one before does not hold. */
function withoutHint(h: Histogram | undefined): Histogram | undefined {
  if (h === undefined || h.counterResetHint === "gauge") return h;
  return { ...h, counterResetHint: "unknown" };
}

/** timestamp() of a selector with `@` does not see its offset, in Prometheus and here. */
function withoutOffsetAt(selector: VectorSelector): VectorSelector {
  return selector.at === null ? selector : { ...selector, offset: null };
}

function extensionOf(selector: VectorSelector): Extension | null {
  if (selector.anchored) return "anchored";
  return selector.smoothed ? "smoothed" : null;
}

/** Count, value and compensation of a group at one step. */
const BYTES_OF_FOLD = 24;

function unwrap(expr: Expr): Expr {
  return expr.kind === "paren" ? unwrap(expr.expr) : expr;
}

export class Evaluation {
  readonly #scope: QueryScope;
  readonly #warnings = new Map<string, string>();
  readonly #infos = new Map<string, string>();
  totalSamples = 0;
  peakSamples = 0;
  #held = 0;
  /** Of the columns that are held, whose steps without a sample take their place too. */
  #heldBytes = 0;
  readonly #readsTotals: ReadonlySet<VectorSelector>;
  readonly #repeated: ReadonlyMap<Aggregation, Aggregation>;
  readonly #shared = new Map<string, Column[]>();

  constructor(scope: QueryScope, expr: Expr) {
    this.#scope = scope;
    this.#readsTotals = selectorsOfTotals(expr);
    this.#repeated = repeatedAggregations(expr, scope.text);
  }

  #check(): void {
    if (this.#scope.now() > this.#scope.deadlineMs)
      throw new QueryTimeoutError("expression evaluation");
    if (this.#scope.signal.aborted) throw new QueryCanceledError("expression evaluation");
  }

  #hold(samples: number): void {
    this.#held += samples;
    if (this.#held > this.peakSamples) this.peakSamples = this.#held;
    if (this.#scope.maxSamples > 0 && this.#held > this.#scope.maxSamples) {
      throw new QueryExecutionError(
        "query processing would load too many samples into memory in query execution",
      );
    }
  }

  #holdColumns(columns: readonly Column[]): void {
    const { charge } = this.#scope;
    if (charge === undefined) return;
    for (const column of columns) this.#heldBytes += columnBytes(column);
    charge(this.#heldBytes);
  }

  get warnings(): string[] {
    return [...this.#warnings].map(([text, place]) => text + place);
  }

  get infos(): string[] {
    return [...this.#infos].map(([text, place]) => text + place);
  }

  /** A text that comes from several places is told once, with the last of them. */
  #annotate(kind: "warning" | "info", text: string, at: Expr): void {
    const to = kind === "warning" ? this.#warnings : this.#infos;
    to.set(`PromQL ${kind}: ${text}`, ` (${describePosition(this.#scope.text, at.start)})`);
  }

  warnAt(text: string, at: Expr): void {
    this.#annotate("warning", text, at);
  }

  #notes(at: Expr): Notes {
    return {
      warn: (text) => this.#annotate("warning", text, at),
      info: (text) => this.#annotate("info", text, at),
    };
  }

  #duration(duration: Duration | null): number {
    if (duration === null) return 0;
    return durationMs(duration, {
      stepMs: this.#scope.stepMs,
      rangeMs: this.#scope.endMs - this.#scope.startMs,
    });
  }

  #at(at: At | null): number | null {
    if (at === null) return null;
    if (at.type === "time") return at.ms;
    return at.type === "start" ? this.#scope.startMs : this.#scope.endMs;
  }

  /** What `work` held for its result is given back: who keeps the result counts it. */
  async #releasing<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#held;
    const bytesBefore = this.#heldBytes;
    const out = await work();
    this.#held = before;
    this.#heldBytes = bytesBefore;
    return out;
  }

  /** All columns of an operand that is read at once and not kept. */
  #collectOnce(expr: Expr, grid: Grid): Promise<Column[]> {
    return this.#releasing(() => this.collect(expr, grid));
  }

  async collect(expr: Expr, grid: Grid): Promise<Column[]> {
    const out: Column[] = [];
    for await (const batch of this.vector(expr, grid)) {
      let samples = 0;
      for (const column of batch) {
        for (let i = 0; i < grid.count; i++) samples += column.present[i] as number;
        out.push(column);
      }
      this.#hold(samples);
      this.#holdColumns(batch);
    }
    return out;
  }

  async *vector(expr: Expr, grid: Grid): AsyncGenerator<Column[]> {
    this.#check();
    switch (expr.kind) {
      case "paren":
        yield* this.vector(expr.expr, grid);
        return;
      case "vectorSelector":
        yield* this.#instantSelector(expr, grid, "value");
        return;
      case "unary":
        for await (const batch of this.vector(expr.operand, grid)) {
          if (expr.op === "+") yield batch;
          else yield batch.map((column) => this.#negated(column));
        }
        return;
      case "binary":
        yield await this.#releasing(() => this.#binary(expr, grid));
        return;
      case "aggregation":
        yield await this.#sharedAggregation(expr, grid);
        return;
      case "call":
        yield* this.#call(expr, grid);
        return;
      case "number":
      case "string":
      case "matrixSelector":
      case "subquery":
        throw new QueryExecutionError(`a ${expr.kind} is not an instant vector`);
    }
  }

  async scalar(expr: Expr, grid: Grid): Promise<Float64Array> {
    const out = new Float64Array(grid.count);
    switch (expr.kind) {
      case "number":
        return out.fill(expr.value);
      case "paren":
        return this.scalar(expr.expr, grid);
      case "unary": {
        const value = await this.scalar(expr.operand, grid);
        return expr.op === "+" ? value : value.map((x) => -x);
      }
      case "binary": {
        const left = await this.scalar(expr.left, grid);
        const right = await this.scalar(expr.right, grid);
        for (let i = 0; i < grid.count; i++) {
          const a = left[i] as number;
          const b = right[i] as number;
          out[i] = isComparison(expr.op)
            ? Number(compare(expr.op, a, b))
            : arithmetic(expr.op, a, b);
        }
        return out;
      }
      case "call":
        return this.#scalarCall(expr, grid, out);
      case "string":
      case "vectorSelector":
      case "matrixSelector":
      case "subquery":
      case "aggregation":
        throw new QueryExecutionError(`a ${expr.kind} is not a scalar`);
    }
  }

  async #scalarCall(expr: Call, grid: Grid, out: Float64Array): Promise<Float64Array> {
    const scope = this.#scope;
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
        const a = await this.scalar(first as Expr, grid);
        const b = await this.scalar(second as Expr, grid);
        const pick = expr.func.name === "min_of" ? smaller : larger;
        return a.map((value, i) => pick(value, b[i] as number));
      }
      case "scalar": {
        const columns = await this.#collectOnce(first as Expr, grid);
        for (let i = 0; i < grid.count; i++) {
          const there = columns.filter(
            (c) => c.present[i] === 1 && c.histograms?.[i] === undefined,
          );
          out[i] = there.length === 1 ? (there[0]?.values[i] as number) : Number.NaN;
        }
        return out;
      }
      default:
        throw new QueryExecutionError(`function "${expr.func.name}" is not supported yet`);
    }
  }

  #negated(column: Column): Column {
    const out = this.#mapped(column, (value) => -value);
    column.histograms?.forEach((histogram, i) => {
      if (histogram === undefined || column.present[i] === 0) return;
      out.histograms ??= Array.from<Histogram | undefined>({ length: out.present.length });
      out.histograms[i] = scaledHistogram(histogram, -1);
      out.present[i] = 1;
    });
    return out;
  }

  /** Histograms are left out. */
  #mapped(column: Column, fn: (value: number, step: number) => number | undefined): Column {
    const delayed = this.#scope.delayedNameRemoval;
    const out = newColumn(
      delayed ? column.labels : dropMetadata(column.labels),
      column.present.length,
      true,
    );
    for (let i = 0; i < out.present.length; i++) {
      if (column.present[i] === 0 || column.histograms?.[i] !== undefined) continue;
      const value = fn(column.values[i] as number, i);
      if (value === undefined) continue;
      out.values[i] = value;
      out.present[i] = 1;
    }
    return out;
  }

  async *#series(
    selector: VectorSelector,
    mint: number,
    maxt: number,
    grid: Grid,
    rangeMs: number,
    func: string,
  ): AsyncGenerator<readonly SeriesColumns[]> {
    const batches = this.#scope.queryable.select({
      mint,
      maxt,
      matchers: selector.matchers,
      skipChunks: false,
      limit: 0,
      signal: this.#scope.signal,
      hints: { stepMs: grid.stepMs, rangeMs, func, grouping: [], by: false },
      onWarning: (text) => this.#warnings.set(text, ""),
    });
    const detects = this.#readsTotals.has(selector);
    for await (const batch of batches) {
      this.#check();
      yield detects ? batch.map(withResetsDetected) : batch;
    }
  }

  #referenceTimes(of: VectorSelector | Subquery, grid: Grid): Float64Array {
    return referenceTimes(grid, {
      atMs: this.#at(of.at),
      offsetMs: this.#duration(of.offset),
    });
  }

  async *#instantSelector(
    selector: VectorSelector,
    grid: Grid,
    read: "value" | "time" | "start",
    refs: Float64Array = this.#referenceTimes(selector, grid),
  ): AsyncGenerator<Column[]> {
    if (refs.length === 0) return;
    const lookback = this.#scope.lookbackDeltaMs;
    const mint = (refs[0] as number) - lookback + 1;
    const last = refs[refs.length - 1] as number;
    const maxt = selector.smoothed ? last + lookback : last;
    const notes = this.#notes(selector);
    for await (const batch of this.#series(selector, mint, maxt, grid, 0, "")) {
      const out: Column[] = [];
      let samples = 0;
      for (const series of batch) {
        const column = selector.smoothed
          ? smoothedColumn(series, refs, lookback, notes)
          : lastSamples(series, refs, lookback, read);
        if (column === null) continue;
        for (let i = 0; i < grid.count; i++) samples += column.present[i] as number;
        out.push(column);
      }
      this.totalSamples += samples;
      this.#hold(samples);
      yield out;
      this.#held -= samples;
    }
  }

  /** The windows of a range selector or subquery, a batch of series at a time. */
  async *#windows(
    expr: Expr,
    grid: Grid,
    func: string,
  ): AsyncGenerator<{ labels: Labels; windows: Windows; dropName: boolean }[]> {
    const inner = unwrap(expr);
    if (inner.kind === "subquery") {
      const before = this.#held;
      const bytesBefore = this.#heldBytes;
      const all = await this.#subquery(inner, grid);
      const samples = this.#held - before;
      yield all;
      this.#held -= samples;
      this.#heldBytes = bytesBefore;
      return;
    }
    if (inner.kind !== "matrixSelector")
      throw new QueryExecutionError(`a ${inner.kind} is not a range vector`);
    const { selector } = inner;
    const rangeMs = this.#duration(inner.range);
    const refs = referenceTimes(grid, {
      atMs: this.#at(selector.at),
      offsetMs: this.#duration(selector.offset),
    });
    if (refs.length === 0) return;
    const extension = extensionOf(selector);
    if (extension !== null && func !== "") checkExtension(extension, func);
    const lookback = this.#scope.lookbackDeltaMs;
    const mint = (refs[0] as number) - rangeMs + 1 - (extension === null ? 0 : lookback);
    const maxt = (refs[refs.length - 1] as number) + (extension === "smoothed" ? lookback : 0);
    const withStarts = this.#scope.useStartTimestamps && extension === null;
    for await (const batch of this.#series(selector, mint, maxt, grid, rangeMs, func)) {
      let samples = 0;
      const out = batch.map((series) => {
        samples += series.timestamps.length;
        const given = withStarts ? series : { ...series, startTimestamps: null };
        const windows = windowsOf(given, refs, rangeMs);
        return {
          labels: series.labels,
          windows: extension === null ? windows : extended(windows, extension, lookback),
          dropName: false,
        };
      });
      this.totalSamples += samples;
      this.#hold(samples);
      yield out;
      this.#held -= samples;
    }
  }

  async #subquery(
    expr: Subquery,
    grid: Grid,
  ): Promise<{ labels: Labels; windows: Windows; dropName: boolean }[]> {
    const rangeMs = this.#duration(expr.range);
    const stepMs =
      (expr.step === null ? 0 : this.#duration(expr.step)) || this.#scope.noStepSubqueryIntervalMs;
    const refs = referenceTimes(grid, {
      atMs: this.#at(expr.at),
      offsetMs: this.#duration(expr.offset),
    });
    if (refs.length === 0) return [];
    const after = (refs[0] as number) - rangeMs;
    let startMs = stepMs * Math.trunc(after / stepMs);
    if (startMs <= after) startMs += stepMs;
    const last = refs[refs.length - 1] as number;
    const count = last < startMs ? 0 : Math.floor((last - startMs) / stepMs) + 1;
    if (count === 0) return [];
    if (this.#scope.maxSamples > 0 && count > this.#scope.maxSamples) this.#hold(count);
    const inner: Grid = { startMs, stepMs, count };
    const columns =
      valueType(expr.expr) === "scalar"
        ? [
            {
              ...newColumn(EMPTY_LABELS, count),
              values: await this.scalar(expr.expr, inner),
              present: new Uint8Array(count).fill(1),
            },
          ]
        : await this.collect(expr.expr, inner);
    return columns.map((column) => {
      let n = 0;
      for (let i = 0; i < count; i++) n += column.present[i] as number;
      const timestamps = new Float64Array(n);
      const values = new Float64Array(n);
      const histograms =
        column.histograms === null ? null : Array.from<Histogram | undefined>({ length: n });
      n = 0;
      for (let i = 0; i < count; i++) {
        if (column.present[i] === 0) continue;
        timestamps[n] = startMs + i * stepMs;
        if (histograms !== null) histograms[n] = withoutHint(column.histograms?.[i]);
        values[n++] = column.values[i] as number;
      }
      const series = {
        labels: column.labels,
        timestamps,
        values,
        histograms,
        startTimestamps: null,
      };
      return {
        labels: column.labels,
        windows: windowsOf(series, refs, rangeMs),
        dropName: column.dropName,
      };
    });
  }

  async *#rangeCall(expr: Call, grid: Grid): AsyncGenerator<Column[]> {
    const name = expr.func.name;
    const matrixArg = expr.args.find((arg) => valueType(arg) === "matrix") as Expr;
    const window = unwrap(matrixArg);
    const extension = window.kind === "matrixSelector" ? extensionOf(window.selector) : null;
    const reaching = extension === null ? null : extendedKernel(name, extension);
    const kernel = reaching ?? rangeKernels.get(name);
    if (kernel === undefined)
      throw new QueryExecutionError(`function "${name}" is not supported yet`);
    const args = await Promise.all(
      expr.args.filter((arg) => arg !== matrixArg).map((arg) => this.scalar(arg, grid)),
    );
    if (name === "quantile_over_time")
      this.#warnQuantile(args[0] as Float64Array, expr.args[0] as Expr);
    const stepTimes = referenceTimes(grid, { atMs: null, offsetMs: 0 });
    const delayed = this.#scope.delayedNameRemoval;
    const drop = !keepsName.has(name);
    const notes = this.#notes(matrixArg);
    for await (const batch of this.#windows(matrixArg, grid, name)) {
      const out: Column[] = [];
      for (const { labels, windows, dropName } of batch) {
        const column = newColumn(
          drop && !delayed ? dropMetadata(labels) : labels,
          grid.count,
          drop || dropName,
        );
        const context = { metric: labelValue(labels, METRIC_NAME), notes };
        if (windows.histograms === null || reaching !== null)
          kernel(windows, column, args, stepTimes, context);
        else {
          mixedKernel(name, kernel, windows as MixedWindows, column, args, stepTimes, context);
        }
        if (!column.present.includes(1)) continue;
        out.push(column);
        if (name === "rate" || name === "increase") {
          const metric = labelValue(labels, METRIC_NAME);
          if (metric !== "" && !/_(total|sum|count|bucket)$/.test(metric)) {
            this.#annotate(
              "info",
              `metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${JSON.stringify(metric)}`,
              matrixArg,
            );
          }
        }
      }
      yield out;
    }
  }

  #warnQuantile(q: Float64Array, at: Expr): void {
    for (const value of q) {
      if (value >= 0 && value <= 1) continue;
      const text = Number.isNaN(value)
        ? "NaN"
        : value === Infinity
          ? "+Inf"
          : String(value).replace("Infinity", "Inf");
      this.#annotate("warning", `quantile value should be between 0 and 1, got ${text}`, at);
    }
  }

  async *#call(expr: Call, grid: Grid): AsyncGenerator<Column[]> {
    const name = expr.func.name;
    const delayed = this.#scope.delayedNameRemoval;
    const args = expr.args;
    const first = args[0] as Expr;
    if (name === "absent_over_time" || name === "absent") {
      yield [await this.#absent(expr, grid)];
      return;
    }
    if (args.some((arg) => valueType(arg) === "matrix")) {
      yield* this.#rangeCall(expr, grid);
      return;
    }
    const toDate = DATE_DEFAULTS_TO_NOW.get(name);
    if (toDate !== undefined && args.length === 0) {
      const out = newColumn(EMPTY_LABELS, grid.count);
      for (let i = 0; i < grid.count; i++) {
        out.values[i] = toDate((grid.startMs + i * grid.stepMs) / 1000, 0, 0) as number;
        out.present[i] = 1;
      }
      yield [out];
      return;
    }
    const map = elementwise.get(name) ?? toDate;
    if (map !== undefined) {
      const a = args[1] === undefined ? null : await this.scalar(args[1], grid);
      const b = args[2] === undefined ? null : await this.scalar(args[2], grid);
      for await (const batch of this.vector(first, grid)) {
        yield batch.map((column) =>
          this.#mapped(column, (value, i) =>
            map(
              value,
              a === null ? Number.NaN : (a[i] as number),
              b === null ? Number.NaN : (b[i] as number),
            ),
          ),
        );
      }
      return;
    }
    const read = histogramReaders.get(name);
    if (read !== undefined) {
      for await (const batch of this.vector(first, grid)) {
        yield batch.map((column) => this.#readHistograms(column, read));
      }
      return;
    }
    switch (name) {
      case "vector": {
        const values = await this.scalar(first, grid);
        yield [
          {
            ...newColumn(EMPTY_LABELS, grid.count),
            values,
            present: new Uint8Array(grid.count).fill(1),
          },
        ];
        return;
      }
      case "timestamp": {
        const inner = unwrap(first);
        const batches =
          inner.kind === "vectorSelector"
            ? this.#instantSelector(withoutOffsetAt(inner), grid, "time")
            : this.vector(first, grid);
        for await (const batch of batches) {
          yield batch.map((column) =>
            this.#mapped({ ...column, histograms: null }, (value, i) =>
              inner.kind === "vectorSelector" ? value : (grid.startMs + i * grid.stepMs) / 1000,
            ),
          );
        }
        return;
      }
      case "start_timestamp": {
        const inner = unwrap(first);
        if (inner.kind !== "vectorSelector") return;
        for await (const batch of this.#instantSelector(inner, grid, "start")) {
          yield batch.map((column) => this.#mapped(column, (value) => value));
        }
        return;
      }
      case "sort":
      case "sort_desc":
      case "sort_by_label":
      case "sort_by_label_desc":
        yield sorted(expr, await this.#collectOnce(first, grid), grid);
        return;
      case "histogram_quantile": {
        const q = await this.scalar(first, grid);
        this.#warnQuantile(q, first);
        const vector = args[1] as Expr;
        const columns = await this.#collectOnce(vector, grid);
        yield quantileOfHistograms(columns, q, delayed, this.#notes(vector));
        return;
      }
      case "histogram_quantiles": {
        const quantiles: Float64Array[] = [];
        for (const arg of args.slice(2)) {
          const q = await this.scalar(arg, grid);
          this.#warnQuantile(q, arg);
          quantiles.push(q);
        }
        yield quantilesOfHistograms(
          await this.#collectOnce(first, grid),
          stringOf(args[1] as Expr),
          quantiles,
          grid.count,
          delayed,
          this.#notes(first),
        );
        return;
      }
      case "histogram_fraction": {
        const from = await this.scalar(first, grid);
        const to = await this.scalar(args[1] as Expr, grid);
        const vector = args[2] as Expr;
        const columns = await this.#collectOnce(vector, grid);
        yield fractionOfHistograms(columns, from, to, delayed, this.#notes(vector));
        return;
      }
      case "info":
        yield await this.#info(expr, grid);
        return;
      case "label_replace":
      case "label_join": {
        const texts = args.slice(1).map(stringOf);
        const relabel = replaceLabel(name, texts);
        const out = (await this.#collectOnce(first, grid)).map((column) => ({
          ...column,
          labels: relabel(column.labels),
          dropName: texts[0] === METRIC_NAME ? false : column.dropName,
        }));
        yield joined(out);
        return;
      }
      default:
        throw new QueryExecutionError(`function "${name}" is not supported yet`);
    }
  }

  /** Info series are read where the selectors of the first argument look, when all look at one place. */
  async #info(expr: Call, grid: Grid): Promise<Column[]> {
    const [first, second] = expr.args as [Expr, Expr?];
    const base = await this.#collectOnce(first, grid);
    const inner = second === undefined ? null : unwrap(second);
    const request = infoRequest(inner?.kind === "vectorSelector" ? inner.matchers : []);
    const refs = referenceTimes(grid, { atMs: null, offsetMs: 0 });
    const looks = this.#looksAt(first, refs);
    const [common = refs] = looks;
    const same = looks.every((other) => other.every((ms, i) => ms === common[i]));
    const selector: VectorSelector = {
      kind: "vectorSelector",
      start: expr.start,
      end: expr.end,
      name: "",
      matchers: request.matchers,
      offset: null,
      at: null,
      anchored: false,
      smoothed: false,
    };
    const times: Column[] = [];
    const at = same ? common : refs;
    for await (const batch of this.#instantSelector(selector, grid, "time", at)) {
      times.push(...batch);
    }
    for await (const batch of this.#instantSelector(selector, grid, "value", at)) {
      const bad = batch.find((column) => column.histograms !== null);
      if (bad !== undefined) {
        throw new QueryExecutionError(
          `this should be an info metric, with float samples: ${braced(bad.labels)}`,
        );
      }
    }
    return enriched(base, times, request, grid.count);
  }

  /** The times that each selector below sees at the steps. */
  #looksAt(expr: Expr, refs: Float64Array): Float64Array[] {
    if (expr.kind !== "vectorSelector" && expr.kind !== "subquery") {
      return children(expr).flatMap((child) => this.#looksAt(child, refs));
    }
    const atMs = this.#at(expr.at);
    const offsetMs = this.#duration(expr.offset);
    const moved = refs.map((ms) => (atMs ?? ms) - offsetMs);
    return expr.kind === "subquery" ? this.#looksAt(expr.expr, moved) : [moved];
  }

  #readHistograms(column: Column, read: (histogram: Histogram) => number): Column {
    const delayed = this.#scope.delayedNameRemoval;
    const labels = delayed ? column.labels : dropMetadata(column.labels);
    const out = newColumn(labels, column.present.length, true);
    for (let i = 0; i < out.present.length; i++) {
      const histogram = column.present[i] === 1 ? column.histograms?.[i] : undefined;
      if (histogram === undefined) continue;
      out.values[i] = read(histogram);
      out.present[i] = 1;
    }
    return out;
  }

  /** A range selector or subquery as the result of an instant query: the samples of its one window. */
  async rangeVector(expr: Expr, timeMs: number): Promise<ResultSeries[]> {
    const out: ResultSeries[] = [];
    for await (const batch of this.#windows(expr, { startMs: timeMs, stepMs: 1, count: 1 }, "")) {
      for (const { labels, windows, dropName } of batch) {
        const lo = windows.lo[0] as number;
        const hi = windows.hi[0] as number;
        if (hi <= lo) continue;
        this.#hold(hi - lo);
        this.#heldBytes += 200 + 16 * (hi - lo);
        this.#scope.charge?.(this.#heldBytes);
        out.push({
          labels: dropName ? dropMetadata(labels) : labels,
          timestamps: windows.timestamps.slice(lo, hi),
          values: windows.values.slice(lo, hi),
          histograms: windows.histograms?.slice(lo, hi) ?? null,
        });
      }
    }
    return out.sort((a, b) => compareLabels(a.labels, b.labels));
  }

  /** One series of the labels that equality matchers name, where nothing is. */
  async #absent(expr: Call, grid: Grid): Promise<Column> {
    const arg = unwrap(expr.args[0] as Expr);
    const there = new Uint8Array(grid.count);
    if (expr.func.name === "absent") {
      for await (const batch of this.vector(arg, grid)) {
        for (const column of batch)
          column.present.forEach((bit, i) => (there[i] = (there[i] as number) | bit));
      }
    } else {
      for await (const batch of this.#windows(arg, grid, expr.func.name)) {
        for (const { windows } of batch) {
          for (let i = 0; i < grid.count; i++)
            if ((windows.hi[i] as number) > (windows.lo[i] as number)) there[i] = 1;
        }
      }
    }
    const labels = labelsOfAbsent(arg);
    const out = newColumn(labels, grid.count);
    for (let i = 0; i < grid.count; i++) {
      out.present[i] = 1 - (there[i] as number);
      out.values[i] = 1;
    }
    return out;
  }

  async #binary(expr: Binary, grid: Grid): Promise<Column[]> {
    const delayed = this.#scope.delayedNameRemoval;
    const leftScalar = valueType(expr.left) === "scalar";
    if (leftScalar || valueType(expr.right) === "scalar") {
      const scalar = await this.scalar(leftScalar ? expr.left : expr.right, grid);
      const columns = await this.collect(leftScalar ? expr.right : expr.left, grid);
      return columns.map((column) =>
        withScalar(expr, column, scalar, leftScalar, delayed, this.#notes(expr)),
      );
    }
    const left = await this.collect(expr.left, grid);
    const right = await this.collect(expr.right, grid);
    if (isSetOp(expr.op)) return setOperation(expr, left, right, grid.count);
    return vectorOperation(expr, left, right, grid.count, delayed, this.#notes(expr));
  }

  /** An aggregation that the query writes more than once is evaluated once for the same steps. */
  async #sharedAggregation(expr: Aggregation, grid: Grid): Promise<Column[]> {
    const same = this.#repeated.get(expr);
    if (same === undefined) return this.#releasing(() => this.#aggregation(expr, grid));
    const key = `${same.start} ${grid.startMs} ${grid.stepMs} ${grid.count}`;
    let columns = this.#shared.get(key);
    if (columns === undefined) {
      columns = await this.#releasing(() => this.#aggregation(same, grid));
      this.#hold(columns.length * grid.count);
      this.#shared.set(key, columns);
    }
    return columns.map((column) => ({
      ...column,
      values: column.values.slice(),
      present: column.present.slice(),
      histograms: column.histograms === null ? null : [...column.histograms],
    }));
  }

  async #aggregation(expr: Aggregation, grid: Grid): Promise<Column[]> {
    if (foldable.has(expr.op)) {
      const folder = new Folder(expr, grid.count, this.#notes(expr.expr));
      for await (const batch of this.#distinct(expr.expr, grid)) this.#fold(folder, batch, grid);
      const out = folder.result();
      this.#hold(out.length * grid.count);
      this.#holdColumns(out);
      return out;
    }
    if (expr.op === "count_values") {
      const name = stringOf(expr.param as Expr);
      if (!isLabelName(name)) throw new QueryExecutionError(`invalid label name ${quote(name)}`);
      return valueCounts(expr, await this.collect(expr.expr, grid), name, grid.count);
    }
    const param = await this.scalar(expr.param as Expr, grid);
    const columns = await this.collect(expr.expr, grid);
    if (expr.op === "limit_ratio") {
      return limitedByRatio(columns, param, this.#notes(expr.param as Expr));
    }
    if (expr.op === "quantile") {
      this.#warnQuantile(param, expr.param as Expr);
      return quantiles(expr, columns, param, this.#notes(expr.expr));
    }
    return selected(expr, columns, param, this.#notes(expr.expr));
  }

  /** Groups are counted while they become more: their sums are what an aggregation holds. */
  #fold(folder: Folder, batch: readonly Column[], grid: Grid): void {
    for (const column of batch) folder.add(column);
    this.#scope.charge?.(this.#heldBytes + folder.groups * (200 + grid.count * BYTES_OF_FOLD));
  }

  /** What an operator reads: functions that dropped names may have made two series of one name. */
  async *#distinct(expr: Expr, grid: Grid): AsyncGenerator<Column[]> {
    const inner = unwrap(expr);
    const mayCollide =
      inner.kind === "call" && !this.#scope.delayedNameRemoval && !namesOneMetric(inner);
    if (mayCollide) yield joined(await this.collect(inner, grid));
    else yield* this.vector(inner, grid);
  }
}

/** Whether every series below the call has the same metric name, so that dropping it cannot make two alike. */
function namesOneMetric(call: Call): boolean {
  const arg = call.args
    .map(unwrap)
    .find((a) => a.kind === "vectorSelector" || a.kind === "matrixSelector");
  if (arg === undefined) return false;
  const selector = arg.kind === "matrixSelector" ? arg.selector : arg;
  return (
    selector.kind === "vectorSelector" &&
    selector.matchers.some((m) => m.name === METRIC_NAME && m.type === "=" && m.value !== "")
  );
}

/** Removes the names that were to go, at the end of a query. */
export function withNamesDropped(columns: readonly Column[]): Column[] {
  return joined(
    columns.map((column) =>
      column.dropName ? { ...column, labels: dropMetadata(column.labels) } : column,
    ),
  );
}
