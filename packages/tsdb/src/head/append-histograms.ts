/**
 * Entries of a request that the kernel leaves alone: those with native histograms, and those of series whose last
 * sample is one. Judged in the order of the request before the log is written, appended after it; in between nothing
 * in memory changes, so a failed write leaves nothing to take back.
 *
 *   deferred row (12 bytes, little-endian)   u32 table index, u32 series or 0, u32 verdict when 0
 */

import { SERIES_WORDS, SeriesWord, VERDICTS, Verdict } from "@torus/kernels";
import { inKnownSchema } from "../chunkenc/reduce-schema.ts";
import { STALE_BITS } from "../chunkenc/samples.ts";
import { type StoredHistogram, staleHistogram } from "../chunkenc/stored-histogram.ts";
import { encodeRecord } from "../wlog/records.ts";
import type { LateSample } from "./append-late.ts";
import { histogramError } from "./histogram-check.ts";
import { sameHistogram } from "./same-histogram.ts";
import { type LoggedSample, type SampleValue, sampleRecords } from "./sample-records.ts";
import { hasSample, lastBits, lastTime } from "./series-memory.ts";
import { knownStart } from "./start-runs.ts";
import { appendAreas, DEFERRED_ROW_BYTES, type HeadState } from "./state.ts";
import { readWireSamples, type WireHistogram } from "./wire-samples.ts";

export type JudgedSample = LoggedSample & { series: number };

export type Bounds = {
  /** Times in ms; samples before the first are late, and refused before the third. */
  minValid: number;
  maxValid: number;
  lateFrom: number;
};

export type HistogramCounts = {
  /** Histograms by `Verdict`; floats are counted with the others. */
  byVerdict: Uint32Array;
  /** What is wrong with the first invalid one; "" when none is. */
  invalid: string;
};

export function newHistogramCounts(): HistogramCounts {
  return { byVerdict: new Uint32Array(VERDICTS), invalid: "" };
}

/** What one step's deferred entries come to. */
export class DeferredEntries {
  readonly accepted: JudgedSample[] = [];
  readonly late: LateSample[] = [];
  readonly #state: HeadState;
  readonly #counts: HistogramCounts;
  readonly #table: number;
  /** Series of the rows. */
  readonly #series = new Set<number>();
  /** The last sample of each series, were the accepted ones appended. */
  readonly #last = new Map<number, { time: number; value: SampleValue }>();

  constructor(state: HeadState, table: number, counts: HistogramCounts) {
    this.#state = state;
    this.#table = table;
    this.#counts = counts;
  }

  /** Judges all samples of `rows` deferred entries and fills the VERDICT and REJECTED words of the request's table. */
  judge(detail: number, rows: number, bounds: Bounds): void {
    const { kernel: k } = this.#state;
    const area = appendAreas(k);
    for (let i = 0; i < rows; i++) {
      const at = (area.deferred + i * DEFERRED_ROW_BYTES) >>> 2;
      const index = k.words[at] as number;
      const series = k.words[at + 1] as number;
      const verdict = k.words[at + 2] as Verdict;
      const more = (detail >>> 2) + index * 4;
      const start = k.words[more] as number;
      const { floats, histograms } = readWireSamples(k.bytes, start, k.words[more + 3] as number);
      if (series === 0) {
        for (const _ of floats) this.#count(index, verdict, false);
        for (const _ of histograms) this.#count(index, verdict, true);
        continue;
      }
      this.#series.add(series);
      for (const { time, startTime, value } of floats) {
        const start = this.#kept(startTime);
        this.#count(index, this.#judge(series, index, time, start, value, bounds), false);
      }
      for (const sample of histograms) {
        this.#count(index, this.#judgeHistogram(series, index, sample, bounds), true);
      }
    }
  }

  /** The log's records of the accepted samples. */
  records(): Uint8Array[] {
    return this.accepted.length === 0 ? [] : sampleRecords(this.accepted).map(encodeRecord);
  }

  /** Appends the accepted samples; those of the kernel's rows are in their chunks. */
  commit(): void {
    const state = this.#state;
    const { histograms, kernel: k } = state;
    for (const { series, time, startTime, value } of this.accepted) {
      if (typeof value !== "bigint") histograms.append(series, time, value, startTime);
      else {
        histograms.end(series);
        state.starts?.note(series, time, startTime);
        const low = Number(value & 0xffffffffn);
        k.exports.headAppendOne(state.address, series, time, low, Number(value >> 32n));
      }
      state.noteTimes(time, time);
    }
    this.settle();
  }

  /** Takes the marks of the prepare back from the series. */
  settle(): void {
    for (const series of this.#series) this.#state.histograms.settle(series);
  }

  #judgeHistogram(
    series: number,
    index: number,
    { time, startTime, histogram: given, malformed }: WireHistogram,
    bounds: Bounds,
  ): Verdict | null {
    const histogram = malformed ? given : inCoarserSchema(given);
    const wrong = malformed ? "histogram is no valid message" : histogramError(histogram);
    if (wrong !== null) {
      this.#counts.invalid ||= wrong;
      return Verdict.INVALID_HISTOGRAM;
    }
    return this.#judge(series, index, time, this.#kept(startTime), histogram, bounds);
  }

  #kept(startTime: number): number {
    return this.#state.starts === null ? 0 : knownStart(startTime);
  }

  /** Null for a late sample inside the window. */
  #judge(
    series: number,
    index: number,
    time: number,
    startTime: number,
    given: SampleValue,
    bounds: Bounds,
  ): Verdict | null {
    const { minValid, maxValid, lateFrom } = bounds;
    if (time > maxValid) return Verdict.TOO_FAR_IN_FUTURE;
    const last = this.#lastOf(series);
    let value = given;
    // What ends a series of histograms is one: Prometheus' scrapes mark the end with a float.
    if (given === STALE_BITS && last !== null && typeof last.value !== "bigint") {
      value = staleHistogram(last.value.float);
    }
    let late = time < minValid;
    if (last !== null && time <= last.time) {
      if (time === last.time) {
        return sameValue(last.value, value) ? Verdict.DUPLICATE : Verdict.CONFLICT;
      }
      late = true;
    }
    if (!late) {
      const ref = this.#state.refOf(series);
      this.accepted.push({ series, ref, time, startTime, value });
      this.#last.set(series, { time, value });
      return Verdict.ACCEPTED;
    }
    if (time < lateFrom) return time < minValid ? Verdict.TOO_OLD : Verdict.OUT_OF_ORDER;
    this.late.push({ series, index, time, startTime, value });
    return null;
  }

  #lastOf(series: number): { time: number; value: SampleValue } | null {
    const judged = this.#last.get(series);
    if (judged !== undefined) return judged;
    const { kernel: k, histograms } = this.#state;
    if (!hasSample(k, series)) return null;
    return { time: lastTime(k, series), value: histograms.last(series) ?? lastBits(k, series) };
  }

  #count(index: number, verdict: Verdict | null, isHistogram: boolean): void {
    if (verdict === null) return;
    const { words } = this.#state.kernel;
    if (isHistogram) {
      this.#counts.byVerdict[verdict] = (this.#counts.byVerdict[verdict] as number) + 1;
    } else {
      const at = (appendAreas(this.#state.kernel).counts >>> 2) + verdict;
      words[at] = (words[at] as number) + 1;
    }
    const entry = (this.#table >>> 2) + index * SERIES_WORDS;
    if (verdict > (words[entry + SeriesWord.VERDICT] as number)) {
      words[entry + SeriesWord.VERDICT] = verdict;
    }
    if (verdict > Verdict.DUPLICATE) {
      words[entry + SeriesWord.REJECTED] = (words[entry + SeriesWord.REJECTED] as number) + 1;
    }
  }
}

function sameValue(a: SampleValue, b: SampleValue): boolean {
  if (typeof a === "bigint" || typeof b === "bigint") return a === b;
  return sameHistogram(a, b);
}

/** A schema that is finer than any we keep, as newer programs have: its buckets are joined. */
function inCoarserSchema(histogram: StoredHistogram): StoredHistogram {
  const { schema } = histogram.layout;
  return schema > 8 && histogram.sum !== STALE_BITS
    ? (inKnownSchema(histogram) ?? histogram)
    : histogram;
}
