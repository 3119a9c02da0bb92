/**
 * Native histograms of a head: for each series whose last sample is one, the chunk that is open and that sample. Plain
 * objects, since such series are few beside the others; closed chunks lie in the kernels' memory among those of floats.
 *
 * A series is in here as long as its HISTOGRAM flag is set. How chunks are cut is as in Prometheus: at the border of
 * the chunk range, otherwise near 1,024 bytes, with at least ten samples each.
 */

import type { Kernel } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import type { HistogramEncoding } from "../chunkenc/histogram.ts";
import {
  HistogramAppender,
  type HistogramChunkMark,
  histogramEncoding,
} from "../chunkenc/histogram-appender.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import { noteHistogram, setHistogramFlag } from "./series-memory.ts";

const TARGET_BYTES = 1024;
const LEAST_SAMPLES = 10;

type OpenHistogram = {
  appender: HistogramAppender;
  /** The last sample as it came. */
  last: StoredHistogram;
  /** Where the open chunk is to end, and the end of its range. */
  nextAt: number;
  rangeEnd: number;
  isEndComputed: boolean;
};

export class OpenHistograms {
  readonly #kernel: Kernel;
  readonly #chunkRangeMs: number;
  readonly #bySeries = new Map<number, OpenHistogram>();

  constructor(kernel: Kernel, chunkRangeMs: number) {
    this.#kernel = kernel;
    this.#chunkRangeMs = chunkRangeMs;
  }

  get size(): number {
    return this.#bySeries.size;
  }

  /** The series' last sample when it is a histogram. */
  last(series: number): StoredHistogram | undefined {
    return this.#bySeries.get(series)?.last;
  }

  /** Appends a sample that is newer than the series' last, and judged. @param startTime 0 for none. */
  append(series: number, time: number, histogram: StoredHistogram, startTime: number): void {
    const k = this.#kernel;
    let open = this.#bySeries.get(series);
    // A chunk that has room for start timestamps keeps it: one that is missing now and then begins no chunk.
    const isStarted = startTime !== 0 || (open !== undefined && hasStartTimes(open.appender));
    const encoding = histogramEncoding(histogram.float, isStarted);
    if (open === undefined || open.appender.encoding !== encoding) {
      if (open === undefined) k.exports.seriesCloseChunk(series);
      else this.#close(series, open);
      open = this.#begin(series, encoding, histogram);
    }
    const cut = open.appender.count > 0 && isFull(open, time);
    const before = open.appender.minTime;
    const wasEmpty = open.appender.count === 0;
    open.appender.append(BigInt(time), BigInt(startTime), histogram, cut);
    if (wasEmpty || open.appender.minTime !== before) {
      const range = this.#chunkRangeMs;
      open.rangeEnd = Math.floor(time / range) * range + range;
      open.nextAt = open.rangeEnd;
      open.isEndComputed = false;
    }
    open.last = histogram;
    this.#push(series, open);
    noteHistogram(k, series, time);
  }

  /** A float follows: the series is no longer one of histograms. */
  end(series: number): void {
    const open = this.#bySeries.get(series);
    if (open !== undefined) {
      this.#close(series, open);
      this.#bySeries.delete(series);
    }
    setHistogramFlag(this.#kernel, series, false);
  }

  /** Sets the flag to what is so, after entries were deferred. */
  settle(series: number): void {
    setHistogramFlag(this.#kernel, series, this.#bySeries.has(series));
  }

  /** Closes the open chunk when it begins before `end`. */
  closeBefore(series: number, end: number): void {
    const open = this.#bySeries.get(series);
    if (open === undefined || open.appender.count === 0) return;
    if (Number(open.appender.minTime) < end) this.#close(series, open);
  }

  /** Drops the open chunk when it ends before `mint`; true when none is open afterwards. */
  truncate(series: number, mint: number): boolean {
    const open = this.#bySeries.get(series);
    if (open === undefined || open.appender.count === 0) return true;
    if (Number(open.appender.maxTime) >= mint) return false;
    open.appender.finish();
    open.appender.takeFinished();
    return true;
  }

  /** Time of the open chunk's first sample; Infinity when none is open. */
  openStart(series: number): number {
    const open = this.#bySeries.get(series);
    if (open === undefined || open.appender.count === 0) return Number.POSITIVE_INFINITY;
    return Number(open.appender.minTime);
  }

  mark(series: number): (HistogramChunkMark & { encoding: HistogramEncoding }) | null {
    const open = this.#bySeries.get(series);
    const mark = open?.appender.mark() ?? null;
    return mark === null || open === undefined
      ? null
      : { ...mark, encoding: open.appender.encoding };
  }

  /** The series is gone. */
  forget(series: number): void {
    this.#bySeries.delete(series);
  }

  #begin(series: number, encoding: HistogramEncoding, first: StoredHistogram): OpenHistogram {
    const open: OpenHistogram = {
      appender: new HistogramAppender(encoding),
      last: first,
      nextAt: 0,
      rangeEnd: 0,
      isEndComputed: false,
    };
    this.#bySeries.set(series, open);
    return open;
  }

  #close(series: number, open: OpenHistogram): void {
    open.appender.finish();
    this.#push(series, open);
  }

  #push(series: number, { appender }: OpenHistogram): void {
    const k = this.#kernel;
    for (const { data, count, minTime, maxTime } of appender.takeFinished()) {
      const at =
        k.exports.seriesPushChunk(
          series,
          appender.encoding,
          count,
          Number(minTime),
          Number(maxTime),
          data.length,
        ) >>> 0;
      k.bytes.set(data, at);
    }
  }
}

function hasStartTimes({ encoding }: HistogramAppender): boolean {
  return encoding === ChunkEncoding.HISTOGRAM_ST || encoding === ChunkEncoding.FLOAT_HISTOGRAM_ST;
}

function isFull(open: OpenHistogram, time: number): boolean {
  const { appender, rangeEnd } = open;
  const { sizeBytes, count } = appender;
  if (!open.isEndComputed && sizeBytes >= TARGET_BYTES / 4) {
    const first = Number(appender.minTime);
    const taken = Number(appender.maxTime) - first + 1;
    const n = (open.nextAt - first) / ((taken * TARGET_BYTES) / sizeBytes);
    if (n > 1) open.nextAt = Math.trunc(first + (open.nextAt - first) / Math.floor(n));
    open.isEndComputed = true;
  }
  if (time < open.nextAt && sizeBytes < TARGET_BYTES * 2) return false;
  return count >= LEAST_SAMPLES || time >= rangeEnd;
}
