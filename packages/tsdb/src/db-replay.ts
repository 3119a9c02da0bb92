/** Start-up: the newest checkpoint, then the log's segments above it, into an empty head. */

import { existsSync } from "node:fs";
import path from "node:path";
import { newestCheckpoint } from "./db-checkpoint.ts";
import type { Head } from "./head/head.ts";
import { RecordMalformedError, type ReplayCounts } from "./head/replay.ts";
import { type LogDamage, readLog, repairLog } from "./wlog/reader.ts";

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
export function replayLog(dir: string, head: Head, minTime: number, log: LogLine): ReplayCounts {
  const walDir = path.join(dir, "wal");
  const replay = head.beginReplay(minTime);
  try {
    if (!existsSync(walDir)) return replay.counts;
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
        reportDamage("checkpoint", checkpointDir, damage, log);
        repairLog(checkpointDir, damage);
      }
    }
    const first = (checkpoint?.covers ?? -1) + 1;
    const damage = readLog(walDir, first, Number.MAX_SAFE_INTEGER, take);
    if (damage !== null) {
      reportDamage("write-ahead log", walDir, damage, log);
      repairLog(walDir, damage);
    }
  } finally {
    replay.end();
  }
  return replay.counts;
}

function reportDamage(what: string, dir: string, damage: LogDamage, log: LogLine): void {
  log(
    damage.torn ? "info" : "error",
    damage.torn
      ? `${what} ends inside a record; the end is cut`
      : `${what} is damaged; everything behind the damage is dropped`,
    { dir, segment: damage.segment, offset: damage.offset, reason: damage.reason },
  );
}
