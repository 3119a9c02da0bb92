/**
 * Late samples of an append, those inside the out-of-order window: judged against what is in memory, logged, kept.
 *
 * They come after the other samples of their step are in their chunks: floats most often as rows of `headPrepare`,
 * native histograms and floats of their series from the entries that the kernel left alone.
 *
 *   row (24 bytes, little-endian)   u32 series, u32 table index, i64 t, u64 v
 */

import { SERIES_WORDS, SeriesWord, VERDICTS, Verdict, xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import { encodeRecord } from "../wlog/records.ts";
import { roomOf } from "./late-columns.ts";
import { MAX_LATE_ROOM } from "./late-samples.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
import { sameSample } from "./same-histogram.ts";
import { type LoggedSample, type SampleValue, sampleRecords } from "./sample-records.ts";
import {
  chunksAt,
  copyChunk,
  hasSample,
  lastTime,
  type MemoryChunk,
  newestClosedFrom,
  openSamples,
} from "./series-memory.ts";
import { appendAreas, type HeadState, LATE_ROW_BYTES } from "./state.ts";

/** `series` is an address, `index` of the request's table; times in ms, `startTime` 0 where there is none. */
export type LateSample = {
  series: number;
  index: number;
  time: number;
  startTime: number;
  value: SampleValue;
};

/** `appendLate` of rows that the kernel left. */
export function appendLateRows(
  state: HeadState,
  table: number,
  rows: number,
  log: RecordLog,
): void {
  const { view } = state.kernel;
  const { lateRows } = appendAreas(state.kernel);
  const starts = state.starts?.lateRows() ?? null;
  const samples = Array.from({ length: rows }, (_, i) => {
    const at = lateRows + i * LATE_ROW_BYTES;
    return {
      series: view.getUint32(at, true),
      index: view.getUint32(at + 4, true),
      time: Number(view.getBigInt64(at + 8, true)),
      startTime: starts?.get(i) ?? 0,
      value: view.getBigUint64(at + 16, true),
    };
  });
  appendLate(state, table, samples, new Uint32Array(VERDICTS), log);
}

/**
 * @param table Address of the request's table, whose VERDICT and REJECTED words are filled.
 * @param histograms Counts of histograms by `Verdict`, added to; floats are counted with the others of the step.
 * @throws {LogWriteError} no late sample of this step is stored.
 */
export function appendLate(
  state: HeadState,
  table: number,
  samples: readonly LateSample[],
  histograms: Uint32Array,
  log: RecordLog,
): void {
  const { words } = state.kernel;
  const counts = appendAreas(state.kernel).counts >>> 2;
  const stored = new StoredValues(state);
  const accepted: LoggedSample[] = [];
  const judged = new Map<string, SampleValue>();
  let room = state.late.room;
  for (const { series, index, time, startTime, value } of samples) {
    const ref = state.refOf(series);
    const key = `${ref} ${time}`;
    const known = judged.get(key) ?? state.late.valueAt(ref, time) ?? stored.at(series, time);
    let verdict: Verdict = Verdict.ACCEPTED;
    if (known !== undefined) {
      verdict = sameSample(known, value) ? Verdict.DUPLICATE : Verdict.CONFLICT;
    } else if (room + roomOf(value) > MAX_LATE_ROOM) verdict = Verdict.OUT_OF_ORDER;
    else {
      judged.set(key, value);
      accepted.push({ ref, time, startTime, value });
      room += roomOf(value);
    }
    if (typeof value === "bigint")
      words[counts + verdict] = (words[counts + verdict] as number) + 1;
    else histograms[verdict] = (histograms[verdict] as number) + 1;
    const entry = (table >>> 2) + index * SERIES_WORDS;
    if (verdict > (words[entry + SeriesWord.VERDICT] as number)) {
      words[entry + SeriesWord.VERDICT] = verdict;
    }
    if (verdict > Verdict.DUPLICATE) {
      words[entry + SeriesWord.REJECTED] = (words[entry + SeriesWord.REJECTED] as number) + 1;
    }
  }
  if (accepted.length === 0) return;
  try {
    log.log(sampleRecords(accepted).map(encodeRecord));
  } catch (error) {
    throw new LogWriteError(error);
  }
  for (const { ref, time, startTime, value } of accepted) {
    state.late.insert(ref, time, startTime, value);
    if (typeof value === "bigint") state.lateAppended++;
    else state.lateHistogramsAppended++;
  }
}

/** Values of samples in the head's chunks; the last chunk is kept decoded, as late samples come in runs. */
class StoredValues {
  readonly #state: HeadState;
  #chunkAt = 0;
  #count = 0;
  #times = new Float64Array(512);
  #values = new Float64Array(512);
  #bits = new BigUint64Array(this.#values.buffer);
  #histograms: { series: number; minTime: number; samples: StoredSamples } | null = null;

  constructor(state: HeadState) {
    this.#state = state;
  }

  at(series: number, time: number): SampleValue | undefined {
    const { kernel: k, readFloor: floor } = this.#state;
    if (!hasSample(k, series)) return undefined;
    const mark = {
      newestClosed: newestClosedFrom(k, series, floor),
      openSamples: openSamples(k, series),
      lastTime: lastTime(k, series),
      histogram: this.#state.histograms.mark(series),
    };
    const chunk = chunksAt(k, series, mark, floor).find(
      ({ minTime, maxTime }) => minTime <= time && time <= maxTime,
    );
    if (chunk === undefined) return undefined;
    if (chunk.encoding !== ChunkEncoding.XOR) return this.#histogram(series, chunk, time);
    if (chunk.at !== this.#chunkAt) {
      this.#chunkAt = chunk.at;
      this.#count = xorDecodeChunk(copyChunk(k, chunk), this.#times, this.#values);
    }
    const i = this.#times.subarray(0, this.#count).indexOf(time);
    return i < 0 ? undefined : this.#bits[i];
  }

  #histogram(series: number, chunk: MemoryChunk, time: number): SampleValue | undefined {
    const { encoding, minTime } = chunk;
    let last = this.#histograms;
    if (last?.series !== series || last.minTime !== minTime) {
      const data = copyChunk(this.#state.kernel, chunk);
      last = { series, minTime, samples: decodeSamples({ encoding, data }) };
      this.#histograms = last;
    }
    return last.samples.histograms?.[last.samples.times.indexOf(BigInt(time))];
  }
}
