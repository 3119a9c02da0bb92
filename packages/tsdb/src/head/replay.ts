/**
 * Filling a head from the records of its log (Prometheus, tsdb/docs/format/wal.md): series and samples.
 *
 *   1 series    (u64 ref, uvarint labels, (str name, str value)*)*
 *   2 samples   u64 ref, u64 t, (varint ref - first, varint t - first, f64 v)*
 *   4 exemplars as 2, each with labels behind it
 *   6 metadata  (metric-metadata.ts)
 *   7 to 13     native histograms, and samples with start timestamps (wlog/records.ts)
 *
 * A label set may come again under another ref (after a restart); its samples go to the series that is there.
 */

import { labelValue } from "@torus/model";
import { inKnownSchema } from "../chunkenc/reduce-schema.ts";
import { loggedMetadata, MetricMetadataSet } from "../metric-metadata.ts";
import {
  decodeRecord,
  type LogRecord,
  LogRecordMalformedError,
  RecordKind,
} from "../wlog/records.ts";
import { hasSample, lastTime } from "./series-memory.ts";
import { beginStarts, knownStart, START_CAPACITY } from "./start-runs.ts";
import { appendAreas, type HeadState, MAX_LABEL_BYTES } from "./state.ts";

export const RecordType = {
  SERIES: 1,
  SAMPLES: 2,
  TOMBSTONES: 3,
  EXEMPLARS: 4,
  METADATA: 6,
} as const;

/** A record's bytes do not make what its type says. */
export class RecordMalformedError extends Error {
  readonly type: number;
  readonly length: number;
  constructor(type: number, length: number, what: string) {
    super(`replay: record of type ${type}, ${length} bytes: ${what}`);
    this.name = "RecordMalformedError";
    this.type = type;
    this.length = length;
  }
}

const DUMP_ERRORS = [
  "bytes that make no series",
  "a series that is there already",
  "a chunk that reaches into a block",
];

/** What a head was dumped as cannot be taken here; the head is not to be used. */
export class DumpMalformedError extends Error {
  readonly offset: number;
  constructor(what: string, offset: number) {
    super(`restore head: ${what} at byte ${offset}`);
    this.name = "DumpMalformedError";
    this.offset = offset;
  }
}

export type ReplayCounts = {
  series: number;
  samples: number;
  exemplars: number;
  /** Of the log of samples that came out of order. */
  lateSamples: number;
  /** Samples whose series record is missing: the log was cut before it. */
  unknownRefs: number;
  /** Records of types that are not kept in memory, by type. */
  skipped: Map<number, number>;
};

/** Records of native histograms. */
const SAMPLE_TYPES = new Set([7, 8, 9, 10, 12, 13]);

/** Refs above this do not fit the kernel's tables. */
const MAX_REF = 0x3fffffff;

export class Replay {
  readonly counts: ReplayCounts = {
    series: 0,
    samples: 0,
    exemplars: 0,
    lateSamples: 0,
    unknownRefs: 0,
    skipped: new Map(),
  };
  /**
   * Refs that the log knows besides the one that a series has now: it was collected and came back while the log
   * still named its first ref, and a start maps both to one series.
   */
  readonly aliases = new Map<number, number>();
  /** What the log tells of metrics. */
  readonly metadata = new MetricMetadataSet();
  readonly #state: HeadState;
  readonly #minTime: number;
  /** Series addresses by ref, in the kernel's memory. */
  #byRef = 0;
  #byRefBytes = 0;
  #known = 0;
  #buffer = 0;
  #bufferBytes = 0;

  /** Samples before `minTime` (ms) are in blocks already and passed over. */
  constructor(state: HeadState, minTime: number) {
    this.#state = state;
    this.#minTime = Math.max(minTime, -(2 ** 53));
  }

  /**
   * Takes one record.
   * @throws {RecordMalformedError}
   */
  record(bytes: Uint8Array): void {
    const type = bytes[0] as number;
    if (type === RecordType.SERIES) this.#series(bytes);
    else if (type === RecordType.SAMPLES || type === RecordKind.SAMPLES_V2) this.#samples(bytes);
    else if (SAMPLE_TYPES.has(type)) this.#histograms(bytes);
    else if (type === RecordType.EXEMPLARS) this.#exemplars(bytes);
    else if (type === RecordType.METADATA) this.#metadata(bytes);
    else this.counts.skipped.set(type, (this.counts.skipped.get(type) ?? 0) + 1);
  }

  /**
   * Takes series as `dumpHead` wrote them, before any record; the bytes are those of other starts of this program.
   * @throws {DumpMalformedError}
   */
  dumped(bytes: Uint8Array): void {
    const state = this.#state;
    const { kernel: k } = state;
    const { list, listBytes } = appendAreas(k);
    this.#copyIn(bytes);
    const end = this.#buffer + bytes.length;
    for (let at = this.#buffer; at < end; at = k.exports.restoredEnd() >>> 0) {
      const { exports } = k;
      const made = exports.headRestoreDump(state.address, at, end, this.#minTime, list, listBytes);
      if (made < 0) throw new DumpMalformedError(DUMP_ERRORS[-made - 1] ?? "", at - this.#buffer);
      const listEnd = exports.newListEnd() >>> 0;
      state.indexNew(list, listEnd);
      const { words } = k;
      for (let i = list >>> 2; i < listEnd >>> 2; i += 3 + 2 * (words[i + 2] as number)) {
        this.#remember(words[i + 1] as number, words[i] as number);
      }
      this.counts.series += made;
      if (exports.restoredMinTime() <= exports.restoredMaxTime()) {
        state.noteTimes(exports.restoredMinTime(), exports.restoredMaxTime());
      }
    }
  }

  /** Takes a part of `StartRuns.parts`, behind the series that it names. @throws {StartRunsMalformedError} */
  startRuns(part: Uint8Array): void {
    this.#state.starts?.restore(part, (ref) => this.#seriesOf(ref));
  }

  /** The log names the series with `ref` by another ref too. */
  alias(alias: number, ref: number): void {
    const series = this.#seriesOf(ref);
    if (series === 0) return;
    this.#remember(alias, series);
    this.aliases.set(alias, ref);
  }

  /** Refs below this were given out. */
  reserveRefs(next: number): void {
    this.#state.kernel.exports.headReserveRefs(this.#state.address, next);
  }

  /** Takes a record of the log of late samples, after all of the other log. @throws {LogRecordMalformedError} */
  lateRecord(bytes: Uint8Array): void {
    const record = decodeRecord(bytes);
    // Markers say what is in mapped chunks too; samples stay in this log until they are in a block.
    if (record === null || !("samples" in record)) return;
    const state = this.#state;
    for (const sample of record.samples) {
      const series = this.#seriesOf(sample.ref);
      if (series === 0) {
        this.counts.unknownRefs++;
        continue;
      }
      const value = "histogram" in sample ? inKnownSchema(sample.histogram) : sample.value;
      const time = Number(sample.time);
      const live = state.refOf(series);
      if (value === null || state.late.valueAt(live, time) !== undefined) continue;
      state.late.insert(live, time, this.#keptStart(sample.startTime), value);
      this.counts.lateSamples++;
    }
  }

  /** Frees what only replay needs. */
  end(): void {
    const k = this.#state.kernel;
    if (this.#byRefBytes > 0) k.free(this.#byRef, this.#byRefBytes);
    if (this.#bufferBytes > 0) k.free(this.#buffer, this.#bufferBytes);
    this.#byRefBytes = 0;
    this.#bufferBytes = 0;
    this.#known = 0;
  }

  #series(bytes: Uint8Array): void {
    const state = this.#state;
    const k = state.kernel;
    const area = appendAreas(k);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const malformed = (what: string) => new RecordMalformedError(1, bytes.length, what);
    let at = 1;
    const uvarint = (): number => {
      let value = 0;
      for (let scale = 1; scale < 2 ** 49; scale *= 128) {
        if (at >= bytes.length) throw malformed(`cut at byte ${at}`);
        const byte = bytes[at++] as number;
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) return value;
      }
      throw malformed(`length too long at byte ${at}`);
    };
    const text = (): Uint8Array => {
      const length = uvarint();
      if (length > bytes.length - at) throw malformed(`cut at byte ${at}`);
      at += length;
      return bytes.subarray(at - length, at);
    };
    while (at < bytes.length) {
      if (bytes.length - at < 8) throw malformed(`cut at byte ${at}`);
      const ref = Number(view.getBigUint64(at));
      at += 8;
      const memory = k.bytes;
      let out = area.labels;
      const last = area.labels + MAX_LABEL_BYTES;
      for (let n = uvarint(); n > 0; n--) {
        const name = text();
        const value = text();
        if (out + name.length + value.length + 24 > last) {
          throw malformed("labels of a series are too long");
        }
        out = putLabel(memory, out, name, value);
      }
      if (ref > MAX_REF) throw malformed(`series ref ${ref} is too large`);
      const series =
        k.exports.headRestore(state.address, area.labels, out - area.labels, ref, area.list) >>> 0;
      const created = k.exports.newListEnd() >>> 0;
      if (created > area.list) {
        state.indexNew(area.list, created);
        this.counts.series++;
      } else {
        k.exports.headReserveRefs(state.address, ref + 1);
        const live = state.refOf(series);
        if (live !== ref) this.aliases.set(ref, live);
      }
      this.#remember(ref, series);
    }
  }

  #remember(ref: number, series: number): void {
    const k = this.#state.kernel;
    if ((ref + 1) * 4 > this.#byRefBytes) {
      const bytes = Math.max((ref + 1) * 8, 65_536);
      const at = k.alloc(bytes);
      k.bytes.fill(0, at, at + bytes);
      if (this.#byRefBytes > 0) {
        k.bytes.copyWithin(at, this.#byRef, this.#byRef + this.#known * 4);
        k.free(this.#byRef, this.#byRefBytes);
      }
      this.#byRef = at;
      this.#byRefBytes = bytes;
    }
    k.words[(this.#byRef >>> 2) + ref] = series;
    if (ref >= this.#known) this.#known = ref + 1;
  }

  /** Floats, without start timestamps or with them. */
  #samples(bytes: Uint8Array): void {
    const state = this.#state;
    const k = state.kernel;
    const type = bytes[0] as number;
    const replay = type === RecordType.SAMPLES ? "headReplaySamples" : "headReplayStarted";
    this.#copyIn(bytes);
    for (let from = 0; ; ) {
      beginStarts(state);
      const appended = k.exports[replay](
        state.address,
        this.#buffer + 1,
        bytes.length - 1,
        this.#byRef,
        this.#known,
        this.#minTime,
        from,
        START_CAPACITY,
      );
      state.starts?.noteListed();
      const [minTime, maxTime] = [k.exports.preparedMinTime(), k.exports.preparedMaxTime()];
      if (minTime <= maxTime) state.noteTimes(minTime, maxTime);
      if (appended < 0) throw new RecordMalformedError(type, bytes.length, "cut inside a sample");
      this.counts.samples += appended;
      this.counts.unknownRefs += k.exports.replayUnknownRefs();
      const series = k.exports.replayStoppedSeries() >>> 0;
      if (series === 0) return;
      state.histograms.end(series);
      from = k.exports.replayStoppedAt() >>> 0;
    }
  }

  #copyIn(bytes: Uint8Array): void {
    const k = this.#state.kernel;
    if (bytes.length + 64 > this.#bufferBytes) {
      if (this.#bufferBytes > 0) k.free(this.#buffer, this.#bufferBytes);
      this.#bufferBytes = Math.max(bytes.length * 2, 1 << 20);
      this.#buffer = k.alloc(this.#bufferBytes);
    }
    k.bytes.set(bytes, this.#buffer);
  }

  #keptStart(startTime: bigint): number {
    return this.#state.starts === null ? 0 : knownStart(Number(startTime));
  }

  /** Native histograms, a record at a time: they are few beside the floats. */
  #histograms(bytes: Uint8Array): void {
    const record = decoded(bytes);
    if (record === null || !("samples" in record)) return;
    const state = this.#state;
    const { kernel: k } = state;
    for (const sample of record.samples) {
      const series = this.#seriesOf(sample.ref);
      if (series === 0) {
        this.counts.unknownRefs++;
        continue;
      }
      const time = Number(sample.time);
      if (time < this.#minTime || (hasSample(k, series) && time <= lastTime(k, series))) continue;
      if ("histogram" in sample) {
        const histogram = inKnownSchema(sample.histogram);
        if (histogram === null) continue;
        state.histograms.append(series, time, histogram, this.#keptStart(sample.startTime));
      } else {
        state.histograms.end(series);
        state.starts?.note(series, time, this.#keptStart(sample.startTime));
        const low = Number(sample.value & 0xffffffffn);
        k.exports.headAppendOne(state.address, series, time, low, Number(sample.value >> 32n));
      }
      state.noteTimes(time, time);
      this.counts.samples++;
    }
  }

  #metadata(bytes: Uint8Array): void {
    const record = decoded(bytes);
    if (record?.type !== RecordType.METADATA) return;
    const state = this.#state;
    for (const { ref, metricType, fields } of record.metadata) {
      const series = this.#seriesOf(ref);
      if (series === 0) continue;
      const name = labelValue(state.labelsOf(series), "__name__");
      this.metadata.note([loggedMetadata(name, metricType, fields)], true);
    }
  }

  #exemplars(bytes: Uint8Array): void {
    const record = decoded(bytes);
    if (record?.type !== 4) return;
    const { exemplars } = this.#state;
    for (const { ref, time, value, labels } of record.exemplars) {
      const series = this.#seriesOf(ref);
      // Its series may be gone: exemplars are not worth a word.
      if (series === 0) continue;
      const exemplar = { time: Number(time), value, labels };
      const live = this.#state.refOf(series);
      if (exemplars.judge(live, exemplar) !== "stored") continue;
      exemplars.add(live, exemplar);
      this.counts.exemplars++;
    }
  }

  #seriesOf(ref: number): number {
    if (this.#byRefBytes === 0 || ref >= this.#known) return 0;
    return this.#state.kernel.words[(this.#byRef >>> 2) + ref] as number;
  }
}

/** @throws {RecordMalformedError} */
function decoded(bytes: Uint8Array): LogRecord | null {
  try {
    return decodeRecord(bytes);
  } catch (error) {
    if (!(error instanceof LogRecordMalformedError)) throw error;
    throw new RecordMalformedError(bytes[0] as number, bytes.length, error.message);
  }
}

/** Writes a Label field as the head keeps it, and returns the address behind it. */
function putLabel(memory: Uint8Array, at: number, name: Uint8Array, value: Uint8Array): number {
  const inner =
    2 + uvarintSize(name.length) + uvarintSize(value.length) + name.length + value.length;
  let out = at;
  memory[out++] = 0x0a;
  out = putUvarint(memory, out, inner);
  memory[out++] = 0x0a;
  out = putUvarint(memory, out, name.length);
  memory.set(name, out);
  out += name.length;
  memory[out++] = 0x12;
  out = putUvarint(memory, out, value.length);
  memory.set(value, out);
  return out + value.length;
}

function uvarintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest >>>= 7) size++;
  return size;
}

function putUvarint(memory: Uint8Array, at: number, value: number): number {
  let out = at;
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) memory[out++] = (rest & 0x7f) | 0x80;
  memory[out++] = rest;
  return out;
}
