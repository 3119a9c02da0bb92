/** quantile_over_time: the window's samples are kept in order as it slides, NaN counted apart as the lowest. */

import type { RangeKernel } from "./range.ts";

class SortedWindow {
  #sorted: Float64Array;
  #n = 0;
  #nans = 0;

  constructor(capacity: number) {
    this.#sorted = new Float64Array(capacity);
  }

  clear(): void {
    this.#n = 0;
    this.#nans = 0;
  }

  /** The first place whose value is not below `value`. */
  #placeOf(value: number): number {
    let from = 0;
    let to = this.#n;
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((this.#sorted[middle] as number) < value) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  add(value: number): void {
    if (Number.isNaN(value)) {
      this.#nans++;
      return;
    }
    const sorted = this.#sorted;
    const at = this.#placeOf(value);
    for (let i = this.#n; i > at; i--) sorted[i] = sorted[i - 1] as number;
    sorted[at] = value;
    this.#n++;
  }

  /** `value` must be in the window. */
  remove(value: number): void {
    if (Number.isNaN(value)) {
      this.#nans--;
      return;
    }
    const sorted = this.#sorted;
    this.#n--;
    for (let i = this.#placeOf(value); i < this.#n; i++) sorted[i] = sorted[i + 1] as number;
  }

  #at(rank: number): number {
    return rank < this.#nans ? Number.NaN : (this.#sorted[rank - this.#nans] as number);
  }

  quantile(q: number): number {
    const n = this.#n + this.#nans;
    if (n === 0 || Number.isNaN(q)) return Number.NaN;
    if (q < 0) return -Infinity;
    if (q > 1) return Infinity;
    const rank = q * (n - 1);
    const lower = Math.max(0, Math.floor(rank));
    const upper = Math.min(n - 1, lower + 1);
    const weight = rank - Math.floor(rank);
    return this.#at(lower) * (1 - weight) + this.#at(upper) * weight;
  }
}

export const slidingQuantile: RangeKernel = (w, out, [q]) => {
  const { values, lo, hi } = w;
  let widest = 0;
  for (let i = 0; i < lo.length; i++) {
    widest = Math.max(widest, (hi[i] as number) - (lo[i] as number));
  }
  const window = new SortedWindow(widest + 1);
  let from = 0;
  let to = 0;
  for (let i = 0; i < lo.length; i++) {
    const first = lo[i] as number;
    const end = hi[i] as number;
    if (end <= first) continue;
    if (first >= to) {
      window.clear();
      from = first;
      to = first;
    }
    while (from < first) window.remove(values[from++] as number);
    while (to < end) window.add(values[to++] as number);
    out.values[i] = window.quantile(q?.[i] as number);
    out.present[i] = 1;
  }
};
