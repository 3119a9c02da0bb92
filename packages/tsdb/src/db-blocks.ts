/** The blocks of a data directory: which there are, who reads them, and when one may be deleted. */

import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  isUlid,
  type LabelSelect,
} from "@torus/model";
import { BlockReader } from "./block/block-reader.ts";
import type { TsdbBlockMeta } from "./block/meta.ts";
import { deleteBlock } from "./block/write-block.ts";
import { runInBackground } from "./cut/background.ts";
import { BlockSeries } from "./data-dir/block-series.ts";
import type { LogLine } from "./db-replay.ts";
import { keptSeries } from "./kept-series.ts";

const READER_POLL_MS = 20;

/** A block with a count of those who read it: it is not deleted under them. */
export class HeldBlock implements ChunkQueryable {
  readonly reader: BlockReader;
  readonly series: BlockSeries;
  readonly sizeBytes: number;
  readers = 0;

  constructor(dir: string) {
    this.reader = new BlockReader(dir);
    this.series = new BlockSeries(this.reader, keptSeries);
    this.sizeBytes = sizeOf(dir);
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    this.readers++;
    try {
      yield* this.reader.selectChunks(select);
    } finally {
      this.readers--;
    }
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    return this.#held(() => this.reader.labelNames(select));
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    return this.#held(() => this.reader.labelValues(name, select));
  }

  async #held<T>(run: () => Promise<T>): Promise<T> {
    this.readers++;
    try {
      return await run();
    } finally {
      this.readers--;
    }
  }
}

/** The system could not read a block. */
export class BlockUnreadableError extends Error {
  readonly dir: string;
  constructor(dir: string, cause: unknown) {
    super(`open block ${dir}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
    this.name = "BlockUnreadableError";
    this.dir = dir;
  }
}

/** An error of the system, as EIO or EMFILE, not of what a file says; a file that is missing is damage. */
function isSystemError(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, syscall } = at as NodeJS.ErrnoException;
    if (syscall !== undefined) return code !== "ENOENT";
  }
  return false;
}

export class BlockSet {
  readonly #dir: string;
  readonly #log: LogLine;
  /** Ascending by minTime. */
  #blocks: readonly HeldBlock[] = [];
  /** Sources of a merge that was killed before it deleted them: their samples are read from the merged block. */
  #superseded: readonly HeldBlock[] = [];

  /**
   * Blocks that are damaged are left out, and said. When the system cannot read one, nothing is known of it: without
   * its range the log would be replayed into the head as if there were no block.
   * @throws {BlockUnreadableError}
   */
  constructor(dir: string, log: LogLine) {
    this.#dir = dir;
    this.#log = log;
    this.#load((block, error) => {
      if (isSystemError(error)) throw new BlockUnreadableError(block, error);
    });
  }

  /** Takes up blocks that were added to the directory and forgets those that are gone. */
  reload(): void {
    this.#load(() => undefined);
  }

  /**
   * Opens a new block, which is there for readers once it is given to `add`. One that cannot be opened is as good as not
   * written, and deleted: what it was made from is still there.
   */
  openWritten({ ulid }: TsdbBlockMeta): HeldBlock {
    const dir = path.join(this.#dir, ulid);
    try {
      return new HeldBlock(dir);
    } catch (error) {
      deleteBlock(dir);
      throw error;
    }
  }

  add(block: HeldBlock): void {
    this.#setSorted([...this.#blocks, block]);
  }

  #load(onError: (dir: string, error: unknown) => void): void {
    const known = new Map(this.#blocks.map((block) => [block.reader.meta.ulid, block]));
    const blocks: HeldBlock[] = [];
    for (const name of readdirSync(this.#dir)) {
      if (!isUlid(name)) continue;
      const dir = path.join(this.#dir, name);
      if (!existsSync(path.join(dir, "meta.json"))) continue;
      try {
        blocks.push(known.get(name) ?? new HeldBlock(dir));
      } catch (error) {
        onError(dir, error);
        this.#log("error", "block cannot be opened and is left out", {
          dir,
          error: error instanceof Error ? error.message : String(error),
        });
      }
    }
    const parents = new Set(
      blocks.flatMap(
        ({ reader: { meta } }) => meta.compaction.parents?.map(({ ulid }) => ulid) ?? [],
      ),
    );
    const isSuperseded = ({ reader }: HeldBlock): boolean => parents.has(reader.meta.ulid);
    this.#superseded = blocks.filter(isSuperseded);
    this.#setSorted(blocks.filter((block) => !isSuperseded(block)));
  }

  /** What a merge left behind when it was killed; for the directory's writer. */
  deleteSuperseded(): void {
    for (const { reader } of this.#superseded) {
      deleteBlock(reader.dir);
      this.#log("info", "block that was merged is deleted", { block: reader.meta.ulid });
    }
    this.#superseded = [];
  }

  /** Lets go of what is kept of series that were read. */
  release(): void {
    for (const { series } of this.#blocks) series.release();
  }

  #setSorted(blocks: HeldBlock[]): void {
    for (const block of this.#blocks) if (!blocks.includes(block)) block.series.release();
    this.#blocks = blocks.sort((a, b) => a.reader.meta.minTime - b.reader.meta.minTime);
  }

  get metas(): TsdbBlockMeta[] {
    return this.#blocks.map((block) => block.reader.meta);
  }

  get sizeBytes(): number {
    return this.#blocks.reduce((sum, block) => sum + block.sizeBytes, 0);
  }

  /** ms; Infinity when there is none. */
  get minTime(): number {
    return this.#blocks[0]?.reader.minTime ?? Number.POSITIVE_INFINITY;
  }

  /** The last ms that a block covers; -Infinity when there is none. */
  get maxTime(): number {
    return this.#blocks.reduce(
      (max, block) => Math.max(max, block.reader.maxTime),
      Number.NEGATIVE_INFINITY,
    );
  }

  get readers(): readonly BlockReader[] {
    return this.#blocks.map(({ reader }) => reader);
  }

  get sources(): readonly HeldBlock[] {
    return this.#blocks;
  }

  /**
   * Deletes the blocks that are too old or too much, oldest first, but none that is not shipped.
   *
   * @param retentionMs 0 for no limit; a block goes when it ends this long before the newest data.
   * @param maxBytes 0 for no limit, on all blocks together.
   * @returns ULIDs of deleted blocks.
   */
  async applyRetention(
    retentionMs: number,
    maxBytes: number,
    newestTime: number,
    isShipped: (ulid: string) => boolean,
  ): Promise<string[]> {
    let excess = maxBytes > 0 ? this.sizeBytes - maxBytes : 0;
    const doomed: HeldBlock[] = [];
    for (const block of this.#blocks) {
      const { meta } = block.reader;
      const tooOld = retentionMs > 0 && newestTime - meta.maxTime >= retentionMs;
      if (!tooOld && excess <= 0) continue;
      if (!isShipped(meta.ulid)) continue;
      doomed.push(block);
      excess -= block.sizeBytes;
    }
    await this.#remove(doomed);
    return doomed.map((block) => block.reader.meta.ulid);
  }

  /** From here on the one is read instead of the others, which are deleted; null when nothing was left. */
  async replace(blocks: readonly HeldBlock[], by: HeldBlock | null): Promise<void> {
    if (by !== null) this.#setSorted([...this.#blocks, by]);
    await this.#remove(blocks);
  }

  async #remove(doomed: readonly HeldBlock[]): Promise<void> {
    if (doomed.length === 0) return;
    this.#blocks = this.#blocks.filter((block) => !doomed.includes(block));
    for (const block of doomed) {
      while (block.readers > 0) await sleep(READER_POLL_MS);
      block.series.release();
      await runInBackground("deleteBlock", { dir: block.reader.dir });
      const { minTime, maxTime, ulid } = block.reader.meta;
      this.#log("info", "block deleted", { block: ulid, minTime, maxTime });
    }
  }
}

function sizeOf(dir: string): number {
  let bytes = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const at = path.join(dir, entry.name);
    bytes += entry.isDirectory() ? sizeOf(at) : statSync(at).size;
  }
  return bytes;
}
