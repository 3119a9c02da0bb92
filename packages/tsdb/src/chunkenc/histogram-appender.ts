/**
 * Appends native histograms of one series: decides whether a sample fits into the chunk that is open, widens either to
 * the buckets of the other, and cuts chunks where a counter was reset (Prometheus, tsdb/docs/format/chunks.md; appending rules).
 */

import { CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import {
  decodeHistograms,
  HistogramChunkWriter,
  type HistogramEncoding,
  maxSamples,
} from "./histogram.ts";
import {
  bucketIndexes,
  sameBounds,
  sameSpans,
  uniteSpans,
  widenBuckets,
} from "./histogram-layout.ts";
import { CounterResetHeader, doubleOf, STALE_BITS } from "./samples.ts";
import {
  EMPTY_LAYOUT,
  type HistogramLayout,
  type StoredHistogram,
  staleHistogram,
} from "./stored-histogram.ts";

export type FinishedHistogramChunk = {
  minTime: bigint;
  maxTime: bigint;
  count: number;
  /** How often samples were written again with more buckets. */
  recodedTimes: number;
  data: Uint8Array;
};

/** A chunk as it is at one moment, whatever is appended to it later. */
export type HistogramChunkMark = {
  writer: HistogramChunkWriter;
  header: number;
  count: number;
  minTime: bigint;
  maxTime: bigint;
};

export class HistogramAppender {
  readonly encoding: HistogramEncoding;
  /** Of the open chunk; null when none is open. */
  #writer: HistogramChunkWriter | null = null;
  /** What follows is of the open chunk, or of the last one. */
  #layout: HistogramLayout = EMPTY_LAYOUT;
  #header: number = CounterResetHeader.UNKNOWN;
  #minTime = 0n;
  #maxTime = 0n;
  #last: StoredHistogram | null = null;
  #recodedTimes = 0;
  #finished: FinishedHistogramChunk[] = [];

  constructor(encoding: HistogramEncoding) {
    this.encoding = encoding;
  }

  /** Bytes of the chunk that is open. */
  get sizeBytes(): number {
    return this.#writer?.sizeBytes ?? 0;
  }

  /** Samples of the chunk that is open. */
  get count(): number {
    return this.#writer?.count ?? 0;
  }

  /** Time of the open chunk's first sample. */
  get minTime(): bigint {
    return this.#minTime;
  }

  /** Of the last sample. */
  get maxTime(): bigint {
    return this.#maxTime;
  }

  /**
   * @param cut Begin a chunk here though the sample would fit into the one that is open.
   */
  append(time: bigint, startTime: bigint, given: StoredHistogram, cut = false): void {
    const histogram = given.sum === STALE_BITS ? staleHistogram(given.float) : given;
    const gauge = given.hint === "gauge";
    const last = this.#last;
    if (last === null) {
      this.#open(firstHeader(given), time, startTime, histogram);
      return;
    }
    const fit = this.#fit(last, given, gauge);
    const layout = typeof fit === "number" ? null : fit;
    const full = cut || this.#writer === null || this.count >= maxSamples(this.encoding);
    if (layout === null || full) {
      let header = typeof fit === "number" ? fit : CounterResetHeader.NOT_RESET;
      if (gauge) header = CounterResetHeader.GAUGE;
      this.finish();
      this.#open(header, time, startTime, histogram);
      return;
    }
    const widened = histogram.sum === STALE_BITS ? histogram : widen(histogram, layout);
    if (!sameBuckets(this.#layout, layout)) {
      this.#recode(layout);
      this.#recodedTimes++;
    }
    this.#add(time, startTime, widened);
  }

  /** Chunks finished and the open one, whose bytes are those so far. */
  chunks(): FinishedHistogramChunk[] {
    return this.#writer === null ? [...this.#finished] : [...this.#finished, this.#current()];
  }

  /** Ends the open chunk; the next sample begins another, whose header says what became of the counts. */
  finish(): void {
    if (this.#writer === null) return;
    this.#finished.push(this.#current());
    this.#writer = null;
  }

  /** The finished chunks, which are the caller's from here on. */
  takeFinished(): FinishedHistogramChunk[] {
    if (this.#finished.length === 0) return this.#finished;
    const finished = this.#finished;
    this.#finished = [];
    return finished;
  }

  /** The open chunk up to now; null when none is open. */
  mark(): HistogramChunkMark | null {
    const writer = this.#writer;
    if (writer === null) return null;
    const { count } = writer;
    return { writer, count, header: this.#header, minTime: this.#minTime, maxTime: this.#maxTime };
  }

  /** The layout for the chunk and the sample together, or the counter reset header of the chunk that is to begin. */
  #fit(last: StoredHistogram, next: StoredHistogram, gauge: boolean): HistogramLayout | number {
    const chunkIsGauge = this.#header === CounterResetHeader.GAUGE;
    const layout = this.#layout;
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

  #open(header: number, time: bigint, startTime: bigint, histogram: StoredHistogram): void {
    this.#header = header;
    this.#recodedTimes = 0;
    this.#layout = histogram.layout;
    this.#minTime = time;
    this.#writer = new HistogramChunkWriter(this.encoding, histogram.layout);
    this.#add(time, startTime, histogram);
  }

  #add(time: bigint, startTime: bigint, histogram: StoredHistogram): void {
    this.#writer?.append(time, startTime, histogram);
    this.#maxTime = time;
    this.#last = histogram;
  }

  /** Writes the samples of the open chunk again. They are read back from it: kept besides, they would take ten times its memory. */
  #recode(layout: HistogramLayout): void {
    const writer = this.#writer as HistogramChunkWriter;
    const samples = decodeHistograms(writer.bytes(this.#header), this.encoding);
    this.#layout = layout;
    this.#writer = new HistogramChunkWriter(this.encoding, layout);
    for (const [i, histogram] of (samples.histograms ?? []).entries()) {
      const stale = histogram.sum === STALE_BITS;
      const startTime = samples.startTimes?.[i] ?? 0n;
      const widened = stale ? histogram : widen(histogram, layout);
      this.#writer.append(samples.times[i] as bigint, startTime, widened);
    }
  }

  #current(): FinishedHistogramChunk {
    const writer = this.#writer as HistogramChunkWriter;
    return {
      minTime: this.#minTime,
      maxTime: this.#maxTime,
      count: writer.count,
      recodedTimes: this.#recodedTimes,
      data: writer.bytes(this.#header),
    };
  }
}

/** The bytes of the chunk as it was at the mark. */
export function markedChunk({ writer, header, count }: HistogramChunkMark): Uint8Array {
  const data = writer.bytes(header);
  // A reader decodes as many samples as the count says; bits behind them are another append's.
  // The encodings with start timestamps have the counter reset header in the count's top bits.
  const top = writer.hasStartTimes ? (data[0] as number) & 0xc0 : 0;
  data[0] = top | (count >>> 8);
  data[1] = count & 0xff;
  return data;
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
