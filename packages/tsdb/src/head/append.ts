/**
 * Appending a walked remote write request: verdicts, log, chunks, in that order.
 *
 * The kernel judges every float and writes the samples record; entries with native histograms are judged here
 * (append-histograms.ts). The log takes all records of a step in one write; only then do samples enter the chunks. When the write fails, the judged samples are taken back, so memory holds
 * what a replay of the log would give. New series stay, empty; their record goes with the next write.
 */

import { VERDICTS, Verdict, type WriteRequestBuffer } from "@torus/kernels";
import { appendExemplars, type ExemplarCounts } from "./append-exemplars.ts";
import { DeferredEntries, type HistogramCounts, newHistogramCounts } from "./append-histograms.ts";
import { appendLate, appendLateRows } from "./append-late.ts";
import { holdBack } from "./metric-limit.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
import { beginStarts } from "./start-runs.ts";
import { appendAreas, HeadMemoryError, type HeadState } from "./state.ts";
import { ROW_CAPACITY } from "./step-size.ts";

export type AppendCounts = {
  /** Float samples by `Verdict`. */
  byVerdict: Uint32Array;
  newSeries: number;
  histograms: HistogramCounts;
  exemplars: ExemplarCounts;
};

/** Read at every request: window and limit may change. */
type AppenderOptions = {
  readonly outOfOrderWindowMs: number;
  /** 0 for no limit. */
  readonly seriesPerMetric: number;
  readonly now: () => number;
};

export const FUTURE_LIMIT_MS = 10 * 60_000;
/** Memory that one step may need at most: every row a new slot, every new series its labels. */
export const STEP_BYTES = 96 << 20;
export const FAR = 2 ** 53;

export class Appender {
  readonly #state: HeadState;
  readonly #log: RecordLog;
  readonly #lateLog: RecordLog;
  readonly #options: AppenderOptions;
  /** Series records that a failed write left behind. */
  readonly #unlogged: Uint8Array[] = [];

  constructor(state: HeadState, log: RecordLog, lateLog: RecordLog, options: AppenderOptions) {
    this.#state = state;
    this.#log = log;
    this.#lateLog = lateLog;
    this.#options = options;
  }

  /**
   * Appends the samples of all entries of the request's table, or of those in `chosen`, floats and native histograms,
   * and fills their VERDICT and REJECTED words. A sample that is refused refuses nothing else.
   *
   * @throws {LogWriteError} nothing of the current step is stored; steps are of 16,384 samples.
   * @throws {HeadMemoryError} nothing is stored.
   */
  append(request: WriteRequestBuffer, chosen: Uint32Array | null): AppendCounts {
    const { seriesPerMetric } = this.#options;
    if (seriesPerMetric === 0) return this.#append(request, chosen);
    const held = holdBack(this.#state, request, chosen, seriesPerMetric);
    const counts = this.#append(request, held.chosen);
    counts.byVerdict[Verdict.SERIES_LIMIT] =
      (counts.byVerdict[Verdict.SERIES_LIMIT] as number) + held.floats;
    counts.histograms.byVerdict[Verdict.SERIES_LIMIT] =
      (counts.histograms.byVerdict[Verdict.SERIES_LIMIT] as number) + held.histograms;
    return counts;
  }

  #append(request: WriteRequestBuffer, chosen: Uint32Array | null): AppendCounts {
    const state = this.#state;
    const k = state.kernel;
    const area = appendAreas(k);
    const bytesFree = k.exports.arenaBytesFree();
    if (bytesFree < STEP_BYTES) throw new HeadMemoryError(bytesFree);
    const entries = chosen === null ? request.count : chosen.length;
    const chosenBytes = Math.max(entries * 4, 16);
    const chosenAt = chosen === null ? 0 : k.alloc(chosenBytes);
    if (chosen !== null) k.words.set(chosen, chosenAt >>> 2);
    k.words.fill(0, area.counts >>> 2, (area.counts >>> 2) + VERDICTS);
    const created = state.seriesCreated;
    const histograms = newHistogramCounts();
    try {
      this.#steps(request, chosenAt, entries, histograms);
    } finally {
      if (chosen !== null) k.free(chosenAt, chosenBytes);
    }
    const counts: AppendCounts = {
      byVerdict: k.words.slice(area.counts >>> 2, (area.counts >>> 2) + VERDICTS),
      newSeries: state.seriesCreated - created,
      histograms,
      exemplars: appendExemplars(state, this.#log, request, chosen),
    };
    state.noteJudged(counts.byVerdict, histograms.byVerdict);
    return counts;
  }

  #steps(
    request: WriteRequestBuffer,
    chosenAt: number,
    entries: number,
    counts: HistogramCounts,
  ): void {
    const state = this.#state;
    const { exports } = state.kernel;
    const area = appendAreas(state.kernel);
    const { outOfOrderWindowMs: windowMs, now } = this.#options;
    const maxValid = now() + FUTURE_LIMIT_MS;
    const table = request.tableAddress;
    const detail = request.detailAddress;
    const newest =
      state.maxTime === Number.NEGATIVE_INFINITY
        ? exports.firstSampleTime(table, detail, chosenAt, entries, maxValid)
        : state.maxTime;
    const minValid = Math.max(state.minValidTime, newest - state.chunkRangeMs / 2);
    const earliest = Number.isNaN(minValid) ? -FAR : Math.max(minValid, -FAR);
    const lateFrom = windowMs > 0 && !Number.isNaN(newest) ? newest - windowMs : FAR;
    let from = 0;
    let resume = 0;
    while (from < entries) {
      beginStarts(state);
      const rows = exports.headPrepare(
        state.address,
        table,
        detail,
        chosenAt,
        from,
        entries,
        earliest,
        maxValid,
        area.rows,
        ROW_CAPACITY,
        area.record,
        area.list,
        area.listBytes,
        area.seriesRecord,
        area.labels,
        area.counts,
        resume,
        lateFrom,
        area.lateRows,
        area.deferred,
      );
      from = exports.preparedEntries();
      resume = 1;
      state.indexNew(area.list, exports.newListEnd() >>> 0);
      const deferredRows = exports.preparedDeferred();
      let deferred: DeferredEntries | null = null;
      if (deferredRows > 0) {
        deferred = new DeferredEntries(state, table, counts);
        deferred.judge(detail, deferredRows, { minValid: earliest, maxValid, lateFrom });
      }
      this.#write(rows, deferred);
      exports.headCommit(state.address, area.rows, rows);
      state.starts?.noteListed();
      if (rows > 0) state.noteTimes(exports.preparedMinTime(), exports.preparedMaxTime());
      deferred?.commit();
      const lateRows = exports.preparedLateRows();
      if (lateRows > 0) appendLateRows(state, table, lateRows, this.#lateLog);
      if (deferred !== null) {
        appendLate(state, table, deferred.late, counts.byVerdict, this.#lateLog);
      }
    }
  }

  #write(rows: number, deferred: DeferredEntries | null): void {
    const { kernel: k } = this.#state;
    const area = appendAreas(k);
    const records = this.#unlogged.slice();
    const seriesEnd = k.exports.seriesRecordEnd() >>> 0;
    const hasSeries = seriesEnd > area.seriesRecord + 1;
    if (hasSeries) records.push(k.bytes.subarray(area.seriesRecord, seriesEnd));
    if (rows > 0) {
      const plain = k.bytes.subarray(area.record, k.exports.preparedRecordEnd() >>> 0);
      records.push(this.#state.starts?.record(area.rows, rows) ?? plain);
    }
    if (deferred !== null) records.push(...deferred.records());
    if (records.length === 0) return;
    try {
      this.#log.log(records);
    } catch (error) {
      k.exports.headRollback(area.rows, rows);
      this.#state.starts?.settleListed();
      deferred?.settle();
      if (hasSeries) this.#unlogged.push(k.bytes.slice(area.seriesRecord, seriesEnd));
      throw new LogWriteError(error);
    }
    this.#unlogged.length = 0;
  }
}
