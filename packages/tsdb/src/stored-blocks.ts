/**
 * The blocks of a data directory that nobody writes to: a tenant that is idle costs no head, no log and no lock, and
 * answers from what is on disk.
 */

import type { ChunkQueryable } from "@torus/model";
import type { TsdbBlockMeta } from "./block/meta.ts";
import { MergedChunks } from "./chunk-merge.ts";
import { BlockSet } from "./db-blocks.ts";
import type { LogLine } from "./db-replay.ts";
import { encodedSeries } from "./encoded-series.ts";

export class StoredBlocks {
  readonly dir: string;
  readonly #blocks: BlockSet;
  readonly #queryable: ChunkQueryable;

  /** @throws {BlockUnreadableError} */
  constructor(dir: string, log: LogLine) {
    this.dir = dir;
    this.#blocks = new BlockSet(dir, log);
    this.#queryable = new MergedChunks(
      () => this.#blocks.sources,
      (select) => encodedSeries(this.#blocks.sources, null, select),
    );
  }

  queryable(): ChunkQueryable {
    return this.#queryable;
  }

  /** ms; Infinity when there is no block. */
  get minTime(): number {
    return this.#blocks.minTime;
  }

  /** ms; -Infinity when there is no block. */
  get maxTime(): number {
    return this.#blocks.maxTime;
  }

  /** Ascending by minTime. */
  blocks(): TsdbBlockMeta[] {
    return this.#blocks.metas;
  }

  /**
   * Deletes blocks over the retention's time, counted from `now` in ms, or size, never one that is not shipped.
   * @returns The deleted ones' ULIDs.
   */
  applyRetention(
    { retentionMs, maxBytes }: { retentionMs: number; maxBytes: number },
    now: number,
    isShipped: (ulid: string) => boolean,
  ): Promise<string[]> {
    return this.#blocks.applyRetention(retentionMs, maxBytes, now, isShipped);
  }

  /** Lets go of what is kept of the blocks. */
  close(): void {
    this.#blocks.release();
  }
}
