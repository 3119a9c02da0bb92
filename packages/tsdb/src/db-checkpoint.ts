/**
 * Checkpoints of the log (Prometheus, tsdb/docs/format/wal.md): what is still needed of its oldest segments, rewritten into
 * `wal/checkpoint.NNNNNNNN/`, where NNNNNNNN is the last segment covered; then those segments are deleted.
 *
 * Kept are series that are still needed, samples of all kinds and exemplars not before `mint`, and deletions that
 * reach it; records of types that we do not know are kept whole. Metadata is logged anew behind the checkpoint.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import { files, removeUnfinished, syncDirectory } from "./files.ts";
import { RecordType } from "./head/replay.ts";
import { type LogDamage, readLog } from "./wlog/reader.ts";
import {
  decodeRecord,
  encodeRecord,
  type LogRecord,
  LogRecordMalformedError,
  RecordKind,
  StartMarker,
} from "./wlog/records.ts";
import { type Compression, listSegments, segmentPath, sizeOfSegments } from "./wlog/segment.ts";
import { LogWriter } from "./wlog/writer.ts";

export const CHECKPOINT_NAME = /^checkpoint\.(\d{6,})$/;

/** The log could not be read where it was to be rewritten; nothing was changed. */
export class CheckpointSourceError extends Error {
  readonly damage: LogDamage;
  constructor(dir: string, damage: LogDamage) {
    super(`checkpoint ${dir}: segment ${damage.segment} at ${damage.offset}: ${damage.reason}`);
    this.name = "CheckpointSourceError";
    this.damage = damage;
  }
}

/** The newest whole checkpoint in a wal directory: its name and the last segment that it covers. */
export function newestCheckpoint(walDir: string): { name: string; covers: number } | null {
  let newest: { name: string; covers: number } | null = null;
  for (const name of readdirSync(walDir)) {
    const covers = Number(CHECKPOINT_NAME.exec(name)?.[1] ?? -1);
    if (covers > (newest?.covers ?? -1)) newest = { name, covers };
  }
  return newest;
}

/** The last segment that the next checkpoint is to cover, two thirds of those before `current`; null for none yet. */
export function segmentToCover(walDir: string, current: number): number | null {
  const segments = listSegments(walDir);
  const first = segments[0];
  if (first === undefined) return null;
  const last = first + Math.floor(((current - 1 - first) * 2) / 3);
  return last <= first ? null : last;
}

/** Bytes that a start has to read where there is no snapshot: the newest checkpoint and the segments behind it. */
export function logSize(walDir: string): number {
  const checkpoint = newestCheckpoint(walDir);
  const behind = listSegments(walDir).filter((segment) => segment > (checkpoint?.covers ?? -1));
  if (checkpoint === null) return sizeOfSegments(walDir, behind);
  const dir = path.join(walDir, checkpoint.name);
  return sizeOfSegments(walDir, behind) + sizeOfSegments(dir, listSegments(dir));
}

export type CheckpointInput = {
  walDir: string;
  /** The last segment to cover; it is not written to any more. */
  last: number;
  /** Bit `ref`: samples of this ref may still come from the log behind the checkpoint. */
  keep: Uint32Array;
  /** Samples before this (ms) are in blocks. */
  mint: number;
  compression: Compression;
};

/**
 * Writes the checkpoint that covers everything up to segment `last`.
 *
 * A crash leaves `checkpoint.N.tmp`, which the next start removes, or the whole checkpoint beside the segments and the
 * checkpoint that it covers: readers take the newest, and the next `deleteCovered` deletes the others.
 *
 * @throws {CheckpointSourceError}
 */
export function writeCheckpoint({ walDir, last, keep, mint, compression }: CheckpointInput): void {
  const name = `checkpoint.${String(last).padStart(8, "0")}`;
  const unfinished = path.join(walDir, `${name}.tmp`);
  files.remove(unfinished);
  const before = newestCheckpoint(walDir);
  // Written before, by one that ended before it deleted what this covers.
  if (before !== null && before.covers >= last) return;
  const keepSeries = (ref: number): boolean => (((keep[ref >>> 5] ?? 0) >>> (ref & 31)) & 1) !== 0;
  const out = new LogWriter(unfinished, { compression });
  try {
    const copy = (record: Uint8Array): void => {
      const kept = keepOfRecord(record, keepSeries, mint);
      if (kept !== null) out.log([kept]);
    };
    if (before !== null) {
      const dir = path.join(walDir, before.name);
      const damage = readLog(dir, 0, Number.MAX_SAFE_INTEGER, copy);
      if (damage !== null) throw new CheckpointSourceError(dir, damage);
    }
    const damage = readLog(walDir, (before?.covers ?? -1) + 1, last, copy);
    if (damage !== null) throw new CheckpointSourceError(walDir, damage);
    out.close();
    syncDirectory(unfinished);
  } catch (error) {
    out.abandon();
    removeUnfinished(unfinished);
    throw error;
  }
  files.rename(unfinished, path.join(walDir, name));
  syncDirectory(walDir);
}

/** Writes the checkpoint and deletes what it replaces. @throws {CheckpointSourceError} */
export function replaceByCheckpoint(input: CheckpointInput): void {
  writeCheckpoint(input);
  deleteCovered(input.walDir);
}

/** Deletes segments and checkpoints that the newest checkpoint replaces. */
function deleteCovered(walDir: string): void {
  const newest = newestCheckpoint(walDir);
  if (newest === null) return;
  for (const segment of listSegments(walDir)) {
    if (segment <= newest.covers) files.unlink(segmentPath(walDir, segment));
  }
  for (const name of readdirSync(walDir)) {
    if (CHECKPOINT_NAME.test(name) && name !== newest.name) {
      files.remove(path.join(walDir, name));
    }
  }
}

function keepOfRecord(
  record: Uint8Array,
  keepSeries: (ref: number) => boolean,
  mint: number,
): Uint8Array | null {
  if (record[0] === RecordType.SERIES) return keepSeriesOf(record, keepSeries);
  if (record[0] === RecordType.SAMPLES) return keepSamplesOf(record, mint);
  if (record[0] === RecordType.METADATA) return null;
  if (record[0] === RecordKind.SAMPLES_V2) {
    const side = sideOfStarted(record, mint);
    if (side !== 0) return side > 0 ? record.slice() : null;
  }
  return keepOthersOf(record, mint);
}

/** Native histograms, samples with start timestamps, exemplars and deletions. */
function keepOthersOf(bytes: Uint8Array, mint: number): Uint8Array | null {
  let record: LogRecord | null;
  try {
    record = decodeRecord(bytes);
  } catch (error) {
    // What a start says and passes over stays as it is.
    if (!(error instanceof LogRecordMalformedError)) throw error;
    return bytes.slice();
  }
  const isNew = ({ time }: { time: bigint }) => Number(time) >= mint;
  if (record === null) return bytes.slice();
  if (record.type === 3) {
    const tombstones = record.tombstones.filter(({ maxt }) => Number(maxt) >= mint);
    return tombstones.length === 0 ? null : encodeRecord({ ...record, tombstones });
  }
  if (record.type === 4) {
    const exemplars = record.exemplars.filter(isNew);
    return exemplars.length === 0 ? null : encodeRecord({ ...record, exemplars });
  }
  if (record.type === 2 || record.type === 11) {
    const samples = record.samples.filter(isNew);
    return samples.length === 0 ? null : encodeRecord({ ...record, samples });
  }
  const { type } = record;
  if (type === 7 || type === 8 || type === 9 || type === 10 || type === 12 || type === 13) {
    const samples = record.samples.filter(isNew);
    return samples.length === 0 ? null : encodeRecord({ ...record, samples });
  }
  return bytes.slice();
}

/** End of the varint at `at`, of whose value the caller needs nothing. */
function afterVarint(bytes: Uint8Array, at: number): number {
  let end = at;
  while ((bytes[end] as number) >= 0x80) end++;
  return end + 1;
}

function uvarint(bytes: Uint8Array, at: number): number {
  let value = 0;
  let scale = 1;
  for (let i = at; ; i++, scale *= 128) {
    // Behind the end there is nothing to add.
    const byte = bytes[i] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
}

function varint(bytes: Uint8Array, at: number): number {
  const raw = uvarint(bytes, at);
  return raw % 2 === 0 ? raw / 2 : -(raw + 1) / 2;
}

function keepSeriesOf(record: Uint8Array, keep: (ref: number) => boolean): Uint8Array | null {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const out = new Uint8Array(record.length);
  out[0] = RecordType.SERIES;
  let end = 1;
  let at = 1;
  while (at + 8 < record.length) {
    const start = at;
    const ref = Number(view.getBigUint64(at));
    at += 8;
    const labels = uvarint(record, at);
    at = afterVarint(record, at);
    for (let i = 0; i < labels * 2; i++) {
      const length = uvarint(record, at);
      at = afterVarint(record, at) + length;
    }
    if (!keep(ref)) continue;
    out.set(record.subarray(start, at), end);
    end += at - start;
  }
  return end === 1 ? null : out.subarray(0, end);
}

/**
 * Where the samples of a record with start timestamps lie: 1 when none is before `mint`, -1 when all are, 0 when that is
 * not so simple. Most records are of one moment, and need not be taken apart.
 */
function sideOfStarted(record: Uint8Array, mint: number): -1 | 0 | 1 {
  let first = 0;
  let before = 0;
  let count = 0;
  for (let at = 1; at < record.length; count++) {
    at = afterVarint(record, at);
    const time = first + varint(record, at);
    at = afterVarint(record, at);
    if (count === 0) first = time;
    const isGiven = count === 0 || record[at++] === StartMarker.EXPLICIT;
    at = (isGiven ? afterVarint(record, at) : at) + 8;
    if (at > record.length || !Number.isSafeInteger(time)) return 0;
    if (time < mint) before++;
  }
  if (before === 0) return 1;
  return before === count ? -1 : 0;
}

/** The base of the record stays, though its first sample may go: readers only add to it. */
function keepSamplesOf(record: Uint8Array, mint: number): Uint8Array | null {
  if (record.length < 17) return null;
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const base = Number(view.getBigInt64(9));
  const out = new Uint8Array(record.length);
  out.set(record.subarray(0, 17));
  let end = 17;
  let at = 17;
  while (at < record.length) {
    const start = at;
    at = afterVarint(record, at);
    const time = base + varint(record, at);
    at = afterVarint(record, at) + 8;
    if (time < mint) continue;
    out.set(record.subarray(start, at), end);
    end += at - start;
  }
  return end === 17 ? null : out.subarray(0, end);
}
