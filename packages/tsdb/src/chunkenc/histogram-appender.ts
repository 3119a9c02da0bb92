/**
 * Appends native histograms of one series: decides whether a sample fits into the chunk that is open, widens either to
 * the buckets of the other, and cuts chunks where a counter was reset (Prometheus, tsdb/docs/format/chunks.md; appending rules).
 */

import { CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import { HistogramChunkWriter, type HistogramEncoding, maxSamples } from "./histogram.ts";
import {
  bucketIndexes,
  sameBounds,
  sameSpans,
  uniteSpans,
  widenBuckets,
} from "./histogram-layout.ts";
import { CounterResetHeader, doubleOf, STALE_BITS } from "./samples.ts";
import { type HistogramLayout, type StoredHistogram, staleHistogram } from "./stored-histogram.ts";

type Sample = { time: bigint; startTime: bigint; histogram: StoredHistogram };

export type FinishedHistogramChunk = {
  minTime: bigint;
  maxTime: bigint;
  count: number;
  /** How often samples were written again with more buckets. */
  recodedTimes: number;
  data: Uint8Array;
};

export class HistogramAppender {
  readonly #encoding: HistogramEncoding;
  #samples: Sample[] = [];
  #writer: HistogramChunkWriter | null = null;
  #header: number = CounterResetHeader.UNKNOWN;
  #recodedTimes = 0;
  readonly #finished: FinishedHistogramChunk[] = [];

  constructor(encoding: HistogramEncoding) {
    this.#encoding = encoding;
  }

  /** Bytes of the chunk that is open. */
  get sizeBytes(): number {
    return this.#writer?.sizeBytes ?? 0;
  }

  get count(): number {
    return this.#samples.length;
  }

  /**
   * @param cut Begin a chunk here though the sample would fit into the one that is open.
   */
  append(time: bigint, startTime: bigint, given: StoredHistogram, cut = false): void {
    const histogram = given.sum === STALE_BITS ? staleHistogram(given.float) : given;
    const gauge = given.hint === "gauge";
    const last = this.#samples.at(-1);
    if (last === undefined) {
      this.#open(firstHeader(given), { time, startTime, histogram });
      return;
    }
    const fit = this.#fit(last.histogram, given, gauge);
    const layout = typeof fit === "number" ? null : fit;
    if (layout === null || cut || this.count >= maxSamples(this.#encoding)) {
      let header = typeof fit === "number" ? fit : CounterResetHeader.NOT_RESET;
      if (gauge) header = CounterResetHeader.GAUGE;
      this.#finish();
      this.#open(header, { time, startTime, histogram });
      return;
    }
    const chunkLayout = this.#layout();
    const widened = histogram.sum === STALE_BITS ? histogram : widen(histogram, layout);
    if (!sameBuckets(chunkLayout, layout)) {
      this.#recode(layout);
      this.#recodedTimes++;
    }
    this.#add({ time, startTime, histogram: widened });
  }

  /** Chunks finished and the open one, whose bytes are those so far. */
  chunks(): FinishedHistogramChunk[] {
    return this.#samples.length === 0 ? [...this.#finished] : [...this.#finished, this.#current()];
  }

  #layout(): HistogramLayout {
    return (this.#samples[0] as Sample).histogram.layout;
  }

  /** The layout for the chunk and the sample together, or the counter reset header of the chunk that is to begin. */
  #fit(last: StoredHistogram, next: StoredHistogram, gauge: boolean): HistogramLayout | number {
    const chunkIsGauge = this.#header === CounterResetHeader.GAUGE;
    const layout = this.#layout();
    if (gauge !== chunkIsGauge && next.sum !== STALE_BITS) return firstHeader(next);
    if (!gauge && next.hint === "reset") return CounterResetHeader.RESET;
    if (next.sum === STALE_BITS) return layout;
    // Behind a stale sample the chunk has no counts to compare with.
    if (last.sum === STALE_BITS) return CounterResetHeader.UNKNOWN;
    const { float } = next;
    if (!gauge && less(next.count, last.count, float)) return CounterResetHeader.RESET;
    const other = next.layout;
    if (other.schema !== layout.schema || other.zeroThreshold !== layout.zeroThreshold) {
      return CounterResetHeader.UNKNOWN;
    }
    if (
      other.schema === CUSTOM_BUCKETS_SCHEMA &&
      !sameBounds(other.customValues, layout.customValues)
    ) {
      return CounterResetHeader.RESET;
    }
    if (!gauge) {
      const shrinks =
        less(next.zeroCount, last.zeroCount, float) ||
        bucketsShrink(last, next, "positive") ||
        bucketsShrink(last, next, "negative");
      if (shrinks) return CounterResetHeader.RESET;
    }
    return {
      ...layout,
      positiveSpans: uniteSpans(layout.positiveSpans, other.positiveSpans),
      negativeSpans: uniteSpans(layout.negativeSpans, other.negativeSpans),
    };
  }

  #open(header: number, sample: Sample): void {
    this.#header = header;
    this.#samples = [];
    this.#recodedTimes = 0;
    this.#writer = new HistogramChunkWriter(this.#encoding, sample.histogram.layout);
    this.#add(sample);
  }

  #add(sample: Sample): void {
    this.#samples.push(sample);
    this.#writer?.append(sample.time, sample.startTime, sample.histogram);
  }

  #recode(layout: HistogramLayout): void {
    const samples = this.#samples;
    this.#samples = [];
    this.#writer = new HistogramChunkWriter(this.#encoding, layout);
    for (const { time, startTime, histogram } of samples) {
      const stale = histogram.sum === STALE_BITS;
      this.#add({ time, startTime, histogram: stale ? histogram : widen(histogram, layout) });
    }
  }

  #finish(): void {
    this.#finished.push(this.#current());
  }

  #current(): FinishedHistogramChunk {
    const first = this.#samples[0] as Sample;
    const last = this.#samples.at(-1) as Sample;
    return {
      minTime: first.time,
      maxTime: last.time,
      count: this.#samples.length,
      recodedTimes: this.#recodedTimes,
      data: (this.#writer as HistogramChunkWriter).bytes(this.#header),
    };
  }
}

/** The header of a chunk of which nothing came before. */
function firstHeader({ hint }: StoredHistogram): number {
  if (hint === "gauge") return CounterResetHeader.GAUGE;
  return hint === "reset" ? CounterResetHeader.RESET : CounterResetHeader.UNKNOWN;
}

function sameBuckets(a: HistogramLayout, b: HistogramLayout): boolean {
  return sameSpans(a.positiveSpans, b.positiveSpans) && sameSpans(a.negativeSpans, b.negativeSpans);
}

function widen(histogram: StoredHistogram, layout: HistogramLayout): StoredHistogram {
  const { float, positive, negative, layout: own } = histogram;
  return {
    ...histogram,
    layout,
    positive: widenBuckets(positive, own.positiveSpans, layout.positiveSpans, !float),
    negative: widenBuckets(negative, own.negativeSpans, layout.negativeSpans, !float),
  };
}

/** Whether the count `a` is less than `b`: whole numbers, or bits of doubles. */
function less(a: bigint, b: bigint, float: boolean): boolean {
  return float ? doubleOf(a) < doubleOf(b) : a < b;
}

/** Whether a bucket has less than before, one that is gone counting as empty. */
function bucketsShrink(
  last: StoredHistogram,
  next: StoredHistogram,
  side: "positive" | "negative",
): boolean {
  const counts = absoluteCounts(next, side);
  for (const [index, before] of absoluteCounts(last, side)) {
    if ((counts.get(index) ?? 0) < before) return true;
  }
  return false;
}

function absoluteCounts(
  { float, layout, positive, negative }: StoredHistogram,
  side: "positive" | "negative",
): Map<number, bigint | number> {
  const [spans, buckets] =
    side === "positive" ? [layout.positiveSpans, positive] : [layout.negativeSpans, negative];
  const out = new Map<number, bigint | number>();
  let sum = 0n;
  for (const [i, index] of bucketIndexes(spans).entries()) {
    const bucket = buckets[i] as bigint;
    sum += bucket;
    out.set(index, float ? doubleOf(BigInt.asUintN(64, bucket)) : sum);
  }
  return out;
}

/** The encoding for histograms of one kind. */
export function histogramEncoding(float: boolean, startTimes: boolean): HistogramEncoding {
  if (startTimes) return float ? 6 : 5;
  return float ? 3 : 2;
}
