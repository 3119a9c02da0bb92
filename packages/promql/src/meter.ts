/** Counts what the operators of a query take and give, where somebody asked for it. */

import type { Expr } from "./ast.ts";
import type { Column } from "./column.ts";
import type { OperatorCost } from "./plan/explain.ts";
import type { RangeSeries } from "./selectors.ts";

export class Meter {
  readonly #clock: () => number;
  readonly costs = new Map<Expr, OperatorCost>();

  /** @param clock Milliseconds, as fine as it can tell. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  #costOf(expr: Expr): OperatorCost {
    let cost = this.costs.get(expr);
    if (cost === undefined) {
      cost = { timeMs: 0, samples: 0, peakSamples: 0 };
      this.costs.set(expr, cost);
    }
    return cost;
  }

  columns(expr: Expr, batches: AsyncGenerator<Column[]>): AsyncGenerator<Column[]> {
    return this.#batches(expr, batches, ({ present }) => {
      let samples = 0;
      for (let i = 0; i < present.length; i++) samples += present[i] as number;
      return samples;
    });
  }

  windows(expr: Expr, batches: AsyncGenerator<RangeSeries[]>): AsyncGenerator<RangeSeries[]> {
    return this.#batches(expr, batches, ({ windows }) => windows.timestamps.length);
  }

  async steps(expr: Expr, values: Promise<Float64Array>): Promise<Float64Array> {
    const before = this.#clock();
    const out = await values;
    const cost = this.#costOf(expr);
    cost.timeMs += this.#clock() - before;
    cost.samples += out.length;
    cost.peakSamples = Math.max(cost.peakSamples, out.length);
    return out;
  }

  async *#batches<T>(
    expr: Expr,
    batches: AsyncGenerator<T[]>,
    samplesOf: (one: T) => number,
  ): AsyncGenerator<T[]> {
    const cost = this.#costOf(expr);
    try {
      for (;;) {
        const before = this.#clock();
        const { value, done } = await batches.next();
        cost.timeMs += this.#clock() - before;
        if (done === true) return;
        let samples = 0;
        for (const one of value as T[]) samples += samplesOf(one);
        cost.samples += samples;
        cost.peakSamples = Math.max(cost.peakSamples, samples);
        yield value as T[];
      }
    } finally {
      await batches.return(undefined);
    }
  }
}
