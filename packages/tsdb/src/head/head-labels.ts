/** Labels of a head's series as arrays that are the same each time: made when a series is first read, and kept. */

import type { Labels } from "@torus/model";
import { keptSeries } from "../kept-series.ts";

export class HeadLabels {
  readonly #labelsOf: (series: number) => Labels;
  readonly #kept = new Map<number, Labels>();

  constructor(labelsOf: (series: number) => Labels) {
    this.#labelsOf = labelsOf;
  }

  /** @param series Its address. */
  of(series: number): Labels {
    const known = this.#kept.get(series);
    if (known !== undefined) return known;
    const labels = keptSeries.one(this.#labelsOf(series));
    if (keptSeries.admits()) this.#kept.set(series, labels);
    return labels;
  }

  /** Series were removed: their addresses may become others'. */
  forget(): void {
    keptSeries.giveBack(this.#kept.size, 0);
    this.#kept.clear();
  }
}
