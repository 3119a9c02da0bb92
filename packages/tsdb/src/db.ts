/**
 * The storage of one tenant: a data directory as Prometheus has it.
 *
 *   lock           the writer's mark
 *   wal/           segments, and checkpoint.NNNNNNNN/
 *   wbl/           the log of samples that came out of order, once there was one
 *   chunks_head/   empty: the head's chunks are in memory, and in the log
 *   <ULID>/        blocks
 *   head_snapshot.NNNNNNNN/   see db-snapshot.ts
 *
 * Writes go to the head and its log; reads to head and blocks alike. Cutting a block moves the head's oldest
 * aligned range into one, then the log is checkpointed.
 */

import path from "node:path";
import type { WriteRequestBuffer } from "@torus/kernels";
import type { ChunkQueryable } from "@torus/model";
import type { TsdbBlockMeta } from "./block/meta.ts";
import { MergedChunks } from "./chunk-merge.ts";
import { overlappingBlocks } from "./compact/compact.ts";
import { runInBackground } from "./cut/background.ts";
import { BlockSet } from "./db-blocks.ts";
import { BlockCutter } from "./db-cut.ts";
import { prepareDirectory } from "./db-directory.ts";
import { HeadLog } from "./db-head-log.ts";
import { LateLog } from "./db-late-log.ts";
import { forgetStored } from "./db-late-stored.ts";
import { lockDirectory } from "./db-lock.ts";
import { type LogLine, type StartedHead, startHead } from "./db-replay.ts";
import { encodedSeries } from "./encoded-series.ts";
import type { AppendCounts } from "./head/append.ts";
import { Head } from "./head/head.ts";
import type { NumberedSeries } from "./head/numbered-series.ts";
import type { RecordLog } from "./head/record-log.ts";
import type { ReplayCounts } from "./head/replay.ts";
import type { MetricMetadataSet, NamedMetadata } from "./metric-metadata.ts";
import type { Compression } from "./wlog/segment.ts";
import { LogWriter } from "./wlog/writer.ts";

export type TsdbOptions = {
  dir: string;
  /** Length of the blocks cut from the head: 2 h. */
  blockDurationMs: number;
  /** How long blocks are kept; 0 for ever. */
  retentionMs: number;
  /** The most bytes of blocks; 0 for no limit. */
  maxBytes: number;
  walCompression: Compression;
  /** The most series in the head; 0 for no limit. */
  seriesLimit: number;
  /** How far behind a tenant's newest sample late ones are taken; 0 for not at all. */
  outOfOrderWindowMs: number;
  /** The most exemplars in memory; 0 for none. */
  maxExemplars: number;
  /** Bytes of log behind a snapshot of the head from which another is written; 0 for no snapshots. */
  snapshotBytes: number;
  /** Whether start timestamps are kept; they are not when it is left out. */
  startTimes?: boolean;
  now: () => number;
  log: LogLine;
};

/** The database was closed before the call. */
export class TsdbClosedError extends Error {
  readonly dir: string;
  constructor(dir: string) {
    super(`${dir}: the database is closed`);
    this.name = "TsdbClosedError";
    this.dir = dir;
  }
}

export class Tsdb {
  readonly dir: string;
  readonly replayed: ReplayCounts;
  readonly #options: TsdbOptions;
  readonly #head: Head;
  readonly #wal: LogWriter;
  readonly #headLog: HeadLog;
  readonly #lateLog: LateLog;
  readonly #blocks: BlockSet;
  readonly #cutter: BlockCutter;
  readonly #unlock: () => void;
  #retentionMs: number;
  readonly #queryable: ChunkQueryable;
  /** The cut, flush or deletion under way: they run one after another. */
  #work: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    options: TsdbOptions,
    started: StartedHead,
    wal: LogWriter,
    lateLog: LateLog,
    blocks: BlockSet,
    unlock: () => void,
  ) {
    const { dir, blockDurationMs, snapshotBytes, now, log } = options;
    const { head, replay } = started;
    this.dir = dir;
    this.#options = options;
    this.#retentionMs = options.retentionMs;
    this.#head = head;
    this.#wal = wal;
    this.#lateLog = lateLog;
    this.#blocks = blocks;
    this.replayed = replay.counts;
    this.#unlock = unlock;
    const compression = options.walCompression;
    const logOptions = { dir, chunkRangeMs: blockDurationMs, compression, snapshotBytes, log };
    const headLog = new HeadLog(logOptions, started, wal);
    this.#headLog = headLog;
    this.#cutter = new BlockCutter(
      { dir, blockDurationMs, now, log },
      head,
      blocks,
      lateLog,
      (refs) => headLog.noteRemoved(refs),
    );
    this.#queryable = new MergedChunks(
      () => [...this.#blocks.sources, this.#head, this.#head.late],
      (select) => encodedSeries(this.#blocks.sources, this.#head, select),
    );
  }

  /**
   * Opens a data directory, making it when it is missing, and replays its log.
   * @throws {DirectoryLockedError} when something else writes it.
   */
  static async open(options: TsdbOptions): Promise<Tsdb> {
    const { dir, blockDurationMs: chunkRangeMs, log, walCompression: compression } = options;
    const unlock = lockDirectory(dir);
    let started: StartedHead | undefined;
    let wal: LogWriter | undefined;
    const lateLog = new LateLog(path.join(dir, "wbl"), compression);
    try {
      prepareDirectory(dir);
      const blocks = new BlockSet(dir, log);
      blocks.deleteSuperseded();
      const minTime = blocks.maxTime + 1;
      const records: RecordLog = { log: (all) => (wal as LogWriter).log(all) };
      started = startHead(
        { dir, minTime, chunkRangeMs, log },
        () => new Head(records, lateLog, { ...options, chunkRangeMs }),
      );
      wal = new LogWriter(path.join(dir, "wal"), { compression, syncsLater: true });
      const db = new Tsdb(options, started, wal, lateLog, blocks, unlock);
      const { late } = started.head;
      // Under the refs of now, and without what was cut off behind damage.
      if (late.count > 0 || started.replay.counts.unknownRefs > 0) {
        const forgotten = forgetStored(late, blocks.readers, log);
        if (forgotten > 0) {
          log("info", "out-of-order samples are in blocks already", { dir, samples: forgotten });
        }
        lateLog.rewrite(late);
      }
      // Series whose samples are all in blocks came back empty.
      if (minTime > Number.NEGATIVE_INFINITY) await db.#cutter.truncateHead(minTime);
      return db;
    } catch (error) {
      wal?.abandon();
      lateLog.abandon();
      started?.head.close();
      unlock();
      throw error;
    }
  }

  /** See `Appender.append`: stored and logged when it returns. @throws {TsdbClosedError} */
  append(request: WriteRequestBuffer, chosen: Uint32Array | null): AppendCounts {
    this.#assertOpen();
    return this.#head.append(request, chosen);
  }

  /** See `NumberedSeries`; what it appends is stored and logged as by `append`. @throws {TsdbClosedError} */
  numberedSeries(): NumberedSeries {
    this.#assertOpen();
    return this.#head.numberedSeries();
  }

  /** Remembers what is told of metrics, and logs what is new and of a series in the head. */
  noteMetadata(entries: readonly NamedMetadata[]): void {
    if (!this.#closed) this.#headLog.noteMetadata(entries);
  }

  /** What senders tell of the tenant's metrics. */
  get metadata(): MetricMetadataSet {
    return this.#headLog.metadata;
  }

  get head(): Head {
    return this.#head;
  }

  /** Head and blocks as one. A read sees what was there when it began. */
  queryable(): ChunkQueryable {
    return this.#queryable;
  }

  /** ms; Infinity when there is no sample at all. */
  get minTime(): number {
    return Math.min(this.#blocks.minTime, this.#head.minTime, this.#head.late.minTime);
  }

  /** ms; -Infinity when there is no sample at all. */
  get maxTime(): number {
    return Math.max(this.#blocks.maxTime, this.#head.maxTime, this.#head.late.maxTime);
  }

  /** Ascending by minTime. */
  blocks(): TsdbBlockMeta[] {
    return this.#blocks.metas;
  }

  blockBytes(): number {
    return this.#blocks.sizeBytes;
  }

  reloadBlocks(): void {
    this.#blocks.reload();
  }

  /**
   * Cuts aligned ranges into blocks as long as the head spans more than one and a half of them, then checkpoints
   * the log. Appends and reads go on meanwhile.
   *
   * @returns The new blocks.
   */
  compactHead(): Promise<TsdbBlockMeta[]> {
    return this.#inTurn(async () => {
      this.#headLog.logUnlogged();
      const out: TsdbBlockMeta[] = [];
      const duration = this.#options.blockDurationMs;
      while (this.#head.maxTime - this.#head.minTime > duration * 1.5) {
        const end = Math.floor(this.#head.minTime / duration) * duration + duration;
        const meta = await this.#cutter.cut(end - duration, end);
        if (meta !== null) out.push(meta);
      }
      if (out.length > 0) {
        out.push(...(await this.#cutter.cutLate()));
        await this.#headLog.checkpoint(false);
      }
      return out;
    });
  }

  /** Cuts everything into blocks and empties head and log: before a tenant is removed, or at the end. */
  flush(): Promise<TsdbBlockMeta[]> {
    return this.#inTurn(async () => {
      const out: TsdbBlockMeta[] = [];
      const duration = this.#options.blockDurationMs;
      while (this.#head.maxTime >= this.#head.minTime) {
        const { minTime, maxTime } = this.#head;
        const start = Math.floor(minTime / duration) * duration;
        const end = Math.min(start + duration, maxTime + 1);
        const meta = await this.#cutter.cut(minTime, end);
        if (meta !== null) out.push(meta);
      }
      out.push(...(await this.#cutter.cutLate()));
      await this.#headLog.checkpoint(true);
      return out;
    });
  }

  /** How long blocks are kept from the next `applyRetention` on; 0 for ever. */
  setRetention(retentionMs: number): void {
    this.#retentionMs = retentionMs;
  }

  /**
   * Deletes blocks over the retention's time or size, never one that is not shipped.
   * @returns The deleted ones' ULIDs.
   */
  applyRetention(isShipped: (ulid: string) => boolean): Promise<string[]> {
    return this.#inTurn(() =>
      this.#blocks.applyRetention(
        this.#retentionMs,
        this.#options.maxBytes,
        this.maxTime,
        isShipped,
      ),
    );
  }

  /**
   * Merges blocks that overlap, as late samples leave them, until none does. Whoever ships blocks takes those of the
   * first level only, so this is for directories from which nothing is shipped.
   *
   * @returns The new blocks.
   */
  mergeOverlapping(): Promise<TsdbBlockMeta[]> {
    return this.#inTurn(async () => {
      const out: TsdbBlockMeta[] = [];
      for (;;) {
        const dirs = overlappingBlocks(this.#blocks.readers).map(({ dir }) => dir);
        if (dirs.length === 0) return out;
        const input = { dir: this.dir, blocks: dirs, now: this.#options.now() };
        const meta = await runInBackground("compact", input);
        const merged = meta === null ? null : this.#blocks.openWritten(meta);
        const sources = this.#blocks.sources.filter(({ reader }) => dirs.includes(reader.dir));
        await this.#blocks.replace(sources, merged);
        if (meta === null) continue;
        out.push(meta);
        const { ulid: block, minTime, maxTime } = meta;
        this.#options.log("info", "overlapping blocks merged", {
          block,
          minTime,
          maxTime,
          blocks: dirs.length,
        });
      }
    });
  }

  /** Writes a snapshot of the head, with which the next start is short, when the log has grown enough. */
  snapshotWhenDue(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#headLog.isSnapshotDue(false)) await this.#headLog.snapshot();
    });
  }

  /** Ends the log and gives memory and lock back. What is in the head comes back by snapshot and log. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#work.catch(() => undefined);
    await this.#snapshotAtStop();
    await this.#wal.settled();
    try {
      this.#wal.close();
    } finally {
      try {
        this.#lateLog.close();
      } finally {
        this.#head.close();
        this.#unlock();
      }
    }
  }

  async #snapshotAtStop(): Promise<void> {
    try {
      if (this.#headLog.isSnapshotDue(true)) await this.#headLog.snapshot();
    } catch (error) {
      const { dir, log } = this.#options;
      const reason = error instanceof Error ? error.message : String(error);
      log("warn", "no snapshot of the head; the next start reads the log", { dir, error: reason });
    }
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#work.then(() => {
      this.#assertOpen();
      return run();
    });
    this.#work = turn.catch(() => undefined);
    return turn;
  }

  #assertOpen(): void {
    if (this.#closed) throw new TsdbClosedError(this.dir);
  }
}
