/** The head of a data directory for scans: its series in label order, those of floats alone in columns that stay. */

import { compareLabels, type Labels, labelValue, type Matcher } from "@torus/model";
import type { Interval } from "../block/tombstones.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import type { KeptSeries } from "../kept-series.ts";
import type { OfflineHead, OfflineSeries } from "./offline-head.ts";

/** Milliseconds, ascending, and values; both as long. */
export type FloatColumns = { timestamps: Float64Array; values: Float64Array };

export class HeadSeries {
  readonly labels: Labels;
  readonly #series: OfflineSeries;
  /** undefined until it is asked for; null when there is more than floats in order. */
  #floats: FloatColumns | null | undefined = undefined;

  constructor(series: OfflineSeries, labels: Labels) {
    this.#series = series;
    this.labels = labels;
  }

  get deleted(): readonly Interval[] {
    return this.#series.deleted;
  }

  runs(): StoredSamples[] {
    return this.#series.runs();
  }

  /** null when the series has more than floats in order, start timestamps or deleted samples. */
  floats(): FloatColumns | null {
    if (this.#floats === undefined) this.#floats = this.#decode();
    return this.#floats;
  }

  #decode(): FloatColumns | null {
    const [inOrder, ...others] = this.runs();
    if (inOrder === undefined || others.length > 0 || this.deleted.length > 0) return null;
    if (inOrder.histograms !== null || inOrder.startTimes !== null) return null;
    const { times, values } = inOrder;
    return {
      timestamps: Float64Array.from(times, Number),
      // Copied as bits: a number on the way might lose a NaN's.
      values: new Float64Array(values.slice().buffer),
    };
  }

  hasSamples(mint: number, maxt: number): boolean {
    return this.runs().some(({ times }) => times.some((time) => time >= mint && time <= maxt));
  }
}

/** Matches of a selector that are remembered; a new one takes the place of all when they are more. */
const MAX_REMEMBERED = 64;

export class HeadColumns {
  readonly #series: readonly HeadSeries[];
  /** By matchers. What a head holds does not change here. */
  readonly #remembered = new Map<string, readonly HeadSeries[]>();

  /** @param head null for a directory that has none. */
  constructor(head: OfflineHead | null, kept: KeptSeries) {
    this.#series = [...(head?.series ?? [])]
      .map((series) => new HeadSeries(series, kept.one(series.labels)))
      .sort((a, b) => compareLabels(a.labels, b.labels));
  }

  /** In label order. */
  matching(matchers: readonly Matcher[]): readonly HeadSeries[] {
    const key = JSON.stringify(matchers.map(({ name, type, value }) => [name, type, value]));
    let found = this.#remembered.get(key);
    if (found === undefined) {
      found = this.#series.filter(({ labels }) =>
        matchers.every((each) => each.matches(labelValue(labels, each.name))),
      );
      if (this.#remembered.size === MAX_REMEMBERED) this.#remembered.clear();
      this.#remembered.set(key, found);
    }
    return found;
  }
}
