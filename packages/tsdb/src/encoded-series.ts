/**
 * What StoreAPI sends of a receiver's storage: series of blocks, head and late samples in label order, the chunks of
 * each as encoded fields. Chunks that follow each other are written in the kernel's memory, from where they lie in the
 * head or were read to from a file; whatever else a series has (overlaps, deleted samples, late ones) is gathered and
 * sorted first.
 */

import path from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ChunkFields } from "@torus/kernels";
import {
  type Chunk,
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  type EncodedSeries,
  type Labels,
} from "@torus/model";
import { withoutDeleted } from "./block/block-reader.ts";
import { withoutStartTimes } from "./chunkenc/chunk-samples.ts";
import { mergeChunks } from "./compact/compact.ts";
import type { BlockChunks, BlockSeries } from "./data-dir/block-series.ts";
import { ChunkWindows } from "./data-dir/chunk-windows.ts";
import type { HeldBlock } from "./db-blocks.ts";
import type { Head } from "./head/head.ts";
import type { HeadMark } from "./head/read.ts";

const BATCH_SERIES = 512;
const BATCH_BYTES = 192 << 10;

/** One source's series, one at a time. */
interface Cursor {
  /** null at the end. */
  readonly labels: Labels | null;
  /**
   * Appends the chunks in the range; the time of the last one, or `after` when there is none. null where they do not
   * follow each other or must be rewritten: they are to be had from `chunks` then.
   */
  write(fields: ChunkFields, after: number): number | null;
  chunks(): Chunk[];
  advance(): void;
  close(): void;
}

class BlockCursor implements Cursor {
  readonly #series: BlockSeries;
  readonly #select: ChunkSelect;
  readonly #windows: ChunkWindows;
  readonly #ids: Uint32Array;
  #next = 0;
  #at: BlockChunks | null = null;
  labels: Labels | null = null;

  constructor(series: BlockSeries, select: ChunkSelect) {
    this.#series = series;
    this.#select = select;
    this.#ids = series.matching(select.matchers);
    this.#windows = new ChunkWindows(path.join(series.block.dir, "chunks"));
    this.advance();
  }

  write(fields: ChunkFields, after: number): number | null {
    const { places, first, end, deleted } = this.#at as BlockChunks;
    if (deleted.length > 0) return null;
    const { mint, maxt } = this.#select;
    const windows = this.#windows;
    let last = after;
    for (let i = first; i < end; i++) {
      const minTime = places.minTime(i);
      const maxTime = places.maxTime(i);
      if (maxTime < mint || minTime > maxt) continue;
      if (minTime <= last) return null;
      last = maxTime;
      windows.find(places.ref(i), places.isVerified(i));
      places.setVerified(i);
      const { encoding, bytes, offset, length } = windows;
      if (encoding > ChunkEncoding.FLOAT_HISTOGRAM && !takesAny(this.#select)) return null;
      fields.append(minTime, maxTime, encoding - 1, bytes, offset, length);
    }
    return last;
  }

  chunks(): Chunk[] {
    const { places, first, end, deleted } = this.#at as BlockChunks;
    const { mint, maxt } = this.#select;
    const out: Chunk[] = [];
    for (let i = first; i < end; i++) {
      const minTime = places.minTime(i);
      const maxTime = places.maxTime(i);
      if (maxTime < mint || minTime > maxt) continue;
      this.#windows.find(places.ref(i), false);
      const encoding = this.#windows.encoding as ChunkEncoding;
      const chunk = { minTime, maxTime, encoding, data: this.#windows.data() };
      const left = withoutDeleted(chunk, deleted);
      if (left !== null && left.maxTime >= mint && left.minTime <= maxt) out.push(left);
    }
    return out;
  }

  advance(): void {
    const id = this.#ids[this.#next++];
    this.#at = id === undefined ? null : this.#series.series(id);
    this.labels = this.#at?.labels ?? null;
  }

  close(): void {
    this.#windows.close();
  }
}

class HeadCursor implements Cursor {
  readonly #mark: HeadMark;
  #index = -1;
  labels: Labels | null = null;

  constructor(mark: HeadMark) {
    this.#mark = mark;
    this.advance();
  }

  write(fields: ChunkFields, after: number): number | null {
    const before = fields.length;
    if (!this.#mark.write(this.#index, fields, after)) return null;
    return fields.length === before ? after : Number.POSITIVE_INFINITY;
  }

  chunks(): Chunk[] {
    return this.#mark.copies(this.#index, this.#mark.chunks(this.#index));
  }

  advance(): void {
    this.#index++;
    this.labels = this.#index < this.#mark.count ? this.#mark.labels(this.#index) : null;
  }

  close(): void {}
}

/** Late samples, which are few. */
class ListCursor implements Cursor {
  readonly #series: readonly ChunkSeries[];
  #index = 0;

  constructor(series: readonly ChunkSeries[]) {
    this.#series = series;
  }

  get labels(): Labels | null {
    return this.#series[this.#index]?.labels ?? null;
  }

  write(): null {
    return null;
  }

  chunks(): Chunk[] {
    return [...(this.#series[this.#index]?.chunks ?? [])];
  }

  advance(): void {
    this.#index++;
  }

  close(): void {}
}

async function listOf(source: ChunkQueryable, select: ChunkSelect): Promise<ChunkSeries[]> {
  const out: ChunkSeries[] = [];
  for await (const batch of source.selectChunks(select)) out.push(...batch);
  return out;
}

/**
 * The series of all sources that match, as they are when the first batch is asked for. The chunks of a batch are
 * views that are good until the next one is asked for.
 *
 * @param blocks Ascending by time. @param head Null where there is none.
 * @throws {IndexDamagedError} @throws {ChunkFileDamagedError} @throws {HeadClosedError}
 * @throws {HeadReadExpiredError} @throws {KernelMemoryError}
 */
export async function* encodedSeries(
  blocks: readonly HeldBlock[],
  head: Head | null,
  select: ChunkSelect,
): AsyncGenerator<readonly EncodedSeries[]> {
  const { mint, maxt } = select;
  const held = blocks.filter(({ reader }) => maxt >= reader.minTime && mint <= reader.maxTime);
  for (const block of held) block.readers++;
  const mark = head?.mark(select) ?? null;
  const cursors: Cursor[] = [];
  try {
    const late = head === null ? Promise.resolve([]) : listOf(head.late, select);
    // It is awaited behind the sort; until then a failure is not unhandled.
    late.catch(() => undefined);
    await mark?.sort();
    for (const { series } of held) cursors.push(new BlockCursor(series, select));
    if (mark !== null) cursors.push(new HeadCursor(mark));
    cursors.push(new ListCursor(await late));
    for (const batch of batches(cursors, select)) {
      select.signal.throwIfAborted();
      yield batch;
      // Nothing here waits, so without this a long read would hold up every request.
      await nextTurn();
      mark?.check();
    }
  } finally {
    mark?.close();
    for (const cursor of cursors) cursor.close();
    for (const block of held) block.readers--;
  }
}

function* batches(
  cursors: readonly Cursor[],
  select: ChunkSelect,
): Generator<readonly EncodedSeries[]> {
  const fields = new ChunkFields();
  let batch: { labels: Labels; end: number }[] = [];
  let given = 0;
  try {
    for (;;) {
      const same = leastOf(cursors);
      const labels = same[0]?.labels;
      if (labels === undefined || labels === null) break;
      const before = fields.length;
      if (!writeAll(same, fields)) {
        fields.cut(before);
        writeSorted(same, fields, takesAny(select), select.disjoint === true);
      }
      for (const cursor of same) cursor.advance();
      if (fields.length === before) continue;
      batch.push({ labels, end: fields.length });
      if (++given === select.limit) break;
      if (batch.length < BATCH_SERIES && fields.length < BATCH_BYTES) continue;
      yield views(batch, fields.view());
      batch = [];
      fields.clear();
    }
    if (batch.length > 0) yield views(batch, fields.view());
  } finally {
    fields.release();
  }
}

function takesAny({ anyEncoding, startTimes }: ChunkSelect): boolean {
  return anyEncoding === true || startTimes === true;
}

/** The cursors that stand at the first series, in their order. */
function leastOf(cursors: readonly Cursor[]): Cursor[] {
  let least: Labels | null = null;
  let same: Cursor[] = [];
  for (const cursor of cursors) {
    const { labels } = cursor;
    if (labels === null) continue;
    const order = least === null ? -1 : labels === least ? 0 : compareLabels(labels, least);
    if (order < 0) {
      least = labels;
      same = [cursor];
    } else if (order === 0) same.push(cursor);
  }
  return same;
}

function writeAll(cursors: readonly Cursor[], fields: ChunkFields): boolean {
  let end = Number.NEGATIVE_INFINITY;
  for (const cursor of cursors) {
    const last = cursor.write(fields, end);
    if (last === null) return false;
    end = last;
  }
  return true;
}

function writeSorted(
  cursors: readonly Cursor[],
  fields: ChunkFields,
  anyEncoding: boolean,
  disjoint: boolean,
): void {
  const all = cursors.flatMap((cursor) => cursor.chunks());
  const chunks = anyEncoding ? all : all.map(withoutStartTimes);
  chunks.sort((a, b) => a.minTime - b.minTime || a.maxTime - b.maxTime);
  for (const { minTime, maxTime, encoding, data } of disjoint ? mergeChunks(chunks) : chunks) {
    fields.appendBytes(minTime, maxTime, encoding - 1, data);
  }
}

function views(
  batch: readonly { labels: Labels; end: number }[],
  bytes: Uint8Array,
): EncodedSeries[] {
  let from = 0;
  return batch.map(({ labels, end }) => {
    const chunks = [bytes.subarray(from, end)];
    from = end;
    return { labels, chunks };
  });
}
