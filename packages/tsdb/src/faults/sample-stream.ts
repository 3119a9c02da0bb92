/**
 * The requests of a writer under test, a pure function of seed and first number: who checks knows what was sent.
 *
 * Request n has a sample of every series at n * STEP_MS, but some are held back and come with a later request, out of
 * order; some are sent twice, and some once more with another value. The last series are new ones every 25 requests.
 */

import type { Histogram } from "@torus/model";
import type { TestSeries } from "../head/test-requests.ts";

export const STEP_MS = 1000;
export const SERIES = 24;
const CHURNING = 4;
const CHURN_REQUESTS = 25;
/** By how many requests a sample is late at most. */
const MOST_LATE = 45;
/** What a value that contradicts the first one adds to it. */
export const CONTRADICTION = 0.5;

/** Numbers in [0, 1) from some integers: always the same from the same. */
export function seededFraction(...numbers: readonly number[]): number {
  let h = 0x9e3779b9;
  for (const n of numbers) {
    h = Math.imul(h ^ n, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return (h >>> 0) / 2 ** 32;
}

export function labelsOf(series: number, step: number): string[] {
  const job =
    series < SERIES - CHURNING ? `s${series}` : `s${series}-${Math.floor(step / CHURN_REQUESTS)}`;
  return ["__name__", "up", "job", job];
}

/** The series' number, or -1 when no sample of this step has such a job. */
export function seriesOf(job: string, step: number): number {
  const series = Number(/^s(\d+)(-\d+)?$/.exec(job)?.[1] ?? -1);
  return series >= 0 && series < SERIES && labelsOf(series, step)[3] === job ? series : -1;
}

export function valueOf(series: number, step: number): number {
  return series * 1000 + (step % 977);
}

export type SentSample = { series: number; step: number; contradicts: boolean };

function delayOf(seed: number, series: number, step: number): number {
  if (seededFraction(seed, series, step, 1) >= 0.08) return 0;
  return 1 + Math.floor(seededFraction(seed, series, step, 2) * MOST_LATE);
}

/** The requests of one writer, in their order. What an earlier one held back is never sent. */
export class SampleStream {
  readonly #seed: number;
  readonly #first: number;
  /** Held back, by the request that brings them. */
  readonly #due = new Map<number, SentSample[]>();
  #next: number;

  /** @param first Number of the first request. */
  constructor(seed: number, first: number) {
    this.#seed = seed;
    this.#first = first;
    this.#next = first;
  }

  /** Samples of the next request. */
  next(): SentSample[] {
    const seed = this.#seed;
    const n = this.#next++;
    const out = this.#due.get(n) ?? [];
    this.#due.delete(n);
    for (let series = 0; series < SERIES; series++) {
      const sample = { series, step: n, contradicts: false };
      const delay = delayOf(seed, series, n);
      if (delay === 0) out.push(sample);
      else {
        const due = this.#due.get(n + delay) ?? [];
        due.push(sample);
        this.#due.set(n + delay, due);
      }
      const again = n > this.#first && seededFraction(seed, series, n, 3) < 0.03;
      if (again && delayOf(seed, series, n - 1) === 0) {
        const contradicts = seededFraction(seed, series, n, 4) < 0.5;
        out.push({ series, step: n - 1, contradicts });
      }
    }
    return out;
  }
}

/** Two of the series are of native histograms, whose sums are the values; those that are late are refused. */
export const isHistogramSeries = (series: number): boolean => series % 10 === 9;

const bucketOf = (series: number, step: number, i: number): number =>
  Math.floor(seededFraction(series, step, i) * 40);

function histogramOf(series: number, step: number, sum: number): Histogram {
  const length = 1 + (step % 4);
  const positiveBuckets = Float64Array.from({ length }, (_, i) => bucketOf(series, step, i));
  return {
    isInteger: true,
    counterResetHint: "unknown",
    schema: 2,
    zeroThreshold: 0.001,
    zeroCount: step % 5,
    count: countOf(series, step),
    sum,
    sumIsStale: false,
    positiveSpans: [{ offset: 3, length }],
    negativeSpans: [],
    positiveBuckets,
    negativeBuckets: new Float64Array(0),
    customValues: new Float64Array(0),
  };
}

/** Observations in the histogram of a series and step. */
export function countOf(series: number, step: number): number {
  let count = step % 5;
  for (let i = 0; i <= step % 4; i++) count += bucketOf(series, step, i);
  return count;
}

export function requestOf(samples: readonly SentSample[]): TestSeries[] {
  return samples.map(({ series, step, contradicts }) => {
    const labels = labelsOf(series, step);
    const time = step * STEP_MS;
    const value = valueOf(series, step) + (contradicts ? CONTRADICTION : 0);
    return isHistogramSeries(series)
      ? { labels, samples: [], histograms: [[time, histogramOf(series, step, value)]] }
      : { labels, samples: [[time, value]] };
  });
}
