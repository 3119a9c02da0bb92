/**
 * XOR2 chunks, floats with start timestamps (Prometheus, tsdb/docs/format/chunks.md), through the kernel: into columns, and from and to
 * XOR chunks. Times and start timestamps are in ms within 2^53; start timestamps are 0 where there is none.
 */

import { type Kernel, kernel, SLACK_BYTES } from "./load.ts";

const COLUMN_BYTES = 24;
/** What a sample takes at most in a chunk. */
const ENCODED_BYTES = 31;
const KEPT_SAMPLES = 512;

/** One part of the kernel's memory, which every call uses in turn: a chunk, three columns, the chunk that is made. */
class Area {
  readonly #kernel: Kernel;
  readonly #at: number;
  readonly #bytes: number;
  readonly chunk: number;
  readonly times: number;
  readonly values: number;
  readonly starts: number;
  readonly out: number;
  readonly chunkBytes: number;
  readonly samples: number;

  constructor(k: Kernel, chunkBytes: number, samples: number) {
    this.#kernel = k;
    this.chunkBytes = Math.ceil(chunkBytes / 8) * 8;
    this.samples = samples;
    const columns = this.chunkBytes + SLACK_BYTES;
    this.#bytes = columns + samples * (COLUMN_BYTES + ENCODED_BYTES) + 2 * SLACK_BYTES;
    this.#at = k.alloc(this.#bytes);
    this.chunk = this.#at;
    this.times = this.#at + columns;
    this.values = this.times + samples * 8;
    this.starts = this.values + samples * 8;
    this.out = this.starts + samples * 8;
  }

  column(at: number, count: number): Float64Array {
    return new Float64Array(this.#kernel.memory.buffer, at, count);
  }

  free(): void {
    this.#kernel.free(this.#at, this.#bytes);
  }
}

let area: Area | undefined;

/** With the chunk in it. */
function areaOf(k: Kernel, chunk: Uint8Array, samples: number): Area {
  if (area === undefined || chunk.length > area.chunkBytes || samples > area.samples) {
    area?.free();
    area = undefined;
    area = new Area(k, Math.max(chunk.length, 4096), Math.max(samples, KEPT_SAMPLES));
  }
  k.bytes.set(chunk, area.chunk);
  return area;
}

const claimed = (chunk: Uint8Array): number =>
  chunk.length < 2 ? 0 : ((chunk[0] as number) << 8) | (chunk[1] as number);

export type StartedColumns = {
  /** Rounded above 2^53, likewise `starts`. */
  times: Float64Array;
  values: Float64Array;
  starts: Float64Array;
};

/** The samples of an XOR2 chunk; null for one that is damaged: what is wrong is for the general decoder to say. */
export function xor2DecodeChunk(chunk: Uint8Array): StartedColumns | null {
  const k = kernel();
  const use = areaOf(k, chunk, claimed(chunk));
  const n = k.exports.xor2Decode(use.chunk, chunk.length, use.times, use.values, use.starts);
  if (n < 0) return null;
  return {
    times: use.column(use.times, n).slice(),
    values: use.column(use.values, n).slice(),
    starts: use.column(use.starts, n).slice(),
  };
}

/** The samples of an XOR2 chunk as an XOR chunk; null for one that is damaged or has no sample. */
export function xor2ToXor(chunk: Uint8Array): Uint8Array | null {
  const k = kernel();
  const use = areaOf(k, chunk, claimed(chunk));
  const { exports } = k;
  const n = exports.xor2Decode(use.chunk, chunk.length, use.times, use.values, use.starts);
  if (n <= 0) return null;
  const end = exports.xorEncode(use.times, use.values, n, use.out) >>> 0;
  return k.bytes.slice(use.out, end);
}

/**
 * An XOR chunk as an XOR2 chunk with start timestamps; null for one that is damaged or has no sample.
 *
 * @param runs First time and start timestamp in turn, ascending.
 */
export function xorToXor2(chunk: Uint8Array, runs: ArrayLike<number>): Uint8Array | null {
  const k = kernel();
  const use = areaOf(k, chunk, claimed(chunk));
  const { exports } = k;
  const n = exports.xorDecode(use.chunk, chunk.length, use.times, use.values, -1);
  if (n <= 0) return null;
  const times = use.column(use.times, n);
  const starts = use.column(use.starts, n);
  let run = 0;
  for (let i = 0; i < n; i++) {
    while (run < runs.length && (runs[run] as number) <= (times[i] as number)) run += 2;
    starts[i] = run === 0 ? 0 : (runs[run - 1] as number);
  }
  const end = exports.xor2Encode(use.times, use.values, use.starts, n, use.out) >>> 0;
  return k.bytes.slice(use.out, end);
}
