/**
 * Late samples of an append, those inside the out-of-order window: judged against what is in memory, logged, kept.
 *
 * The rows come from `headPrepare`, after the other samples of its step are in their chunks:
 *
 *   row (24 bytes, little-endian)   u32 series, u32 table index, i64 t, u64 v
 */

import { SERIES_WORDS, SeriesWord, Verdict, xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import { encodeRecord, type RecordSample } from "../wlog/records.ts";
import { MAX_LATE_SAMPLES } from "./late-samples.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
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

/**
 * @param table Address of the request's table, whose VERDICT and REJECTED words are filled.
 * @throws {LogWriteError} no late sample of this step is stored.
 */
export function appendLate(state: HeadState, table: number, rows: number, log: RecordLog): void {
  const { kernel: k } = state;
  const area = appendAreas(k);
  const stored = new StoredValues(state);
  const accepted: RecordSample[] = [];
  const judged = new Map<string, bigint>();
  for (let i = 0; i < rows; i++) {
    const at = area.lateRows + i * LATE_ROW_BYTES;
    const series = k.view.getUint32(at, true);
    const index = k.view.getUint32(at + 4, true);
    const time = k.view.getBigInt64(at + 8, true);
    const value = k.view.getBigUint64(at + 16, true);
    const ref = state.refOf(series);
    const key = `${ref} ${time}`;
    const known =
      judged.get(key) ?? state.late.valueAt(ref, Number(time)) ?? stored.at(series, Number(time));
    let verdict: Verdict = Verdict.ACCEPTED;
    if (known !== undefined) verdict = known === value ? Verdict.DUPLICATE : Verdict.CONFLICT;
    else if (state.late.count + accepted.length >= MAX_LATE_SAMPLES) verdict = Verdict.OUT_OF_ORDER;
    else {
      judged.set(key, value);
      accepted.push({ ref, time, startTime: 0n, value });
    }
    const words = k.words;
    words[(area.counts >>> 2) + verdict] = (words[(area.counts >>> 2) + verdict] as number) + 1;
    const entry = (table >>> 2) + index * SERIES_WORDS;
    if (verdict > (words[entry + SeriesWord.VERDICT] as number)) {
      words[entry + SeriesWord.VERDICT] = verdict;
    }
    if (verdict > Verdict.DUPLICATE) {
      words[entry + SeriesWord.REJECTED] = (words[entry + SeriesWord.REJECTED] as number) + 1;
    }
  }
  const [first] = accepted;
  if (first === undefined) return;
  const base = { ref: first.ref, time: first.time };
  try {
    log.log([encodeRecord({ type: 2, base, samples: accepted })]);
  } catch (error) {
    throw new LogWriteError(error);
  }
  for (const { ref, time, value } of accepted) state.late.insert(ref, Number(time), value);
  state.lateAppended += accepted.length;
}

/** Values of samples in the head's chunks; the last chunk is kept decoded, as late samples come in runs. */
class StoredValues {
  readonly #state: HeadState;
  #chunkAt = 0;
  #count = 0;
  #times = new Float64Array(512);
  #values = new Float64Array(512);
  #bits = new BigUint64Array(this.#values.buffer);

  constructor(state: HeadState) {
    this.#state = state;
  }

  at(series: number, time: number): bigint | undefined {
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
    if (chunk.encoding !== ChunkEncoding.XOR) return this.#isHistogram(chunk, time);
    if (chunk.at !== this.#chunkAt) {
      this.#chunkAt = chunk.at;
      this.#count = xorDecodeChunk(copyChunk(k, chunk), this.#times, this.#values);
    }
    const i = this.#times.subarray(0, this.#count).indexOf(time);
    return i < 0 ? undefined : this.#bits[i];
  }

  /** A histogram of the time is no float's equal: a value that none has. */
  #isHistogram(chunk: MemoryChunk, time: number): bigint | undefined {
    const { times } = decodeSamples({
      encoding: chunk.encoding,
      data: copyChunk(this.#state.kernel, chunk),
    });
    return times.includes(BigInt(time)) ? -1n : undefined;
  }
}
