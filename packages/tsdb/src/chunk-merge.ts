/** Several sources of chunks as one: series united by labels, their chunks in time order. */

import {
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  compareStrings,
  type EncodedSeries,
  type LabelSelect,
} from "@torus/model";

const BATCH_SERIES = 256;

/** One source's series, one at a time. */
class Cursor {
  readonly #batches: AsyncIterator<readonly ChunkSeries[]>;
  #next: Promise<IteratorResult<readonly ChunkSeries[]>>;
  #batch: readonly ChunkSeries[] = [];
  #at = 0;

  /** Begins to read at once: what a source holds at this moment is what it gives. */
  constructor(source: ChunkQueryable, select: ChunkSelect) {
    this.#batches = source.selectChunks(select)[Symbol.asyncIterator]();
    this.#next = this.#batches.next();
    // It is awaited by the first `load`; until then a failure is not unhandled.
    this.#next.catch(() => undefined);
  }

  get series(): ChunkSeries | undefined {
    return this.#batch[this.#at];
  }

  async load(): Promise<void> {
    for (;;) {
      const result = await this.#next;
      if (result.done === true) {
        this.#batch = [];
        return;
      }
      this.#batch = result.value;
      this.#at = 0;
      this.#next = this.#batches.next();
      this.#next.catch(() => undefined);
      if (this.#batch.length > 0) return;
    }
  }

  /** True when the batch is used up and `load` is to be called. */
  advance(): boolean {
    return ++this.#at >= this.#batch.length;
  }

  async end(): Promise<void> {
    await this.#batches.return?.();
  }
}

export class MergedChunks implements ChunkQueryable {
  readonly #sources: () => readonly ChunkQueryable[];
  readonly selectEncoded?: (select: ChunkSelect) => AsyncIterable<readonly EncodedSeries[]>;

  /** `sources` is called once for each read, and decides what the read sees. */
  constructor(
    sources: () => readonly ChunkQueryable[],
    encoded?: (select: ChunkSelect) => AsyncIterable<readonly EncodedSeries[]>,
  ) {
    this.#sources = sources;
    if (encoded !== undefined) this.selectEncoded = encoded;
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const cursors = this.#sources().map((source) => new Cursor(source, select));
    try {
      await Promise.all(cursors.map((cursor) => cursor.load()));
      let batch: ChunkSeries[] = [];
      let given = 0;
      for (;;) {
        const series = await nextSeries(cursors);
        if (series === null) break;
        batch.push(series);
        if (++given === select.limit) break;
        if (batch.length === BATCH_SERIES) {
          select.signal.throwIfAborted();
          yield batch;
          batch = [];
        }
      }
      if (batch.length > 0) yield batch;
    } finally {
      await Promise.all(cursors.map((cursor) => cursor.end()));
    }
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    return union(
      await Promise.all(this.#sources().map((source) => source.labelNames(select))),
      select.limit,
    );
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    return union(
      await Promise.all(this.#sources().map((source) => source.labelValues(name, select))),
      select.limit,
    );
  }
}

async function nextSeries(cursors: readonly Cursor[]): Promise<ChunkSeries | null> {
  let least: ChunkSeries | undefined;
  let same: Cursor[] = [];
  for (const cursor of cursors) {
    const series = cursor.series;
    if (series === undefined) continue;
    const order = least === undefined ? -1 : compareLabels(series.labels, least.labels);
    if (order < 0) {
      least = series;
      same = [cursor];
    } else if (order === 0) same.push(cursor);
  }
  if (least === undefined) return null;
  let out = least;
  if (same.length > 1) {
    const chunks = same.flatMap((cursor) => cursor.series?.chunks ?? []);
    chunks.sort((a, b) => a.minTime - b.minTime || a.maxTime - b.maxTime);
    out = { labels: least.labels, chunks };
  }
  for (const cursor of same) if (cursor.advance()) await cursor.load();
  return out;
}

function union(lists: readonly string[][], limit: number): string[] {
  const all =
    lists.length === 1 ? (lists[0] as string[]) : [...new Set(lists.flat())].sort(compareStrings);
  return limit > 0 && all.length > limit ? all.slice(0, limit) : all;
}
