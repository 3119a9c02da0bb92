/** Sums and means of native histograms as series or samples pass, with what is to be told about them. */

import { type Histogram, HistogramSum, IncompatibleHistogramsError } from "@torus/model";
import { infos, type Notes, warnings } from "./annotations.ts";

/** Above this a sum is copied before an addition that may overflow. */
const HUGE = 1e300;

export class HistogramFold {
  readonly #mean: boolean;
  #sum: HistogramSum;
  #n = 1;
  #huge: boolean;
  /** The sum overflowed: `#sum` is the mean so far. */
  #incremental = false;
  #resets: boolean;
  #notResets: boolean;
  /** Exponential and custom buckets met: there is no result. */
  incompatible = false;

  constructor(first: Histogram, mean: boolean) {
    this.#mean = mean;
    this.#sum = new HistogramSum(first);
    this.#huge = isHuge(first);
    this.#resets = first.counterResetHint === "reset";
    this.#notResets = first.counterResetHint === "not_reset";
  }

  add(h: Histogram, notes: Notes, metric: string): void {
    if (this.incompatible) return;
    this.#n++;
    this.#resets ||= h.counterResetHint === "reset";
    this.#notResets ||= h.counterResetHint === "not_reset";
    this.#huge ||= isHuge(h);
    try {
      if (this.#addTo(h)) notes.info(infos.reconciled("aggregation"));
    } catch (error) {
      if (!(error instanceof IncompatibleHistogramsError)) throw error;
      this.incompatible = true;
      notes.warn(warnings.mixedSchemas(metric));
    }
  }

  #addTo(h: Histogram): boolean {
    if (!this.#incremental) {
      const before = this.#mean && this.#huge ? this.#sum.copy() : null;
      const { reconciled } = this.#sum.add(h, 1, true);
      if (before === null || !this.#sum.overflown) return reconciled;
      before.divide(this.#n - 1);
      this.#sum = before;
      this.#incremental = true;
    }
    const part = new HistogramSum(h);
    part.divide(this.#n);
    this.#sum.scale((this.#n - 1) / this.#n);
    return this.#sum.add(part.result(), 1, true).reconciled;
  }

  /** Null when there is none. */
  result(notes: Notes): Histogram | null {
    if (this.incompatible) return null;
    if (this.#resets && this.#notResets) notes.warn(warnings.resetCollision("aggregation"));
    if (this.#mean && !this.#incremental) this.#sum.divide(this.#n);
    return this.#sum.result();
  }
}

function isHuge(h: Histogram): boolean {
  return Math.abs(h.count) > HUGE || Math.abs(h.sum) > HUGE;
}
