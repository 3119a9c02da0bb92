/**
 * A block's series as scans use them: labels that are one array in all blocks of a directory, and where the chunks
 * stand, in columns. What was decoded once stays, up to a bound.
 */

import type { Labels, Matcher } from "@torus/model";
import type { BlockReader } from "../block/block-reader.ts";
import type { IndexReader } from "../block/index-reader.ts";
import type { Interval } from "../block/tombstones.ts";
import { postingsForMatchers } from "../postings.ts";

export type BlockChunks = {
  labels: Labels;
  /** Of each chunk, ascending. */
  minTimes: Float64Array;
  maxTimes: Float64Array;
  refs: Float64Array;
  deleted: readonly Interval[];
  /** 1 for each chunk whose checksum was found right: files of blocks do not change. */
  verified: Uint8Array;
};

/** Series whose places are kept, over all blocks of a directory; about 300 bytes each. */
const MAX_KEPT = 500_000;
/** Of indexes; those beyond are left to the garbage collector between uses. */
const MAX_INDEX_BYTES = 256 << 20;

/** What the blocks of a directory share: equal label sets as one array, which merging compares by identity. */
export class KeptSeries {
  readonly #byKey = new Map<string, Labels>();
  #kept = 0;
  #indexBytes = 0;

  one(labels: Labels): Labels {
    const key = JSON.stringify(labels);
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    if (this.#byKey.size < MAX_KEPT) this.#byKey.set(key, labels);
    return labels;
  }

  /** Whether one more series may be kept. */
  admits(): boolean {
    if (this.#kept === MAX_KEPT) return false;
    this.#kept++;
    return true;
  }

  admitsIndex(sizeBytes: number): boolean {
    if (this.#indexBytes + sizeBytes > MAX_INDEX_BYTES) return false;
    this.#indexBytes += sizeBytes;
    return true;
  }
}

export class BlockSeries {
  readonly block: BlockReader;
  readonly #kept: KeptSeries;
  readonly #byId = new Map<number, BlockChunks>();
  #keptIndex: IndexReader | null = null;

  constructor(block: BlockReader, kept: KeptSeries) {
    this.block = block;
    this.#kept = kept;
  }

  #index(): IndexReader {
    if (this.#keptIndex !== null) return this.#keptIndex;
    const index = this.block.index();
    if (this.#kept.admitsIndex(index.bytes.length)) this.#keptIndex = index;
    return index;
  }

  /** Ids of the series that match, in label order. @throws {IndexDamagedError} */
  matching(matchers: readonly Matcher[]): Uint32Array {
    return postingsForMatchers(this.#index(), matchers);
  }

  /** @throws {IndexDamagedError} */
  series(id: number): BlockChunks {
    const known = this.#byId.get(id);
    if (known !== undefined) return known;
    const { labels, chunks } = this.#index().series(id);
    const out: BlockChunks = {
      labels: this.#kept.one(labels),
      minTimes: Float64Array.from(chunks, ({ minTime }) => minTime),
      maxTimes: Float64Array.from(chunks, ({ maxTime }) => maxTime),
      refs: Float64Array.from(chunks, ({ ref }) => ref),
      deleted: this.block.deleted(id),
      verified: new Uint8Array(chunks.length),
    };
    if (this.#kept.admits()) this.#byId.set(id, out);
    return out;
  }
}
