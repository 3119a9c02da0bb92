/**
 * The storage of one tenant: a data directory as Prometheus has it.
 *
 *   lock           the writer's mark
 *   wal/           segments, and checkpoint.NNNNNNNN/
 *   <ULID>/        blocks
 *
 * Writes go to the head and its log; reads to head and blocks alike.
 */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { WriteRequestBuffer } from "@torus/kernels";
import type { ChunkQueryable } from "@torus/model";
import { lockDirectory } from "./db-lock.ts";
import { type LogLine, replayLog } from "./db-replay.ts";
import type { AppendCounts } from "./head/append.ts";
import { Head } from "./head/head.ts";
import type { ReplayCounts } from "./head/replay.ts";
import type { Compression } from "./wlog/segment.ts";
import { LogWriter } from "./wlog/writer.ts";

export type TsdbOptions = {
  dir: string;
  /** Length of the blocks cut from the head: 2 h. */
  blockDurationMs: number;
  walCompression: Compression;
  /** The most series in the head; 0 for no limit. */
  seriesLimit: number;
  now: () => number;
  log: LogLine;
};

export class Tsdb {
  readonly dir: string;
  readonly replayed: ReplayCounts;
  readonly #head: Head;
  readonly #wal: LogWriter;
  readonly #unlock: () => void;
  #closed = false;

  private constructor(
    dir: string,
    head: Head,
    wal: LogWriter,
    replayed: ReplayCounts,
    unlock: () => void,
  ) {
    this.dir = dir;
    this.#head = head;
    this.#wal = wal;
    this.replayed = replayed;
    this.#unlock = unlock;
  }

  /**
   * Opens a data directory, making it when it is missing, and replays its log.
   * @throws {DirectoryLockedError} when something else writes it.
   */
  static open(options: TsdbOptions): Tsdb {
    const { dir, log } = options;
    const unlock = lockDirectory(dir);
    let head: Head | undefined;
    try {
      removeUnfinished(dir);
      const walDir = path.join(dir, "wal");
      mkdirSync(walDir, { recursive: true });
      let wal: LogWriter | undefined;
      head = new Head(
        { log: (records) => (wal as LogWriter).log(records) },
        {
          chunkRangeMs: options.blockDurationMs,
          seriesLimit: options.seriesLimit,
          now: options.now,
        },
      );
      const replayed = replayLog(dir, head, Number.NEGATIVE_INFINITY, log);
      wal = new LogWriter(walDir, { compression: options.walCompression });
      return new Tsdb(dir, head, wal, replayed, unlock);
    } catch (error) {
      head?.close();
      unlock();
      throw error;
    }
  }

  /** See `Appender.append`: stored and logged when it returns. */
  append(request: WriteRequestBuffer, chosen: Uint32Array | null): AppendCounts {
    return this.#head.append(request, chosen);
  }

  get head(): Head {
    return this.#head;
  }

  /** Head and blocks as one. */
  queryable(): ChunkQueryable {
    return this.#head;
  }

  /** ms; Infinity when there is no sample at all. */
  get minTime(): number {
    return this.#head.minTime;
  }

  /** ms; -Infinity when there is no sample at all. */
  get maxTime(): number {
    return this.#head.maxTime;
  }

  /** Ends the log and gives memory and lock back. What is in the head comes back by replay. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wal.close();
    this.#head.close();
    this.#unlock();
  }
}

/** Directories that a killed writer left half made or half deleted. */
function removeUnfinished(dir: string): void {
  for (const name of readdirSync(dir)) {
    if (/\.tmp-for-(creation|deletion)$/.test(name) || name.endsWith(".tmp")) {
      rmSync(path.join(dir, name), { recursive: true, force: true });
    }
  }
}
