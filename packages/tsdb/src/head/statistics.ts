/** Which metric names, labels and pairs of a head have the most series (Prometheus' HTTP API, status/tsdb). */

import { setImmediate as nextTurn } from "node:timers/promises";
import { newestClosed, openChunkStart } from "./series-memory.ts";
import type { HeadState } from "./state.ts";

export type HeadStatistics = {
  series: number;
  labelPairs: number;
  chunks: number;
  /** ms; Infinity and -Infinity for an empty head. */
  minTime: number;
  maxTime: number;
  /** Each list has the largest first, and among equals the smallest name. */
  seriesByMetric: Counted[];
  valuesByLabel: Counted[];
  /** Bytes of the values as often as series carry them. */
  bytesByLabel: Counted[];
  /** By `name=value`. */
  seriesByPair: Counted[];
};

export type Counted = [name: string, count: number];

/** Entries that are looked at in one go: about a millisecond. */
const SLICE = 8192;

/** Appends go on meanwhile: the counts are of no single moment. @param limit Entries of each list. */
export async function headStatistics(state: HeadState, limit: number): Promise<HeadStatistics> {
  const { index, kernel, table } = state;
  const metrics = new Largest(limit);
  const labels = new Largest(limit);
  const bytes = new Largest(limit);
  const pairs = new Largest(limit);
  let labelPairs = 0;
  let looked = 0;
  const step = async () => {
    if (++looked % SLICE === 0) await nextTurn();
  };
  for (const name of index.names()) {
    let size = 0;
    let values = 0;
    for (const [value, series] of index.seriesByValue(name)) {
      values++;
      size += Buffer.byteLength(value) * series;
      if (name === "__name__") metrics.add(value, series);
      if (pairs.admits(series)) pairs.add(`${name}=${value}`, series);
      await step();
    }
    labelPairs += values;
    labels.add(name, values);
    bytes.add(name, size);
  }
  let chunks = 0;
  for (const [, series] of table.entries()) {
    if (openChunkStart(kernel, series) !== Number.POSITIVE_INFINITY) chunks++;
    const { words } = kernel;
    for (let node = newestClosed(kernel, series); node !== 0; node = words[node >>> 2] as number) {
      chunks++;
    }
    await step();
    if (state.closed) break;
  }
  return {
    series: state.seriesCount,
    labelPairs,
    chunks,
    minTime: state.minTime,
    maxTime: state.maxTime,
    seriesByMetric: metrics.list(),
    valuesByLabel: labels.list(),
    bytesByLabel: bytes.list(),
    seriesByPair: pairs.list(),
  };
}

/** The largest of many counts, in memory for twice as many as are asked for. */
class Largest {
  readonly #limit: number;
  #kept: Counted[] = [];
  #least = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  admits(count: number): boolean {
    return count >= this.#least;
  }

  add(name: string, count: number): void {
    if (!this.admits(count)) return;
    this.#kept.push([name, count]);
    if (this.#kept.length < 2 * this.#limit + 16) return;
    this.#kept = this.list();
    this.#least = this.#kept.at(-1)?.[1] ?? 0;
  }

  list(): Counted[] {
    return this.#kept
      .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : a > b ? 1 : 0))
      .slice(0, this.#limit);
  }
}
