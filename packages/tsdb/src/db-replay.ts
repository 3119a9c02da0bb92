/** Start-up: the newest checkpoint, then the log's segments above it, into an empty head. */

import { existsSync } from "node:fs";
import path from "node:path";
import { newestCheckpoint } from "./db-checkpoint.ts";
import type { Head } from "./head/head.ts";
import { RecordMalformedError, RecordType, type Replay } from "./head/replay.ts";
import { type LogDamage, readLog, repairLog } from "./wlog/reader.ts";
import { LogRecordMalformedError } from "./wlog/records.ts";

/** One line of the log, with its fields. */
export type LogLine = (
  level: "info" | "warn" | "error",
  message: string,
  fields: Readonly<Record<string, string | number>>,
) => void;

/**
 * Replays `<dir>/wal` into the head. Samples before `minTime` are in blocks and passed over. Where the log is
 * damaged it is cut, as Prometheus does; a torn end is what every crash leaves and loses nothing acknowledged.
 */
export function replayLog(
  dir: string,
  head: Head,
  minTime: number,
  log: LogLine,
): Pick<Replay, "counts" | "aliases" | "metadata"> {
  const walDir = path.join(dir, "wal");
  const replay = head.beginReplay(minTime);
  try {
    if (!existsSync(walDir)) return replay;
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
    if (checkpoint !== null) {
      const checkpointDir = path.join(walDir, checkpoint.name);
      const damage = readLog(checkpointDir, 0, Number.MAX_SAFE_INTEGER, take);
      if (damage !== null) {
        repair("checkpoint", checkpointDir, damage, log);
      }
    }
    const first = (checkpoint?.covers ?? -1) + 1;
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
  } finally {
    replay.end();
  }
  return replay;
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
