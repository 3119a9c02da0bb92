/** Start-up: a snapshot, or the newest checkpoint, then the log's segments above it, into an empty head. */

import { existsSync } from "node:fs";
import path from "node:path";
import { logSize, newestCheckpoint } from "./db-checkpoint.ts";
import {
  deleteSnapshots,
  type RestoredSnapshot,
  restoreSnapshot,
  SnapshotUnusableError,
  usableSnapshot,
} from "./db-snapshot.ts";
import type { Head } from "./head/head.ts";
import { RecordMalformedError, RecordType, type Replay } from "./head/replay.ts";
import { type LogDamage, readLog, repairLog } from "./wlog/reader.ts";
import { LogRecordMalformedError } from "./wlog/records.ts";
import { listSegments, sizeOfSegments } from "./wlog/segment.ts";

/** One line of the log, with its fields. */
export type LogLine = (
  level: "info" | "warn" | "error",
  message: string,
  fields: Readonly<Record<string, string | number>>,
) => void;

/** A head as it was before the stop. */
export type StartedHead = {
  head: Head;
  replay: Pick<Replay, "counts" | "aliases" | "metadata">;
  /** What it was restored from before the log was read. */
  snapshot: RestoredSnapshot | null;
  /** Of the log, behind its checkpoint or the snapshot. */
  logBytes: number;
};

export type StartInput = {
  dir: string;
  /** Samples before it (ms) are in blocks and passed over. */
  minTime: number;
  chunkRangeMs: number;
  log: LogLine;
};

/**
 * Fills a head from the newest snapshot of the directory, where there is one that can be used, and from the log. Where
 * the log is damaged it is cut, as Prometheus does; a torn end is what every crash leaves and loses nothing acknowledged.
 */
export function startHead(input: StartInput, newHead: () => Head): StartedHead {
  const { dir, minTime, chunkRangeMs, log } = input;
  let head = newHead();
  let replay = head.beginReplay(minTime);
  let snapshot: RestoredSnapshot | null = null;
  try {
    const newest = usableSnapshot(dir);
    if (newest !== null) {
      try {
        snapshot = restoreSnapshot(dir, newest, replay, chunkRangeMs);
        const { name, segment } = newest;
        log("info", "head is restored from a snapshot", { dir, snapshot: name, segment });
      } catch (error) {
        if (!(error instanceof SnapshotUnusableError)) throw error;
        log("warn", "snapshot of the head cannot be used; the whole log is read", {
          dir,
          snapshot: newest.name,
          reason: error.message,
        });
        replay.end();
        head.close();
        head = newHead();
        replay = head.beginReplay(minTime);
      }
    }
    replayLog(dir, replay, snapshot?.segment ?? null, log);
    deleteSnapshots(dir, snapshot?.name ?? null);
    const walDir = path.join(dir, "wal");
    const read = listSegments(walDir).filter((segment) => segment >= (snapshot?.segment ?? 0));
    const logBytes = snapshot === null ? logSize(walDir) : sizeOfSegments(walDir, read);
    return { head, replay, snapshot, logBytes };
  } catch (error) {
    head.close();
    throw error;
  } finally {
    replay.end();
  }
}

/** @param from The first segment that is read behind a snapshot; null for the whole log. */
function replayLog(dir: string, replay: Replay, from: number | null, log: LogLine): void {
  const walDir = path.join(dir, "wal");
  const take = (record: Uint8Array): void => {
    try {
      replay.record(record);
    } catch (error) {
      // Its checksum is right, so it was written like this: cutting the log there would lose good records.
      if (!(error instanceof RecordMalformedError)) throw error;
      log("error", "record of the write-ahead log cannot be read", { dir, error: error.message });
    }
  };
  const checkpoint = newestCheckpoint(walDir);
  if (checkpoint !== null && from === null) {
    const checkpointDir = path.join(walDir, checkpoint.name);
    const damage = readLog(checkpointDir, 0, Number.MAX_SAFE_INTEGER, take);
    if (damage !== null) {
      repair("checkpoint", checkpointDir, damage, log);
    }
  }
  const first = from ?? (checkpoint?.covers ?? -1) + 1;
  const damage = readLog(walDir, first, Number.MAX_SAFE_INTEGER, take);
  if (damage !== null) {
    repair("write-ahead log", walDir, damage, log);
  }
  replayLate(dir, replay, log);
  const { unknownRefs, skipped } = replay.counts;
  const deletions = skipped.get(RecordType.TOMBSTONES) ?? 0;
  if (deletions > 0) {
    log("warn", "deletions in the log are not carried out: what they deleted is there again", {
      dir,
      records: deletions,
    });
  }
  if (unknownRefs > 0) {
    log("warn", "samples in the log are of series that it does not have; they are dropped", {
      dir,
      samples: unknownRefs,
    });
  }
}

/** The log of samples that came out of order, whose series are those of the other log. */
function replayLate(dir: string, replay: Replay, log: LogLine): void {
  const wblDir = path.join(dir, "wbl");
  if (!existsSync(wblDir)) return;
  const damage = readLog(wblDir, 0, Number.MAX_SAFE_INTEGER, (record) => {
    try {
      replay.lateRecord(record);
    } catch (error) {
      if (!(error instanceof LogRecordMalformedError)) throw error;
      log("error", "record of the out-of-order log cannot be read", { dir, error: error.message });
    }
  });
  if (damage === null) return;
  repair("out-of-order log", wblDir, damage, log);
}

/** Cuts the log where it is damaged, and says what that drops. */
function repair(what: string, dir: string, damage: LogDamage, log: LogLine): void {
  const dropped = repairLog(dir, damage);
  log(
    damage.torn ? "info" : "error",
    damage.torn
      ? `${what} ends inside a record; the end is cut`
      : `${what} is damaged; everything behind the damage is dropped`,
    {
      dir,
      segment: damage.segment,
      offset: damage.offset,
      reason: damage.reason,
      droppedBytes: dropped.bytes,
      droppedSegments: dropped.segments,
    },
  );
}
