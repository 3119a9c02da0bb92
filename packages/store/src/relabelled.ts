/**
 * A source's series with its external labels put in and replica labels taken out, again in ascending order.
 *
 * Putting the same labels into every series keeps their order but in one case: a label set that is a prefix of the
 * next ones (`up{a="1"}` before `up{a="1",z="2"}`) falls behind them when an external label's name sorts
 * before theirs is put at its end. So series are held back while the first one held is a prefix of them.
 * Taking out or overriding a label that series have themselves breaks the order anywhere: then all of the
 * source's series are collected and sorted.
 */

import { compareLabels, type Labels, labelsEqual, mergeLabels, withoutLabels } from "@torus/model";
import type { SeriesOf, SeriesStream } from "./merge.ts";

export type Relabelling = {
  external: Labels;
  /** Names to take out, of series and external labels alike. */
  without: ReadonlySet<string>;
  /** Some series may themselves have a label of `without` or `external`. */
  touchesOwnLabels: boolean;
  /** A label set that comes again is the same array; what becomes of it is remembered then. */
  isStable: boolean;
};

/** What lasts of a series' chunks, which may be good until the next batch only. */
export type Lasting<C> = (chunks: readonly C[]) => readonly C[];

/** What became of label sets that come again, by the labels that were put in last. */
const remembered = new WeakMap<Labels, { added: Labels; merged: Labels }>();

function mergedWith(labels: Labels, added: Labels): Labels {
  const known = remembered.get(labels);
  if (known !== undefined && labelsEqual(known.added, added)) return known.merged;
  const merged = mergeLabels(labels, added);
  remembered.set(labels, { added, merged });
  return merged;
}

/** Label sets that come out are all different. */
export async function* relabelSeries<C>(
  series: SeriesStream<C>,
  { external, without, touchesOwnLabels, isStable }: Relabelling,
  lasting: Lasting<C>,
): AsyncGenerator<readonly SeriesOf<C>[]> {
  const added = withoutLabels(external, without);
  if (added.length === 0 && !touchesOwnLabels) {
    yield* series;
    return;
  }
  if (touchesOwnLabels) {
    const all: SeriesOf<C>[] = [];
    for await (const batch of series) {
      for (const { labels, chunks } of batch) {
        const merged = mergeLabels(withoutLabels(labels, without), added);
        all.push({ labels: merged, chunks: lasting(chunks) });
      }
    }
    yield* batches(united(all.sort(byLabels)));
    return;
  }
  const merge = isStable ? mergedWith : mergeLabels;
  let held: SeriesOf<C>[] = [];
  let first: Labels = [];
  for await (const batch of series) {
    const out: SeriesOf<C>[] = [];
    for (const { labels, chunks } of batch) {
      if (held.length > 0 && !isPrefix(first, labels)) {
        if (held.length > 1) held.sort(byLabels);
        out.push(...held);
        held = [];
      }
      if (held.length === 0) first = labels;
      held.push({ labels: merge(labels, added), chunks });
    }
    held = held.map(({ labels, chunks }) => ({ labels, chunks: lasting(chunks) }));
    if (out.length > 0) yield out;
  }
  if (held.length > 0) yield held.sort(byLabels);
}

/** Series that stand side by side with equal labels in one. */
function united<C>(sorted: readonly SeriesOf<C>[]): SeriesOf<C>[] {
  const out: SeriesOf<C>[] = [];
  for (const { labels, chunks } of sorted) {
    const last = out.at(-1);
    if (last === undefined || !labelsEqual(last.labels, labels)) out.push({ labels, chunks });
    else out[out.length - 1] = { labels, chunks: [...last.chunks, ...chunks] };
  }
  return out;
}

function byLabels(a: { labels: Labels }, b: { labels: Labels }): number {
  return compareLabels(a.labels, b.labels);
}

function isPrefix(prefix: Labels, labels: Labels): boolean {
  if (prefix.length > labels.length) return false;
  for (let i = prefix.length - 1; i >= 0; i--) if (prefix[i] !== labels[i]) return false;
  return true;
}

function* batches<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let i = 0; i < all.length; i += 256) yield all.slice(i, i + 256);
}
