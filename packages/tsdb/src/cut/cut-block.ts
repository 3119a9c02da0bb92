/**
 * A block from a head's closed chunks, as they lie in the kernels' memory of the thread that appends.
 *
 * Whoever asks closes every chunk of the range first and hands over, for each series, the newest closed chunk of that
 * moment: the records' label bytes, those chunks and the links to older ones do not change before the head lets go of
 * the range, so they are read without a lock while appends go on. Late samples come beside them as chunks.
 *
 *   series record   u32 labels, u32 label bytes, …                 (kernels/assembly/xor.ts)
 *   closed chunk    u32 older, u16 bytes, u16 samples, i64 min, i64 max, data
 *
 * A crash leaves `<ULID>.tmp-for-creation`, which the next start removes, or the whole block: its last step is a rename.
 */

import path from "node:path";
import { type Chunk, ChunkEncoding, newUlid } from "@torus/model";
import type { TsdbBlockMeta } from "../block/meta.ts";
import { blockMeta, type NewBlock, publishBlock, sampleCount } from "../block/write-block.ts";
import { isHistogramEncoding } from "../chunkenc/chunk-samples.ts";
import { withStartTimes } from "../chunkenc/with-start-times.ts";
import { mergeChunks } from "../compact/compact.ts";
import { files, removeUnfinished } from "../files.ts";
import type { StartColumns } from "../head/start-runs.ts";
import { ChunkStream } from "./chunk-stream.ts";
import { IndexStream } from "./index-stream.ts";
import { seriesRows } from "./series-rows.ts";

export type CutInput = {
  /** The data directory that gets the block. */
  dir: string;
  /** The appending thread's kernel memory. */
  memory: ArrayBufferLike;
  /** Addresses of the series; each has a chunk in the range, or late ones. */
  series: Uint32Array;
  /** The newest closed chunk of each, 0 for none. */
  newest: Uint32Array;
  /** Start timestamps of their floats in the range; null when none has any. */
  starts: StartColumns | null;
  /** Chunks of late samples by address of their series; they may overlap the others. */
  late: ReadonlyMap<number, readonly Chunk[]>;
  block: NewBlock;
};

const CLOSED_DATA = 24;
/** Of chunks that are not XOR, whose u16 of bytes is 0: u32 bytes, u32 encoding, data. */
const ENCODED_BYTES = 24;
const ENCODED_ENCODING = 28;
const ENCODED_DATA = 32;

/** @returns The block's meta; null, and nothing is written, when there is no series. */
export function cutBlock(input: CutInput): TsdbBlockMeta | null {
  const { dir, memory, series, newest, starts, late, block } = input;
  if (series.length === 0) return null;
  const ulid = newUlid(block.now);
  const temporary = path.join(dir, `${ulid}.tmp-for-creation`);
  const chunksDir = path.join(temporary, "chunks");
  files.makeDirectory(chunksDir);
  const chunks = new ChunkStream(chunksDir);
  let index: IndexStream | null = null;
  try {
    const rows = seriesRows(memory, series);
    index = new IndexStream(path.join(temporary, "index"), rows);
    const range = new ClosedChunks(memory, block.minTime, block.maxTime);
    const samples = { floats: 0, histograms: 0 };
    const count = (encoding: ChunkEncoding, n: number) => {
      if (isHistogramEncoding(encoding)) samples.histograms += n;
      else samples.floats += n;
    };
    let times = new Float64Array(64);
    let refs = new Float64Array(32);
    for (const i of rows.order) {
      const address = series[i] as number;
      range.read(newest[i] as number);
      const more = late.get(address) ?? [];
      const runs = runsOf(starts, i);
      const merged =
        more.length === 0 && runs === null
          ? null
          : mergeChunks([...range.copies().map((chunk) => withStartTimes(chunk, runs)), ...more]);
      const n = merged === null ? range.count : merged.length;
      if (n > refs.length) {
        times = new Float64Array(n * 4);
        refs = new Float64Array(n * 2);
      }
      for (let c = 0; c < n; c++) {
        if (merged === null) {
          refs[c] = chunks.write(range.encoding(c), range.bytes, range.at(c), range.length(c));
          times[2 * c] = range.minTime(c);
          times[2 * c + 1] = range.maxTime(c);
          count(range.encoding(c), range.samples(c));
        } else {
          const { encoding, data, minTime, maxTime } = merged[c] as Chunk;
          refs[c] = chunks.write(encoding, data, 0, data.length);
          times[2 * c] = minTime;
          times[2 * c + 1] = maxTime;
          count(encoding, sampleCount(encoding, data));
        }
      }
      index.add(i, n, times, refs);
    }
    chunks.finish();
    index.finish();
    const meta = blockMeta(ulid, block, {
      numSamples: samples.floats + samples.histograms,
      numFloatSamples: samples.floats,
      numHistogramSamples: samples.histograms,
      numSeries: index.seriesCount,
      numChunks: index.chunkCount,
    });
    publishBlock(dir, temporary, meta);
    return meta;
  } catch (error) {
    chunks.abandon();
    index?.abandon();
    removeUnfinished(temporary);
    throw error;
  }
}

function runsOf(starts: StartColumns | null, series: number): Float64Array | null {
  if (starts === null) return null;
  const from = series === 0 ? 0 : (starts.ends[series - 1] as number);
  const end = starts.ends[series] as number;
  return from === end ? null : starts.runs.subarray(from, end);
}

/** The chunks of one series that lie in [mint, end), oldest first. */
class ClosedChunks {
  readonly bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #signed: Int32Array;
  readonly #mint: number;
  readonly #end: number;
  /** Addresses, newest first. */
  #nodes = new Uint32Array(32);
  count = 0;

  constructor(memory: ArrayBufferLike, mint: number, end: number) {
    this.bytes = new Uint8Array(memory);
    this.#words = new Uint32Array(memory);
    this.#signed = new Int32Array(memory);
    this.#mint = mint;
    this.#end = end;
  }

  read(newest: number): void {
    this.count = 0;
    for (let node = newest; node !== 0; node = this.#words[node >>> 2] as number) {
      if (this.#time(node + 16) < this.#mint) return;
      if (this.#time(node + 8) >= this.#end) continue;
      if (this.count === this.#nodes.length) {
        const wider = new Uint32Array(this.count * 2);
        wider.set(this.#nodes);
        this.#nodes = wider;
      }
      this.#nodes[this.count++] = node;
    }
  }

  /** Exact within 2^53. */
  #time(at: number): number {
    return (this.#signed[(at + 4) >>> 2] as number) * 2 ** 32 + (this.#words[at >>> 2] as number);
  }

  #node(i: number): number {
    return this.#nodes[this.count - 1 - i] as number;
  }

  encoding(i: number): ChunkEncoding {
    if (this.#xorBytes(i) !== 0) return ChunkEncoding.XOR;
    return this.#words[(this.#node(i) + ENCODED_ENCODING) >>> 2] as ChunkEncoding;
  }

  at(i: number): number {
    return this.#node(i) + (this.#xorBytes(i) !== 0 ? CLOSED_DATA : ENCODED_DATA);
  }

  length(i: number): number {
    return this.#xorBytes(i) || (this.#words[(this.#node(i) + ENCODED_BYTES) >>> 2] as number);
  }

  #xorBytes(i: number): number {
    return (this.#words[(this.#node(i) + 4) >>> 2] as number) & 0xffff;
  }

  samples(i: number): number {
    return (this.#words[(this.#node(i) + 4) >>> 2] as number) >>> 16;
  }

  minTime(i: number): number {
    return this.#time(this.#node(i) + 8);
  }

  maxTime(i: number): number {
    return this.#time(this.#node(i) + 16);
  }

  copies(): Chunk[] {
    return Array.from({ length: this.count }, (_, i) => ({
      minTime: this.minTime(i),
      maxTime: this.maxTime(i),
      encoding: this.encoding(i),
      data: this.bytes.slice(this.at(i), this.at(i) + this.length(i)),
    }));
  }
}
