/** Moving ranges of time from the head into blocks. One call at a time. */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Chunk } from "@torus/model";
import type { TsdbBlockMeta } from "./block/meta.ts";
import type { NewBlock } from "./block/write-block.ts";
import { runInBackground } from "./cut/background.ts";
import type { BlockSet, HeldBlock } from "./db-blocks.ts";
import type { LateLog } from "./db-late-log.ts";
import type { LogLine } from "./db-replay.ts";
import type { ClosedRange } from "./head/close-range.ts";
import type { Head } from "./head/head.ts";

const LATE_SLICE = 64;

export type CutterOptions = {
  dir: string;
  blockDurationMs: number;
  now: () => number;
  log: LogLine;
};

export class BlockCutter {
  readonly #options: CutterOptions;
  readonly #head: Head;
  readonly #blocks: BlockSet;
  readonly #lateLog: LateLog;
  readonly #onRemoved: (refs: readonly number[]) => void;

  /** @param onRemoved Told of series that left the head. */
  constructor(
    options: CutterOptions,
    head: Head,
    blocks: BlockSet,
    lateLog: LateLog,
    onRemoved: (refs: readonly number[]) => void,
  ) {
    this.#options = options;
    this.#head = head;
    this.#blocks = blocks;
    this.#lateLog = lateLog;
    this.#onRemoved = onRemoved;
  }

  /** The head's samples in [minTime, maxTime) become a block, and leave it; null when there is none. */
  async cut(minTime: number, maxTime: number): Promise<TsdbBlockMeta | null> {
    const floor = Math.max(minTime, this.#head.minValidTime);
    // No sample before the end may come while its range is written, or it would be lost with the head's chunks.
    this.#head.refuseBefore(maxTime);
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
    await this.truncateHead(maxTime);
    return meta;
  }

  /** Blocks of the late samples that are older than the head: they came when their range was cut already. */
  async cutLate(): Promise<TsdbBlockMeta[]> {
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
        return { series, newest: new Uint32Array(series.length), starts: null };
      });
      if (written !== null) this.#blocks.add(written);
      late.dropSealed();
      if (written !== null) out.push(written.reader.meta);
    }
    this.#lateLog.rewrite(late);
    await this.truncateHead(before);
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
      const { series, newest, starts } = await closed(new Set(late.sealedRefs()));
      if (series.length === 0) return null;
      const lateChunks = new Map<number, readonly Chunk[]>();
      for (const [ref, chunks] of late.sealedChunks()) {
        lateChunks.set(this.#head.addressOf(ref), chunks);
        if (lateChunks.size % LATE_SLICE === 0) await nextTurn();
      }
      const { memory } = this.#head;
      const { dir } = this.#options;
      const input = { dir, memory, series, newest, starts, late: lateChunks, block };
      const meta = await runInBackground("cut", input);
      return meta === null ? null : this.#blocks.openWritten(meta);
    } catch (error) {
      late.unseal();
      throw error;
    }
  }

  /** Chunks that end before `mint` leave the head, and series without any. */
  async truncateHead(mint: number): Promise<void> {
    this.#onRemoved(await this.#head.truncate(mint));
  }
}
