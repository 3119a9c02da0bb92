/**
 * The memory snapshot that Prometheus may leave at a stop: `chunk_snapshot.SSSSSS.OOOOOOOOOO`, framed like a log, valid
 * up to segment S, offset O of the write-ahead log (facts: tsdb format, 11).
 *
 *   1 series       u64 ref, uvarint labels, (str, str)*, u64 0, uvarint 0 or 1; with 1 the open chunk:
 *                  i64 mint, i64 maxt, u8 encoding, uvarint length, data, and the last samples:
 *                  of floats four of u64 t, f64 v; of histograms the last one as in a log record
 *   2 tombstones   uvarint length, u8 version, (uvarint ref, varint mint, varint maxt)*
 *   3 exemplars    as in a log record of type 4
 *
 * The log has all that a snapshot has; it only makes a start quicker. We read it to check it, and start from the log.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import { ByteReader, TruncatedError, VarintOverflowError } from "@torus/encoding";
import type { Chunk, ChunkEncoding, Labels } from "@torus/model";
import type { Interval } from "./block/tombstones.ts";
import { isHistogramEncoding } from "./chunkenc/chunk-samples.ts";
import { isFloatEncoding } from "./chunkenc/histogram.ts";
import { type LogDamage, readLog } from "./wlog/reader.ts";
import { readRecordHistogram } from "./wlog/record-histogram.ts";
import { decodeRecord, type LogRecord } from "./wlog/records.ts";

const NAME = /^chunk_snapshot\.(\d{6,})\.(\d{10,})$/;

export class SnapshotMalformedError extends Error {
  readonly dir: string;
  constructor(dir: string, segment: number, offset: number, what: string, options?: ErrorOptions) {
    super(`read ${dir}: record at ${offset} of segment ${segment}: ${what}`, options);
    this.name = "SnapshotMalformedError";
    this.dir = dir;
  }
}

export type SnapshotSeries = { ref: number; labels: Labels; chunk: Chunk | null };

export type ChunkSnapshot = {
  dir: string;
  /** The place in the log up to which it is valid. */
  segment: number;
  offset: number;
  series: SnapshotSeries[];
  tombstones: Map<number, Interval[]>;
  exemplars: Extract<LogRecord, { type: 4 }>["exemplars"];
  /** Where it stops being readable; null when it was read whole. */
  damage: LogDamage | null;
};

/** The newest snapshot of a data directory, or null when there is none. @throws {SnapshotMalformedError} */
export function readChunkSnapshot(dataDir: string): ChunkSnapshot | null {
  let newest: { name: string; segment: number; offset: number } | null = null;
  for (const name of readdirSync(dataDir)) {
    const found = NAME.exec(name);
    if (found === null) continue;
    const segment = Number(found[1]);
    const offset = Number(found[2]);
    const later =
      newest === null ||
      segment > newest.segment ||
      (segment === newest.segment && offset > newest.offset);
    if (later) newest = { name, segment, offset };
  }
  if (newest === null) return null;
  const dir = path.join(dataDir, newest.name);
  const snapshot: ChunkSnapshot = {
    dir,
    segment: newest.segment,
    offset: newest.offset,
    series: [],
    tombstones: new Map(),
    exemplars: [],
    damage: null,
  };
  snapshot.damage = readLog(dir, 0, Number.MAX_SAFE_INTEGER, (bytes, { segment, offset }) => {
    try {
      readRecord(bytes, snapshot);
    } catch (error) {
      const malformed = error instanceof TruncatedError || error instanceof VarintOverflowError;
      if (!malformed) throw error;
      throw new SnapshotMalformedError(dir, segment, offset, error.message, { cause: error });
    }
  });
  return snapshot;
}

function readRecord(bytes: Uint8Array, out: ChunkSnapshot): void {
  const reader = new ByteReader(bytes, 1);
  switch (bytes[0]) {
    case 1:
      out.series.push(readSeries(reader));
      break;
    case 2: {
      const body = new ByteReader(reader.lengthPrefixed());
      body.skip(1);
      while (body.remaining > 0) {
        const ref = body.uvarint();
        const list = out.tombstones.get(ref) ?? [];
        list.push({ mint: body.varint(), maxt: body.varint() });
        out.tombstones.set(ref, list);
      }
      break;
    }
    case 3: {
      const record = decodeRecord(Uint8Array.of(4, ...bytes.subarray(1)));
      if (record?.type === 4) out.exemplars.push(...record.exemplars);
      break;
    }
    default:
  }
}

function readSeries(reader: ByteReader): SnapshotSeries {
  const ref = reader.u64();
  const labels: string[] = [];
  for (let n = reader.uvarint() * 2; n > 0; n--) labels.push(reader.string());
  reader.skip(8);
  if (reader.uvarint() === 0) return { ref, labels, chunk: null };
  const minTime = reader.i64();
  const maxTime = reader.i64();
  const encoding = reader.u8() as ChunkEncoding;
  const data = reader.lengthPrefixed().slice();
  // The last samples are in the chunk as well.
  if (isHistogramEncoding(encoding)) readRecordHistogram(reader, isFloatEncoding(encoding));
  else reader.skip(4 * 16);
  return { ref, labels, chunk: { minTime, maxTime, encoding, data } };
}
