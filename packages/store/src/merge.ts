/**
 * Merges streams of series, each in ascending label order, into one. Series with equal labels become one, their
 * chunks side by side in the order of the streams. One stream alone may hold them too: replicas whose labels were
 * taken out.
 */

import { compareLabels, type Labels, labelsEqual } from "@torus/model";

export type SeriesOf<C> = { labels: Labels; chunks: readonly C[] };
export type SeriesStream<C> = AsyncIterable<readonly SeriesOf<C>[]>;

const BATCH_SERIES = 256;

/** One stream and where it stands. */
type Cursor<C> = {
  iterator: AsyncIterator<readonly SeriesOf<C>[]>;
  batch: readonly SeriesOf<C>[];
  index: number;
  order: number;
};

export async function* mergeSeries<C>(
  streams: readonly SeriesStream<C>[],
): AsyncGenerator<readonly SeriesOf<C>[]> {
  const cursors = streams.map(
    (stream, order): Cursor<C> => ({
      iterator: stream[Symbol.asyncIterator](),
      batch: [],
      index: 0,
      order,
    }),
  );
  try {
    // The first batch of each is asked for at once: the slowest decides, not their sum.
    const filled = await Promise.all(cursors.map(refill));
    const heap = new CursorHeap(cursors.filter((_, i) => filled[i]));
    let out: SeriesOf<C>[] = [];
    while (heap.top !== undefined) {
      const cursor = heap.top;
      const next = cursor.batch[cursor.index++] as SeriesOf<C>;
      const last = out.at(-1);
      if (last !== undefined && labelsEqual(last.labels, next.labels)) {
        out[out.length - 1] = { labels: last.labels, chunks: [...last.chunks, ...next.chunks] };
      } else {
        // The last one of a full batch may still grow, so it is kept back.
        if (out.length > BATCH_SERIES) {
          yield out.slice(0, -1);
          out = [out.at(-1) as SeriesOf<C>];
        }
        out.push(next);
      }
      if (cursor.index < cursor.batch.length || (await refill(cursor))) heap.sinkTop();
      else heap.removeTop();
    }
    if (out.length > 0) yield out;
  } finally {
    await Promise.allSettled(cursors.map(async ({ iterator }) => iterator.return?.()));
  }
}

async function refill<C>(cursor: Cursor<C>): Promise<boolean> {
  for (;;) {
    const { value, done } = await cursor.iterator.next();
    if (done === true) return false;
    if (value.length === 0) continue;
    cursor.batch = value;
    cursor.index = 0;
    return true;
  }
}

/** A binary heap by the label set that each cursor stands at; ties go to the earlier stream. */
class CursorHeap<C> {
  readonly #cursors: Cursor<C>[];

  constructor(cursors: Cursor<C>[]) {
    this.#cursors = cursors;
    for (let i = (cursors.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  get top(): Cursor<C> | undefined {
    return this.#cursors[0];
  }

  sinkTop(): void {
    this.#sink(0);
  }

  removeTop(): void {
    const last = this.#cursors.pop();
    if (last !== undefined && this.#cursors.length > 0) {
      this.#cursors[0] = last;
      this.#sink(0);
    }
  }

  #before(a: Cursor<C>, b: Cursor<C>): boolean {
    const x = a.batch[a.index] as SeriesOf<C>;
    const y = b.batch[b.index] as SeriesOf<C>;
    const order = compareLabels(x.labels, y.labels);
    return order < 0 || (order === 0 && a.order < b.order);
  }

  #sink(from: number): void {
    const cursors = this.#cursors;
    let i = from;
    for (;;) {
      let least = i;
      for (let child = 2 * i + 1; child <= 2 * i + 2 && child < cursors.length; child++) {
        if (this.#before(cursors[child] as Cursor<C>, cursors[least] as Cursor<C>)) least = child;
      }
      if (least === i) return;
      const swap = cursors[i] as Cursor<C>;
      cursors[i] = cursors[least] as Cursor<C>;
      cursors[least] = swap;
      i = least;
    }
  }
}
