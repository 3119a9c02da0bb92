/**
 * The write-ahead log of a head, and what is to be known of it: under which refs it names series, how much of it a start
 * would read, checkpoints and snapshots. One call at a time, but for those that log.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { runInBackground } from "./cut/background.ts";
import { logSize, segmentToCover } from "./db-checkpoint.ts";
import type { LogLine, StartedHead } from "./db-replay.ts";
import { writeSnapshot } from "./db-snapshot.ts";
import type { Head } from "./head/head.ts";
import {
  type MetricMetadataSet,
  metadataRecords,
  type NamedMetadata,
  type Told,
} from "./metric-metadata.ts";
import { encodeRecord } from "./wlog/records.ts";
import type { Compression } from "./wlog/segment.ts";
import type { LogWriter } from "./wlog/writer.ts";

const REF_SLICE = 16_384;
/** A stop writes a snapshot for this part of what the log grows by between two others: a start reads less in an instant. */
const PART_AT_STOP = 1 / 16;

export type HeadLogOptions = {
  dir: string;
  chunkRangeMs: number;
  compression: Compression;
  /** Bytes of the log behind a snapshot from which the next is due; 0 for no snapshots. */
  snapshotBytes: number;
  log: LogLine;
};

export class HeadLog {
  readonly #options: HeadLogOptions;
  readonly #head: Head;
  readonly #wal: LogWriter;
  /** What senders tell of the tenant's metrics. */
  readonly metadata: MetricMetadataSet;
  /** Series that left the head, and the segment in which the log may still name them. */
  readonly #removedRefs: Map<number, number>;
  /** Further refs under which the log names a series, by ref: their records are needed as long as the series is. */
  readonly #aliases: Map<number, number>;
  #snapshot: { segment: number; bytes: number } | null;
  /** What `#wal.written` was when a start would have had to read nothing of the log. */
  #writtenBefore: number;

  /** @param wal Opened behind what `started` was read from. */
  constructor(options: HeadLogOptions, started: StartedHead, wal: LogWriter) {
    const { head, replay, snapshot, logBytes } = started;
    this.#options = options;
    this.#head = head;
    this.#wal = wal;
    this.metadata = replay.metadata;
    this.#aliases = replay.aliases;
    this.#removedRefs = new Map(snapshot?.removed);
    this.#snapshot = snapshot;
    this.#writtenBefore = -logBytes;
  }

  noteRemoved(refs: readonly number[]): void {
    const { segment } = this.#wal;
    for (const ref of refs) this.#removedRefs.set(ref, segment);
  }

  /** Remembers what is told of metrics, and logs what is new and of a series in the head. */
  noteMetadata(entries: readonly NamedMetadata[]): void {
    this.#tryLogMetadata(this.metadata.note(entries));
  }

  logUnlogged(): void {
    this.#tryLogMetadata(this.metadata.unlogged());
  }

  /** What is not logged is told again before long, and then logged. */
  #tryLogMetadata(all: readonly Told[]): void {
    try {
      this.#logMetadata(all);
    } catch (error) {
      this.#options.log("error", "metadata of metrics is not logged", {
        dir: this.#options.dir,
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

  /**
   * Rewrites what is still needed of the log's older segments, and deletes these.
   * @param whole All of them, not two thirds.
   */
  async checkpoint(whole: boolean): Promise<void> {
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
    const { compression } = this.#options;
    await runInBackground("checkpoint", { walDir, last, keep: kept.words, mint, compression });
    if (this.#snapshot !== null && this.#snapshot.segment <= last) {
      this.#snapshot = null;
      await runInBackground("deleteSnapshots", { dir: this.#options.dir, keep: null });
    }
    if (this.#snapshot === null) this.#writtenBefore = this.#wal.written - logSize(walDir);
    for (const [ref, segment] of this.#removedRefs) {
      if (segment <= last) this.#removedRefs.delete(ref);
    }
    for (const alias of this.#aliases.keys()) if (!kept.has(alias)) this.#aliases.delete(alias);
  }

  /** Whether a start would read so much that a snapshot is worth its writing. */
  isSnapshotDue(atStop: boolean): boolean {
    const { snapshotBytes } = this.#options;
    if (snapshotBytes === 0 || this.#head.seriesCount === 0) return false;
    const tail = this.#wal.written - this.#writtenBefore;
    if (atStop) return tail >= snapshotBytes * PART_AT_STOP;
    return tail >= Math.max(snapshotBytes, this.#snapshot?.bytes ?? 0);
  }

  /** Writes a snapshot and deletes those before it. */
  async snapshot(): Promise<void> {
    const { dir, chunkRangeMs, log } = this.#options;
    this.logUnlogged();
    const before = this.#wal.written;
    this.#wal.nextSegment();
    const { segment } = this.#wal;
    const { name, bytes } = await writeSnapshot(dir, {
      head: this.#head,
      chunkRangeMs,
      segment,
      records: this.#otherRecords(),
      aliases: this.#aliases,
      removed: this.#removedRefs,
    });
    this.#snapshot = { segment, bytes };
    this.#writtenBefore = before;
    await runInBackground("deleteSnapshots", { dir, keep: name });
    log("info", "snapshot of the head written", { dir, snapshot: name, bytes });
  }

  *#otherRecords(): Generator<Uint8Array> {
    yield* this.#head.exemplarRecords();
    const logged = this.metadata.all().filter(({ isLogged }) => isLogged);
    for (const { record } of metadataRecords(logged, (name) => this.#head.refOfMetric(name))) {
      yield encodeRecord(record);
    }
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
