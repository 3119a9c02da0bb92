/** One evaluation's accounts: limits, what is held, annotations with their places, and the query's own times. */

import { type Queryable } from "@torus/model";
import type { Notes } from "./annotations.ts";
import type { At, Duration, Expr } from "./ast.ts";
import { type Column, columnBytes } from "./column.ts";
import { describePosition } from "./parse/parse-error.ts";
import { durationMs } from "./plan/durations.ts";
import { QueryCanceledError, QueryExecutionError, QueryTimeoutError } from "./query-errors.ts";

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

export class QueryRun {
  readonly scope: QueryScope;
  readonly warningPlaces = new Map<string, string>();
  readonly infoPlaces = new Map<string, string>();
  totalSamples = 0;
  peakSamples = 0;
  held = 0;
  /** Of the columns that are held, whose steps without a sample take their place too. */
  heldBytes = 0;

  constructor(scope: QueryScope) {
    this.scope = scope;
  }

  check(): void {
    if (this.scope.now() > this.scope.deadlineMs)
      throw new QueryTimeoutError("expression evaluation");
    if (this.scope.signal.aborted) throw new QueryCanceledError("expression evaluation");
  }

  hold(samples: number): void {
    this.held += samples;
    if (this.held > this.peakSamples) this.peakSamples = this.held;
    if (this.scope.maxSamples > 0 && this.held > this.scope.maxSamples) {
      throw new QueryExecutionError(
        "query processing would load too many samples into memory in query execution",
      );
    }
  }

  holdColumns(columns: readonly Column[]): void {
    const { charge } = this.scope;
    if (charge === undefined) return;
    for (const column of columns) this.heldBytes += columnBytes(column);
    charge(this.heldBytes);
  }

  get warnings(): string[] {
    return [...this.warningPlaces].map(([text, place]) => text + place);
  }

  get infos(): string[] {
    return [...this.infoPlaces].map(([text, place]) => text + place);
  }

  /** A text that comes from several places is told once, with the last of them. */
  annotate(kind: "warning" | "info", text: string, at: Expr): void {
    const to = kind === "warning" ? this.warningPlaces : this.infoPlaces;
    to.set(`PromQL ${kind}: ${text}`, ` (${describePosition(this.scope.text, at.start)})`);
  }

  warnAt(text: string, at: Expr): void {
    this.annotate("warning", text, at);
  }

  notes(at: Expr): Notes {
    return {
      warn: (text) => this.annotate("warning", text, at),
      info: (text) => this.annotate("info", text, at),
    };
  }

  duration(duration: Duration | null): number {
    if (duration === null) return 0;
    return durationMs(duration, {
      stepMs: this.scope.stepMs,
      rangeMs: this.scope.endMs - this.scope.startMs,
    });
  }

  at(at: At | null): number | null {
    if (at === null) return null;
    if (at.type === "time") return at.ms;
    return at.type === "start" ? this.scope.startMs : this.scope.endMs;
  }

  /** What `work` held for its result is given back: who keeps the result counts it. */
  async releasing<T>(work: () => Promise<T>): Promise<T> {
    const before = this.held;
    const bytesBefore = this.heldBytes;
    const out = await work();
    this.held = before;
    this.heldBytes = bytesBefore;
    return out;
  }
}
