/**
 * What the head of a data directory would hold after a start, read without changing a byte: newest checkpoint, log,
 * chunks_head, out-of-order log. A damaged log is read up to the damage, as a start would cut it.
 */

import { existsSync } from "node:fs";
import path from "node:path";
import type { Labels } from "@torus/model";
import { type Interval, mergeIntervals } from "../block/tombstones.ts";
import { decodeHistograms } from "../chunkenc/histogram.ts";
import { HistogramAppender, histogramEncoding } from "../chunkenc/histogram-appender.ts";
import { inKnownSchema } from "../chunkenc/reduce-schema.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import { type HeadChunk, type HeadChunkDamage, readHeadChunks } from "../chunks-head.ts";
import { newestCheckpoint } from "../db-checkpoint.ts";
import { type LogDamage, readLog } from "../wlog/reader.ts";
import { decodeRecord, type LogRecord, LogRecordMalformedError } from "../wlog/records.ts";
import { HistogramCutter } from "./histogram-cut.ts";
import { joined, runsOfChunks, SampleColumns } from "./runs.ts";

/** What could not be read; the rest was. */
export type HeadFinding =
  | ({ kind: "log"; dir: string } & LogDamage)
  | ({ kind: "chunks" } & HeadChunkDamage)
  | { kind: "record"; dir: string; segment: number; offset: number; reason: string };

type Exemplar = { time: bigint; value: bigint; labels: Labels };
type OutOfOrder = {
  time: bigint;
  value: bigint;
  startTime: bigint | null;
  histogram?: StoredHistogram;
};

/** A series in memory. Its samples come in the order of the log; what is not after the last one is not taken. */
export class OfflineSeries {
  readonly labels: Labels;
  readonly #chunks: HeadChunk[] = [];
  readonly #runs: StoredSamples[] = [];
  #floats: SampleColumns | null = null;
  #appender: HistogramAppender | null = null;
  #appenderEncoding: 2 | 3 | 5 | 6 = 2;
  readonly #cutter = new HistogramCutter();
  /** By time; samples of the out-of-order log that no chunk holds. */
  #outOfOrder = new Map<bigint, OutOfOrder>();
  readonly outOfOrderChunks: HeadChunk[] = [];
  readonly exemplars: Exemplar[] = [];
  #deleted: Interval[] = [];
  #lastTime: bigint | null = null;

  constructor(labels: Labels) {
    this.labels = labels;
  }

  addChunk(chunk: HeadChunk): void {
    if (chunk.outOfOrder) {
      this.outOfOrderChunks.push(chunk);
      return;
    }
    const last = this.#chunks.at(-1);
    // Of a series that came twice under other refs, chunks may be there twice.
    if (last !== undefined && chunk.minTime <= last.maxTime) return;
    this.#chunks.push(chunk);
    this.#lastTime = BigInt(chunk.maxTime);
  }

  /** @param startTime null where the log has none. */
  append(time: bigint, startTime: bigint | null, value: bigint, histogram?: StoredHistogram): void {
    if (this.#lastTime !== null && time <= this.#lastTime) return;
    this.#lastTime = time;
    if (histogram === undefined) {
      this.#closeHistograms();
      this.#floats ??= new SampleColumns();
      this.#floats.push(time, value, startTime ?? 0n);
      return;
    }
    this.#closeFloats();
    const encoding = histogramEncoding(histogram.float, startTime !== null);
    if (this.#appender === null || this.#appenderEncoding !== encoding) {
      this.#closeHistograms();
      this.#appenderEncoding = encoding;
      this.#appender = new HistogramAppender(encoding);
      this.#cutter.begin(Number(time));
      this.#appender.append(time, startTime ?? 0n, histogram);
      return;
    }
    const { count, sizeBytes } = this.#appender;
    const cut = this.#cutter.isDue(Number(time), count, sizeBytes);
    this.#appender.append(time, startTime ?? 0n, histogram, cut);
    if (this.#appender.count === 1) this.#cutter.begin(Number(time));
  }

  #closeFloats(): void {
    if (this.#floats !== null) this.#runs.push(this.#floats.take());
    this.#floats = null;
  }

  #closeHistograms(): void {
    for (const { data } of this.#appender?.chunks() ?? []) {
      this.#runs.push(decodeHistograms(data, this.#appenderEncoding));
    }
    this.#appender = null;
  }

  appendOutOfOrder(sample: OutOfOrder): void {
    if (!this.#outOfOrder.has(sample.time)) this.#outOfOrder.set(sample.time, sample);
  }

  /** What came out of order so far is in a chunk. */
  dropOutOfOrder(): void {
    this.#outOfOrder.clear();
  }

  delete(interval: Interval): void {
    this.#deleted.push(interval);
  }

  get deleted(): readonly Interval[] {
    return mergeIntervals(this.#deleted);
  }

  /** In order first. May be asked once more after more was appended. */
  runs(): StoredSamples[] {
    this.#closeFloats();
    this.#closeHistograms();
    const inOrder = joined([...runsOfChunks(this.#chunks), ...this.#runs]);
    return [inOrder, ...runsOfChunks(this.outOfOrderChunks), ...this.#outOfOrderRuns()];
  }

  #outOfOrderRuns(): StoredSamples[] {
    const samples = [...this.#outOfOrder.values()].sort((a, b) => (a.time < b.time ? -1 : 1));
    if (samples.length === 0) return [];
    // As a series of its own it is cut and hinted as any other.
    const alone = new OfflineSeries(this.labels);
    for (const { time, startTime, value, histogram } of samples) {
      alone.append(time, startTime, value, histogram);
    }
    return [alone.runs()[0] as StoredSamples];
  }
}

export class OfflineHead {
  readonly findings: HeadFinding[] = [];
  /** Records of a type that is not known, by type. */
  readonly unknownTypes = new Map<number, number>();
  /** Samples of series that the log does not have. */
  orphans = 0;
  readonly #byRef = new Map<number, OfflineSeries>();
  readonly #byLabels = new Map<string, OfflineSeries>();
  readonly #headChunks = new Map<number, HeadChunk[]>();
  readonly #minTime: bigint;
  #lastChunk: HeadChunk | null = null;

  /**
   * @param dir A data directory.
   * @param minTime Samples in order before this (ms) are in blocks.
   */
  constructor(dir: string, minTime: number) {
    this.#minTime = BigInt(Math.max(minTime, -(2 ** 53)));
    const chunkDir = path.join(dir, "chunks_head");
    if (existsSync(chunkDir)) this.#readChunks(chunkDir);
    const wal = path.join(dir, "wal");
    if (existsSync(wal)) {
      const checkpoint = newestCheckpoint(wal);
      if (checkpoint !== null) {
        this.#readLog(path.join(wal, checkpoint.name), 0, (record) => this.#inOrder(record));
      }
      this.#readLog(wal, (checkpoint?.covers ?? -1) + 1, (record) => this.#inOrder(record));
    }
    const wbl = path.join(dir, "wbl");
    if (existsSync(wbl)) this.#readLog(wbl, 0, (record) => this.#outOfOrder(record));
  }

  get series(): Iterable<OfflineSeries> {
    return this.#byLabels.values();
  }

  #readChunks(dir: string): void {
    const { chunks, damage } = readHeadChunks(dir);
    for (const one of damage) this.findings.push({ kind: "chunks", ...one });
    for (const chunk of chunks) {
      const list = this.#headChunks.get(chunk.seriesRef);
      if (list === undefined) this.#headChunks.set(chunk.seriesRef, [chunk]);
      else list.push(chunk);
      this.#lastChunk = chunk;
    }
  }

  #readLog(dir: string, first: number, take: (record: LogRecord) => void): void {
    const damage = readLog(dir, first, Number.MAX_SAFE_INTEGER, (bytes, position) => {
      try {
        const record = decodeRecord(bytes);
        if (record !== null) take(record);
        else {
          const type = bytes[0] as number;
          this.unknownTypes.set(type, (this.unknownTypes.get(type) ?? 0) + 1);
        }
      } catch (error) {
        if (!(error instanceof LogRecordMalformedError)) throw error;
        this.findings.push({ kind: "record", dir, ...position, reason: error.message });
      }
    });
    if (damage !== null) this.findings.push({ kind: "log", dir, ...damage });
  }

  #addSeries(ref: number, labels: Labels): void {
    if (this.#byRef.has(ref)) return;
    const key = JSON.stringify(labels);
    let series = this.#byLabels.get(key);
    if (series === undefined) {
      series = new OfflineSeries(labels);
      this.#byLabels.set(key, series);
    }
    this.#byRef.set(ref, series);
    for (const chunk of this.#headChunks.get(ref) ?? []) {
      if (chunk.outOfOrder || BigInt(chunk.maxTime) >= this.#minTime) series.addChunk(chunk);
    }
  }

  /** Of a sample: its series, or undefined when the log does not have it. */
  #known(ref: number): OfflineSeries | undefined {
    const series = this.#byRef.get(ref);
    if (series === undefined) this.orphans++;
    return series;
  }

  #inOrder(record: LogRecord): void {
    switch (record.type) {
      case 1:
        for (const { ref, labels } of record.series) this.#addSeries(ref, labels);
        break;
      case 3:
        for (const { ref, mint, maxt } of record.tombstones) {
          if (maxt < this.#minTime) continue;
          this.#byRef.get(ref)?.delete({ mint: Number(mint), maxt: Number(maxt) });
        }
        break;
      case 4:
        for (const { ref, ...exemplar } of record.exemplars) {
          if (exemplar.time >= this.#minTime) this.#byRef.get(ref)?.exemplars.push(exemplar);
        }
        break;
      case 2:
      case 11:
        for (const { ref, time, startTime, value } of record.samples) {
          if (time >= this.#minTime) this.#known(ref)?.append(time, startTime, value);
        }
        break;
      case 5:
      case 6:
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 12:
      case 13:
        for (const { ref, time, startTime, histogram: logged } of record.samples) {
          const histogram = time < this.#minTime ? null : inKnownSchema(logged);
          if (histogram === null) continue;
          const started = record.type > 11 ? startTime : null;
          this.#known(ref)?.append(time, started, histogram.sum, histogram);
        }
        break;
    }
  }

  #outOfOrder(record: LogRecord): void {
    switch (record.type) {
      case 5:
        for (const { ref, file, offset } of record.markers) {
          if (this.#isLoaded(file, offset)) this.#byRef.get(ref)?.dropOutOfOrder();
        }
        break;
      case 2:
      case 11:
        for (const { ref, ...sample } of record.samples) {
          this.#known(ref)?.appendOutOfOrder(sample);
        }
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 12:
      case 13:
        for (const { ref, time, startTime, histogram: logged } of record.samples) {
          const histogram = inKnownSchema(logged);
          if (histogram === null) continue;
          const started = record.type > 11 ? startTime : null;
          const sample = { time, startTime: started, value: histogram.sum, histogram };
          this.#known(ref)?.appendOutOfOrder(sample);
        }
        break;
      case 1:
      case 3:
      case 4:
      case 6:
        break;
    }
  }

  /** Whether the chunk that a marker names was there to be read. */
  #isLoaded(file: number, offset: number): boolean {
    const last = this.#lastChunk;
    if (last === null) return file === 0 && offset === 0;
    return file < last.file || (file === last.file && offset <= last.offset);
  }
}
