/**
 * A block on disk as a `ChunkQueryable`. Opening reads meta.json and tombstones only; the index is read whole when it
 * is first needed and shared by those who need it meanwhile, chunk files are open during a read.
 */

import path from "node:path";
import {
  type Chunk,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareStrings,
  type LabelSelect,
  type Labels,
  type Matcher,
} from "@torus/model";
import { keepSamples } from "../chunkenc/chunk-samples.ts";
import { files } from "../files.ts";
import { postingsForMatchers } from "../postings.ts";
import { ChunkSegmentReader } from "./chunk-segments.ts";
import { IndexReader } from "./index-reader.ts";
import { readBlockMeta, type TsdbBlockMeta } from "./meta.ts";
import { type Interval, readTombstones } from "./tombstones.ts";

const BATCH_SERIES = 256;

/** A series as it stands in the files, deleted samples included. */
export type RawBlockSeries = {
  id: number;
  labels: Labels;
  chunks: readonly Chunk[];
  /** Ascending, merged. */
  deleted: readonly Interval[];
};

export class BlockReader implements ChunkQueryable {
  readonly dir: string;
  readonly meta: TsdbBlockMeta;
  readonly #tombstones: ReadonlyMap<number, readonly Interval[]>;
  /** Held weakly: the collector takes it when nothing reads the block and memory is wanted. */
  #index: WeakRef<IndexReader> | null = null;

  /** @throws {BlockMetaInvalidError} @throws {TombstonesDamagedError} */
  constructor(dir: string) {
    this.dir = dir;
    this.meta = readBlockMeta(dir);
    this.#tombstones = readTombstones(dir);
  }

  /** First and last millisecond, both inclusive. */
  get minTime(): number {
    return this.meta.minTime;
  }

  get maxTime(): number {
    return this.meta.maxTime - 1;
  }

  /** What was deleted of the series with this id; ascending, merged. */
  deleted(id: number): readonly Interval[] {
    return this.#tombstones.get(id) ?? [];
  }

  /** @throws {IndexDamagedError} */
  index(): IndexReader {
    const held = this.#index?.deref();
    if (held !== undefined) return held;
    const index = new IndexReader(files.readWhole(path.join(this.dir, "index")));
    this.#index = new WeakRef(index);
    return index;
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    if (!this.#overlaps(select)) return;
    const index = this.index();
    const files = new ChunkSegmentReader(path.join(this.dir, "chunks"));
    try {
      let batch: ChunkSeries[] = [];
      let given = 0;
      for (const id of postingsForMatchers(index, select.matchers)) {
        const { labels, chunks } = index.series(id);
        const deleted = this.#tombstones.get(id) ?? [];
        const wanted = chunks.filter(
          (chunk) =>
            chunk.maxTime >= select.mint &&
            chunk.minTime <= select.maxt &&
            !deleted.some(({ mint, maxt }) => mint <= chunk.minTime && maxt >= chunk.maxTime),
        );
        if (wanted.length === 0) continue;
        const out: Chunk[] = [];
        if (!select.skipChunks) {
          for (const { minTime, maxTime, ref } of wanted) {
            const chunk = { minTime, maxTime, ...files.read(ref) };
            const left = withoutDeleted(chunk, deleted);
            if (left !== null && left.maxTime >= select.mint && left.minTime <= select.maxt) {
              out.push(left);
            }
          }
          if (out.length === 0) continue;
        }
        batch.push({ labels, chunks: out });
        if (++given === select.limit) break;
        if (batch.length === BATCH_SERIES) {
          select.signal.throwIfAborted();
          yield batch;
          batch = [];
        }
      }
      if (batch.length > 0) yield batch;
    } finally {
      files.close();
    }
  }

  /**
   * Series with chunks that overlap [mint, maxt], in label order.
   * @param chosen Chunks of other series are not read.
   */
  *rawSeries(
    matchers: readonly Matcher[],
    mint: number,
    maxt: number,
    chosen: (labels: Labels) => boolean = () => true,
  ): Generator<RawBlockSeries> {
    const index = this.index();
    const files = new ChunkSegmentReader(path.join(this.dir, "chunks"));
    try {
      for (const id of postingsForMatchers(index, matchers)) {
        const { labels, chunks } = index.series(id);
        if (!chosen(labels)) continue;
        const read = chunks
          .filter(({ minTime, maxTime }) => maxTime >= mint && minTime <= maxt)
          .map(({ minTime, maxTime, ref }) => ({ minTime, maxTime, ...files.read(ref) }));
        if (read.length === 0) continue;
        yield { id, labels, chunks: read, deleted: this.#tombstones.get(id) ?? [] };
      }
    } finally {
      files.close();
    }
  }

  labelNames(select: LabelSelect): Promise<string[]> {
    if (!this.#overlaps(select)) return Promise.resolve([]);
    const index = this.index();
    if (select.matchers.length === 0) return Promise.resolve(limited(index.labelNames(), select));
    const names = new Set<string>();
    for (const id of postingsForMatchers(index, select.matchers)) {
      const { labels } = index.series(id);
      for (let i = 0; i < labels.length; i += 2) names.add(labels[i] as string);
    }
    return Promise.resolve(limited([...names].sort(compareStrings), select));
  }

  labelValues(name: string, select: LabelSelect): Promise<string[]> {
    if (!this.#overlaps(select)) return Promise.resolve([]);
    const index = this.index();
    if (select.matchers.length === 0) {
      return Promise.resolve(limited([...index.values(name)].sort(compareStrings), select));
    }
    const values = new Set<string>();
    for (const id of postingsForMatchers(index, select.matchers)) {
      const { labels } = index.series(id);
      for (let i = 0; i < labels.length; i += 2) {
        if (labels[i] === name) values.add(labels[i + 1] as string);
      }
    }
    return Promise.resolve(limited([...values].sort(compareStrings), select));
  }

  #overlaps({ mint, maxt }: { mint: number; maxt: number }): boolean {
    return maxt >= this.minTime && mint <= this.maxTime;
  }
}

/** The chunk without samples that were deleted; null when none is left. */
export function withoutDeleted(chunk: Chunk, deleted: readonly Interval[]): Chunk | null {
  const { minTime, maxTime } = chunk;
  const inside = deleted.filter(({ mint, maxt }) => mint <= maxTime && maxt >= minTime);
  if (inside.length === 0) return chunk;
  return keepSamples(
    chunk,
    (time) => !inside.some(({ mint, maxt }) => time >= mint && time <= maxt),
  );
}

function limited(list: string[], { limit }: LabelSelect): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}
