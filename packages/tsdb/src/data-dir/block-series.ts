/**
 * A block's series as scans use them: labels that are one array in all blocks of a directory, and where the chunks
 * stand, in columns. What was decoded once stays, up to a bound.
 */

import type { Labels, Matcher } from "@torus/model";
import type { BlockReader } from "../block/block-reader.ts";
import type { IndexReader } from "../block/index-reader.ts";
import type { IndexedChunk } from "../block/index-writer.ts";
import type { Interval } from "../block/tombstones.ts";
import type { KeptSeries } from "../kept-series.ts";
import { postingsForMatchers } from "../postings.ts";

/** Where chunks stand, of many series in a few arrays: an object a series would cost the garbage collector more. */
export class ChunkPlaces {
  /** Of each chunk minTime and maxTime in ms, and its reference. */
  #places = new Float64Array(3 * 64);
  #verified = new Uint8Array(64);
  #count = 0;

  /** The number of the chunk that was added. */
  add({ minTime, maxTime, ref }: IndexedChunk): number {
    const i = this.#count++;
    if (i === this.#verified.length) {
      const places = new Float64Array(this.#places.length * 2);
      const verified = new Uint8Array(this.#verified.length * 2);
      places.set(this.#places);
      verified.set(this.#verified);
      this.#places = places;
      this.#verified = verified;
    }
    this.#places[3 * i] = minTime;
    this.#places[3 * i + 1] = maxTime;
    this.#places[3 * i + 2] = ref;
    return i;
  }

  get count(): number {
    return this.#count;
  }

  minTime(chunk: number): number {
    return this.#places[3 * chunk] as number;
  }

  maxTime(chunk: number): number {
    return this.#places[3 * chunk + 1] as number;
  }

  ref(chunk: number): number {
    return this.#places[3 * chunk + 2] as number;
  }

  /** Whether the checksum was found right: files of blocks do not change. */
  isVerified(chunk: number): boolean {
    return this.#verified[chunk] === 1;
  }

  setVerified(chunk: number): void {
    this.#verified[chunk] = 1;
  }
}

/** A series' chunks, ascending: those of `places` from `first` to before `end`. */
export type BlockChunks = {
  labels: Labels;
  places: ChunkPlaces;
  first: number;
  end: number;
  deleted: readonly Interval[];
};

export class BlockSeries {
  readonly block: BlockReader;
  readonly #kept: KeptSeries;
  readonly #byId = new Map<number, BlockChunks>();
  #places = new ChunkPlaces();
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
    const isKept = this.#kept.admits();
    const places = isKept ? this.#places : new ChunkPlaces();
    const first = places.count;
    for (const chunk of chunks) places.add(chunk);
    const out: BlockChunks = {
      labels: this.#kept.one(labels),
      places,
      first,
      end: places.count,
      deleted: this.block.deleted(id),
    };
    if (isKept) this.#byId.set(id, out);
    return out;
  }

  /** Lets go of what is kept; it is read again when it is needed. */
  release(): void {
    this.#kept.giveBack(this.#byId.size, this.#keptIndex?.bytes.length ?? 0);
    this.#byId.clear();
    this.#places = new ChunkPlaces();
    this.#keptIndex = null;
  }
}
