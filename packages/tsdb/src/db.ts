/**
 * The storage of one tenant: a data directory as Prometheus has it.
 *
 *   lock           the writer's mark
 *   wal/           segments, and checkpoint.NNNNNNNN/
 *   wbl/           the log of samples that came out of order, once there was one
 *   chunks_head/   empty: the head's chunks are in memory, and in the log
 *   <ULID>/        blocks
 *
 * Writes go to the head and its log; reads to head and blocks alike. Cutting a block moves the head's oldest
 * aligned range into one, then the log is checkpointed.
 */

import { readdirSync } from "node:fs";
import path from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { WriteRequestBuffer } from "@torus/kernels";
import type { Chunk, ChunkQueryable } from "@torus/model";
import type { TsdbBlockMeta } from "./block/meta.ts";
import { deleteBlock, type NewBlock } from "./block/write-block.ts";
import { MergedChunks } from "./chunk-merge.ts";
import { overlappingBlocks } from "./compact/compact.ts";
import { runInBackground } from "./cut/background.ts";
import { BlockSet, type HeldBlock } from "./db-blocks.ts";
import { deleteCovered, segmentToCover } from "./db-checkpoint.ts";
import { LateLog } from "./db-late-log.ts";
import { forgetStored } from "./db-late-stored.ts";
import { lockDirectory } from "./db-lock.ts";
import { type LogLine, replayLog } from "./db-replay.ts";
import { encodedSeries } from "./encoded-series.ts";
import { files } from "./files.ts";
import type { AppendCounts } from "./head/append.ts";
import type { ClosedRange } from "./head/close-range.ts";
import { Head } from "./head/head.ts";
import type { NumberedSeries } from "./head/numbered-series.ts";
import type { Replay, ReplayCounts } from "./head/replay.ts";
import {
  type MetricMetadataSet,
  metadataRecords,
  type NamedMetadata,
  type Told,
} from "./metric-metadata.ts";
import { encodeRecord } from "./wlog/records.ts";
import type { Compression } from "./wlog/segment.ts";
import { LogWriter } from "./wlog/writer.ts";

const LATE_SLICE = 64;
const REF_SLICE = 16_384;

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
  /** What senders tell of the tenant's metrics. */
  readonly metadata: MetricMetadataSet;
  readonly #options: TsdbOptions;
  readonly #head: Head;
  readonly #wal: LogWriter;
  readonly #lateLog: LateLog;
  readonly #blocks: BlockSet;
  readonly #unlock: () => void;
  #retentionMs: number;
  readonly #queryable: ChunkQueryable;
  /** Series that left the head, and the segment in which the log may still name them. */
  readonly #removedRefs = new Map<number, number>();
  /** Further refs under which the log names a series, by ref: their records are needed as long as the series is. */
  readonly #aliases: Map<number, number>;
  /** The cut, flush or deletion under way: they run one after another. */
  #work: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    options: TsdbOptions,
    head: Head,
    wal: LogWriter,
    lateLog: LateLog,
    blocks: BlockSet,
    replayed: Pick<Replay, "counts" | "aliases" | "metadata">,
    unlock: () => void,
  ) {
    this.dir = options.dir;
    this.#options = options;
    this.#retentionMs = options.retentionMs;
    this.#head = head;
    this.#wal = wal;
    this.#lateLog = lateLog;
    this.#blocks = blocks;
    this.replayed = replayed.counts;
    this.#aliases = replayed.aliases;
    this.metadata = replayed.metadata;
    this.#unlock = unlock;
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
    const { dir, log } = options;
    const unlock = lockDirectory(dir);
    let head: Head | undefined;
    let wal: LogWriter | undefined;
    const lateLog = new LateLog(path.join(dir, "wbl"), options.walCompression);
    try {
      removeUnfinished(dir);
      const walDir = path.join(dir, "wal");
      files.makeDirectory(walDir);
      removeMappedChunks(dir);
      const blocks = new BlockSet(dir, log);
      blocks.deleteSuperseded();
      head = new Head({ log: (records) => (wal as LogWriter).log(records) }, lateLog, {
        outOfOrderWindowMs: options.outOfOrderWindowMs,
        chunkRangeMs: options.blockDurationMs,
        seriesLimit: options.seriesLimit,
        maxExemplars: options.maxExemplars,
        now: options.now,
      });
      const minTime = blocks.maxTime + 1;
      const replayed = replayLog(dir, head, minTime, log);
      wal = new LogWriter(walDir, { compression: options.walCompression });
      const db = new Tsdb(options, head, wal, lateLog, blocks, replayed, unlock);
      // Under the refs of now, and without what was cut off behind damage.
      if (head.late.count > 0 || replayed.counts.unknownRefs > 0) {
        const forgotten = forgetStored(head.late, blocks.readers, log);
        if (forgotten > 0) {
          log("info", "out-of-order samples are in blocks already", { dir, samples: forgotten });
        }
        lateLog.rewrite(head.late);
      }
      // Series whose samples are all in blocks came back empty.
      if (minTime > Number.NEGATIVE_INFINITY) await db.#truncateHead(minTime);
      return db;
    } catch (error) {
      wal?.abandon();
      lateLog.abandon();
      head?.close();
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
    if (!this.#closed) this.#tryLogMetadata(this.metadata.note(entries));
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
      this.#tryLogMetadata(this.metadata.unlogged());
      const out: TsdbBlockMeta[] = [];
      const duration = this.#options.blockDurationMs;
      while (this.#head.maxTime - this.#head.minTime > duration * 1.5) {
        const end = Math.floor(this.#head.minTime / duration) * duration + duration;
        const meta = await this.#cut(end - duration, end, end);
        if (meta !== null) out.push(meta);
      }
      if (out.length > 0) {
        out.push(...(await this.#cutLate()));
        await this.#checkpoint(false);
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
        const meta = await this.#cut(minTime, end, end);
        if (meta !== null) out.push(meta);
      }
      out.push(...(await this.#cutLate()));
      await this.#checkpoint(true);
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
        const merged = meta === null ? null : this.#openWritten(meta);
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

  /** Ends the log and gives memory and lock back. What is in the head comes back by replay. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#work.catch(() => undefined);
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

  async #cut(minTime: number, maxTime: number, validFrom: number): Promise<TsdbBlockMeta | null> {
    const floor = Math.max(minTime, this.#head.minValidTime);
    // No sample before the end may come while its range is written, or it would be lost with the head's chunks.
    this.#head.refuseBefore(validFrom);
    const { late } = this.#head;
    late.seal(floor, maxTime - 1);
    const block = { minTime: floor, maxTime, now: this.#options.now() };
    const written = await this.#writeSealed(block, (lateRefs) =>
      this.#head.closeRange(floor, maxTime, lateRefs),
    );
    // In one step: from here on the range is read from the block and no longer from the head.
    if (written !== null) this.#blocks.add(written);
    this.#head.readFrom(maxTime);
    late.dropSealed();
    const meta = written?.reader.meta ?? null;
    if (meta !== null) {
      this.#options.log("info", "block cut from the head", {
        block: meta.ulid,
        minTime: meta.minTime,
        maxTime: meta.maxTime,
        series: meta.stats.numSeries ?? 0,
      });
    }
    await this.#truncateHead(maxTime);
    return meta;
  }

  /** Blocks of the late samples that are older than the head: they came when their range was cut already. */
  async #cutLate(): Promise<TsdbBlockMeta[]> {
    const { late } = this.#head;
    const out: TsdbBlockMeta[] = [];
    const duration = this.#options.blockDurationMs;
    const before = this.#head.minValidTime;
    while (late.minTime < before) {
      const minTime = Math.floor(late.minTime / duration) * duration;
      const maxTime = Math.min(minTime + duration, before);
      late.seal(minTime, maxTime - 1);
      const block = { minTime, maxTime, hints: ["from-out-of-order"], now: this.#options.now() };
      const written = await this.#writeSealed(block, (lateRefs) => {
        const series = Uint32Array.from(lateRefs, (ref) => this.#head.addressOf(ref));
        return { series, newest: new Uint32Array(series.length) };
      });
      if (written !== null) this.#blocks.add(written);
      late.dropSealed();
      if (written !== null) out.push(written.reader.meta);
    }
    this.#lateLog.rewrite(late);
    await this.#truncateHead(before);
    return out;
  }

  /**
   * Writes a block of the sealed late samples and what `closed` gives for their refs, and opens it; null when there is
   * nothing. When it throws, the late samples are not sealed any more.
   */
  async #writeSealed(
    block: NewBlock,
    closed: (lateRefs: ReadonlySet<number>) => ClosedRange | Promise<ClosedRange>,
  ): Promise<HeldBlock | null> {
    const { late } = this.#head;
    try {
      const { series, newest } = await closed(new Set(late.sealedRefs()));
      if (series.length === 0) return null;
      const lateChunks = new Map<number, readonly Chunk[]>();
      for (const [ref, chunks] of late.sealedChunks()) {
        lateChunks.set(this.#head.addressOf(ref), chunks);
        if (lateChunks.size % LATE_SLICE === 0) await nextTurn();
      }
      const { memory } = this.#head;
      const input = { dir: this.dir, memory, series, newest, late: lateChunks, block };
      const meta = await runInBackground("cut", input);
      return meta === null ? null : this.#openWritten(meta);
    } catch (error) {
      late.unseal();
      throw error;
    }
  }

  /** A block that cannot be opened is as good as not written: the head keeps its samples, and writes them again. */
  #openWritten({ ulid }: TsdbBlockMeta): HeldBlock {
    try {
      return this.#blocks.open(ulid);
    } catch (error) {
      deleteBlock(path.join(this.dir, ulid));
      throw error;
    }
  }

  async #truncateHead(mint: number): Promise<void> {
    const segment = this.#wal.segment;
    for (const ref of await this.#head.truncate(mint)) this.#removedRefs.set(ref, segment);
  }

  /** What is not logged is told again before long, and then logged. */
  #tryLogMetadata(all: readonly Told[]): void {
    try {
      this.#logMetadata(all);
    } catch (error) {
      this.#options.log("error", "metadata of metrics is not logged", {
        dir: this.dir,
        error: error instanceof Error ? error.message : String(error),
      });
    }
  }

  #logMetadata(all: readonly Told[]): void {
    for (const { record, told } of metadataRecords(all, (name) => this.#head.refOfMetric(name))) {
      this.#wal.log([encodeRecord(record)]);
      for (const each of told) each.isLogged = true;
    }
  }

  async #checkpoint(whole: boolean): Promise<void> {
    const walDir = this.#wal.dir;
    const before = this.#wal.segment;
    this.#wal.nextSegment();
    const last = whole ? before : segmentToCover(walDir, before);
    if (last === null) return;
    this.#logMetadata(this.metadata.forgetLogged());
    const kept = new RefBits();
    let seen = 0;
    // Series that come meanwhile are in the log behind the checkpoint.
    for (const [ref] of this.#head.refs()) {
      kept.add(ref);
      if (++seen % REF_SLICE === 0) await nextTurn();
    }
    for (const [ref, segment] of this.#removedRefs) if (segment > last) kept.add(ref);
    for (const [alias, ref] of this.#aliases) if (kept.has(ref)) kept.add(alias);
    const mint = this.#head.minValidTime;
    const { walCompression: compression } = this.#options;
    await runInBackground("checkpoint", { walDir, last, keep: kept.words, mint, compression });
    deleteCovered(walDir, this.#wal);
    for (const [ref, segment] of this.#removedRefs) {
      if (segment <= last) this.#removedRefs.delete(ref);
    }
    for (const alias of this.#aliases.keys()) if (!kept.has(alias)) this.#aliases.delete(alias);
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

/** A set of refs, one bit each, as other threads get it. */
class RefBits {
  words = new Uint32Array(1024);

  add(ref: number): void {
    const at = ref >>> 5;
    if (at >= this.words.length) {
      const wider = new Uint32Array(Math.max(this.words.length * 2, at + 1));
      wider.set(this.words);
      this.words = wider;
    }
    this.words[at] = (this.words[at] as number) | (1 << (ref & 31));
  }

  has(ref: number): boolean {
    return (((this.words[ref >>> 5] ?? 0) >>> (ref & 31)) & 1) !== 0;
  }
}

/** Directories that a killed writer left half made or half deleted. */
function removeUnfinished(dir: string): void {
  for (const parent of [dir, path.join(dir, "wal")]) {
    let names: string[];
    try {
      names = readdirSync(parent);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    for (const name of names) {
      if (/\.tmp-for-(creation|deletion)$/.test(name) || /^checkpoint\.\d+\.tmp$/.test(name)) {
        files.remove(path.join(parent, name));
      }
    }
  }
}

/**
 * A Prometheus server leaves copies of head chunks here. All they hold is in the log, and a later server would
 * put them under refs that we may give out again.
 */
function removeMappedChunks(dir: string): void {
  const mapped = path.join(dir, "chunks_head");
  files.makeDirectory(mapped);
  for (const name of readdirSync(mapped))
    if (/^\d{6}$/.test(name)) files.unlink(path.join(mapped, name));
}
