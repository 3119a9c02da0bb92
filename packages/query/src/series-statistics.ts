/**
 * `/api/v1/status/tsdb`: which metric names, labels and pairs have the most series (Prometheus' HTTP API). Prometheus
 * reads them from its index; here they are counted over the series that the endpoints answer with.
 */

import type { Labels } from "@torus/model";
import { goString } from "./json-writer.ts";

/** Of an entry of a map, beside its strings. */
const BYTES_OF_ENTRY = 80;

export class SeriesStatistics {
  readonly #charge: (bytes: number) => void;
  readonly #seriesByMetric = new Map<string, number>();
  /** Series by value, by label name. */
  readonly #byLabel = new Map<string, Map<string, number>>();
  #series = 0;

  /** @param charge Told of the bytes that are held, throws when they are too many. */
  constructor(charge: (bytes: number) => void) {
    this.#charge = charge;
  }

  add(labels: Labels): void {
    this.#series++;
    for (let i = 0; i < labels.length; i += 2) {
      const name = labels[i] as string;
      const value = labels[i + 1] as string;
      if (name === "__name__") this.#count(this.#seriesByMetric, value);
      let values = this.#byLabel.get(name);
      if (values === undefined) this.#byLabel.set(name, (values = new Map<string, number>()));
      this.#count(values, value);
    }
  }

  #count(counts: Map<string, number>, key: string): void {
    const before = counts.get(key);
    if (before === undefined) this.#charge(BYTES_OF_ENTRY + 2 * key.length);
    counts.set(key, (before ?? 0) + 1);
  }

  /** @param limit Entries of each list. */
  json(limit: number, mint: number, maxt: number): string {
    const values = new Map<string, number>();
    const bytes = new Map<string, number>();
    const pairs: [string, number][] = [];
    let pairCount = 0;
    for (const [name, counts] of this.#byLabel) {
      values.set(name, counts.size);
      pairCount += counts.size;
      let size = 0;
      for (const value of counts.keys()) size += Buffer.byteLength(value);
      bytes.set(name, size);
      // No pair beyond the largest of its label can be among the largest of all.
      for (const [value, count] of largest(counts, limit)) pairs.push([`${name}=${value}`, count]);
    }
    const head = JSON.stringify({
      numSeries: this.#series,
      numLabelPairs: pairCount,
      chunkCount: 0,
      minTime: mint,
      maxTime: maxt,
    });
    const lists = {
      seriesCountByMetricName: this.#seriesByMetric,
      labelValueCountByLabelName: values,
      memoryInBytesByLabelName: bytes,
      seriesCountByLabelValuePair: pairs,
    };
    const fields = Object.entries(lists).map(
      ([name, counts]) => `"${name}":[${largest(counts, limit).map(entry).join(",")}]`,
    );
    return `{"headStats":${head},${fields.join(",")}}`;
  }
}

function entry([name, value]: readonly [string, number]): string {
  return `{"name":${goString(name)},"value":${value}}`;
}

function largest(counts: Iterable<[string, number]>, limit: number): [string, number][] {
  return [...counts]
    .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : a > b ? 1 : 0))
    .slice(0, limit);
}
