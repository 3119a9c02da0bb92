/** Blocks out of samples in any order: one for each range of two hours that has any. */

import {
  type Chunk,
  ChunkEncoding,
  type ChunkSeries,
  compareLabels,
  type Labels,
} from "@torus/model";
import type { TsdbBlockMeta } from "../block/meta.ts";
import { writeBlock } from "../block/write-block.ts";
import { XorAppender } from "../chunkenc/xor.ts";

const CHUNK_SAMPLES = 120;

/** A series has two values at one time. */
export class ConflictingSampleError extends Error {
  readonly labels: Labels;
  readonly time: number;
  constructor(labels: Labels, time: number) {
    super(`series ${JSON.stringify(labels)} has two values at ${time}`);
    this.name = "ConflictingSampleError";
    this.labels = labels;
    this.time = time;
  }
}

type Series = { labels: Labels; samples: { time: number; value: bigint }[] };

export class BlockBuilder {
  readonly #rangeMs: number;
  readonly #ranges = new Map<number, Map<string, Series>>();

  constructor(rangeMs: number) {
    this.#rangeMs = rangeMs;
  }

  /** @param value Bits of the double. */
  add(labels: Labels, time: number, value: bigint): void {
    const start = Math.floor(time / this.#rangeMs) * this.#rangeMs;
    let range = this.#ranges.get(start);
    if (range === undefined) {
      range = new Map();
      this.#ranges.set(start, range);
    }
    const key = labels.join("\xff");
    let series = range.get(key);
    if (series === undefined) {
      series = { labels, samples: [] };
      range.set(key, series);
    }
    series.samples.push({ time, value });
  }

  /**
   * Writes the blocks, oldest first.
   * @throws {ConflictingSampleError} before anything is written.
   */
  async write(dir: string, now: () => number): Promise<TsdbBlockMeta[]> {
    const ranges = [...this.#ranges].sort(([a], [b]) => a - b);
    for (const [, range] of ranges) for (const series of range.values()) sortSamples(series);
    const out: TsdbBlockMeta[] = [];
    for (const [start, range] of ranges) {
      const sorted = [...range.values()].sort((a, b) => compareLabels(a.labels, b.labels));
      const block = { minTime: start, maxTime: start + this.#rangeMs, now: now() };
      const meta = await writeBlock(dir, batches(sorted), block);
      if (meta !== null) out.push(meta);
    }
    return out;
  }
}

/** In time order, each time once. */
function sortSamples(series: Series): void {
  series.samples.sort((a, b) => a.time - b.time);
  series.samples = series.samples.filter(({ time, value }, i, all) => {
    const before = all[i - 1];
    if (before?.time !== time) return true;
    if (before.value !== value) throw new ConflictingSampleError(series.labels, time);
    return false;
  });
}

function* batches(series: readonly Series[]): Generator<readonly ChunkSeries[]> {
  for (const { labels, samples } of series) {
    const chunks: Chunk[] = [];
    for (let from = 0; from < samples.length; from += CHUNK_SAMPLES) {
      const part = samples.slice(from, from + CHUNK_SAMPLES);
      const appender = new XorAppender();
      for (const { time, value } of part) appender.append(BigInt(time), value);
      chunks.push({
        encoding: ChunkEncoding.XOR,
        minTime: part[0]?.time ?? 0,
        maxTime: part.at(-1)?.time ?? 0,
        data: appender.bytes(),
      });
    }
    yield [{ labels, chunks }];
  }
}
