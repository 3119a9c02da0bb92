/**
 * Snapshots of the head, which make a start short: `head_snapshot.NNNNNNNN/` beside `wal/`, framed like a log, in which
 * segment NNNNNNNN of the write-ahead log is the first that a start has to read behind it.
 *
 *   81 {"version", "chunkRangeMs", "nextRef"}                       first
 *   82 series (head/dump.ts)    4, 6 to 10, 12, 13 as in the write-ahead log, of series that stand before
 *   84 start timestamps of these (head/start-runs.ts)
 *   83 {"series", "aliases": [[ref, its ref now]], "removed": [[ref, segment]]}   last
 *
 * The write-ahead log keeps all that it would without: a snapshot that is damaged, unfinished, of other options or not of
 * this log is passed over, and a start reads the whole log. Series are dumped while appends go on, so it has some samples
 * of segment NNNNNNNN; a start passes over what is not newer than a series' last sample.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import { runInBackground } from "./cut/background.ts";
import { newestCheckpoint } from "./db-checkpoint.ts";
import { files, removeUnfinished, syncDirectory } from "./files.ts";
import type { Head } from "./head/head.ts";
import type { Replay } from "./head/replay.ts";
import type { LogPart } from "./wlog/log-part.ts";
import { type LogDamage, readLog } from "./wlog/reader.ts";
import { listSegments, sizeOfSegments } from "./wlog/segment.ts";

const NAME = /^head_snapshot\.(\d{8,})$/;
const UNFINISHED = /^head_snapshot\.\d{8,}\.tmp$/;
const VERSION = 1;
export const SnapshotRecord = { BEGIN: 0x81, SERIES: 0x82, END: 0x83, STARTS: 0x84 } as const;

type Begin = { version: number; chunkRangeMs: number; nextRef: number };
type End = {
  series: number;
  aliases: [alias: number, ref: number][];
  removed: [ref: number, segment: number][];
};

/** A start cannot use the snapshot. */
export class SnapshotUnusableError extends Error {
  readonly dir: string;
  constructor(dir: string, reason: string) {
    super(reason);
    this.name = "SnapshotUnusableError";
    this.dir = dir;
  }
}

export type SnapshotSource = {
  head: Head;
  chunkRangeMs: number;
  /** The segment that was begun just before: what the log has before it is in the head. */
  segment: number;
  /** Of the head's metadata and exemplars, as in the write-ahead log. */
  records: Iterable<Uint8Array>;
  aliases: ReadonlyMap<number, number>;
  removed: ReadonlyMap<number, number>;
};

/** Writes a snapshot beside those that are there. A crash leaves a directory that the next start removes. */
export async function writeSnapshot(
  dir: string,
  source: SnapshotSource,
): Promise<{ name: string; bytes: number }> {
  const { head, chunkRangeMs, segment } = source;
  const name = `head_snapshot.${String(segment).padStart(8, "0")}`;
  const unfinished = path.join(dir, `${name}.tmp`);
  files.remove(unfinished);
  const { memory } = head;
  const part = (input: Partial<LogPart>) =>
    runInBackground("logPart", { dir: unfinished, memory, kernel: null, records: [], ...input });
  try {
    let series = 0;
    const begin: Begin = { version: VERSION, chunkRangeMs, nextRef: head.nextRef };
    await part({ records: [jsonRecord(SnapshotRecord.BEGIN, begin)] });
    await head.dump((dumped) => {
      series += dumped.series;
      const { at, length, records } = dumped;
      return part({ kernel: { type: SnapshotRecord.SERIES, at, length }, records });
    });
    for (const starts of head.starts?.parts() ?? []) {
      await part({ records: [Buffer.concat([Uint8Array.of(SnapshotRecord.STARTS), starts])] });
    }
    const end: End = { series, aliases: [...source.aliases], removed: [...source.removed] };
    await part({ records: [...source.records, jsonRecord(SnapshotRecord.END, end)] });
    files.rename(unfinished, path.join(dir, name));
  } catch (error) {
    removeUnfinished(unfinished);
    throw error;
  }
  syncDirectory(dir);
  const written = path.join(dir, name);
  return { name, bytes: sizeOfSegments(written, listSegments(written)) };
}

/** What a start goes on from. */
export type RestoredSnapshot = Snapshot & { removed: End["removed"]; bytes: number };

export type Snapshot = { name: string; segment: number };

/** The newest snapshot that the log of this directory goes on from; null when there is none. */
export function usableSnapshot(dir: string): Snapshot | null {
  const walDir = path.join(dir, "wal");
  const covered = newestCheckpoint(walDir)?.covers ?? -1;
  const segments = new Set(listSegments(walDir));
  let newest: Snapshot | null = null;
  for (const name of readdirSync(dir)) {
    const segment = Number(NAME.exec(name)?.[1] ?? -1);
    if (segment <= Math.max(covered, newest?.segment ?? -1)) continue;
    if (segments.has(segment)) newest = { name, segment };
  }
  return newest;
}

/**
 * Fills an empty head from a snapshot.
 * @throws {SnapshotUnusableError} when the head is to be thrown away.
 */
export function restoreSnapshot(
  dir: string,
  { name, segment }: Snapshot,
  replay: Replay,
  chunkRangeMs: number,
): RestoredSnapshot {
  const snapshotDir = path.join(dir, name);
  let end: End | null = null;
  let begun = false;
  const take = (record: Uint8Array): void => {
    const type = record[0] as number;
    if (!begun && type !== SnapshotRecord.BEGIN) throw new Error("its beginning is missing");
    if (type === SnapshotRecord.BEGIN) {
      begun = true;
      const { version, chunkRangeMs: range, nextRef } = parsed<Begin>(record);
      if (version !== VERSION) throw new Error(`it is of version ${version}`);
      if (range !== chunkRangeMs) throw new Error(`its blocks are of ${range} ms`);
      replay.reserveRefs(nextRef);
    } else if (type === SnapshotRecord.SERIES) replay.dumped(record.subarray(1));
    else if (type === SnapshotRecord.STARTS) replay.startRuns(record.subarray(1));
    else if (type === SnapshotRecord.END) end = parsed<End>(record);
    else replay.record(record);
  };
  try {
    const damage = readLog(snapshotDir, 0, Number.MAX_SAFE_INTEGER, take);
    if (damage !== null) {
      throw new Error(`part ${damage.segment} at ${damage.offset}: ${damage.reason}`);
    }
    const { series, aliases, removed } = (end ?? { series: -1 }) as End;
    if (series !== replay.counts.series) throw new Error("its end is missing");
    for (const [alias, ref] of aliases) replay.alias(alias, ref);
    return {
      name,
      segment,
      removed,
      bytes: sizeOfSegments(snapshotDir, listSegments(snapshotDir)),
    };
  } catch (error) {
    throw new SnapshotUnusableError(snapshotDir, error instanceof Error ? error.message : "");
  }
}

/** The snapshots of a data directory, with where one cannot be read. */
export function headSnapshots(dir: string): { dir: string; damage: LogDamage | null }[] {
  const names = readdirSync(dir).filter((name) => NAME.test(name));
  return names.map((name) => {
    const own = path.join(dir, name);
    return { dir: own, damage: readLog(own, 0, Number.MAX_SAFE_INTEGER, () => undefined) };
  });
}

/** Deletes all snapshots but one. */
export function deleteSnapshots(dir: string, keep: string | null): void {
  for (const name of readdirSync(dir)) {
    if (NAME.test(name) && name !== keep) files.remove(path.join(dir, name));
  }
}

/** Whether a killed writer left it. */
export function isUnfinishedSnapshot(name: string): boolean {
  return UNFINISHED.test(name);
}

function jsonRecord(type: number, value: Begin | End): Uint8Array {
  return Buffer.concat([Uint8Array.of(type), Buffer.from(JSON.stringify(value))]);
}

function parsed<T>(record: Uint8Array): T {
  return JSON.parse(Buffer.from(record.subarray(1)).toString()) as T;
}
