/**
 * A source's series with its external labels put in and replica labels taken out, again in ascending order.
 *
 * Putting the same labels into every series keeps their order but in one case: a label set that is a prefix of the
 * next ones (`up{a="1"}` before `up{a="1",z="2"}`) falls behind them when an external label's name sorts
 * before theirs is put at its end. So series are held back while the first one held is a prefix of them.
 * Taking out or overriding a label that series have themselves breaks the order anywhere: then all of the
 * source's series are collected and sorted.
 */

import { compareLabels, type Labels, mergeLabels, withoutLabels } from "@torus/model";
import type { SeriesOf, SeriesStream } from "./merge.ts";

export type Relabelling = {
  external: Labels;
  /** Names to take out, of series and external labels alike. */
  without: ReadonlySet<string>;
  /** Some series may themselves have a label of `without` or `external`. */
  touchesOwnLabels: boolean;
};

export async function* relabelSeries<C>(
  series: SeriesStream<C>,
  { external, without, touchesOwnLabels }: Relabelling,
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
        all.push({ labels: mergeLabels(withoutLabels(labels, without), added), chunks });
      }
    }
    yield* batches(all.sort(byLabels));
    return;
  }
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
      held.push({ labels: mergeLabels(labels, added), chunks });
    }
    if (out.length > 0) yield out;
  }
  if (held.length > 0) yield held.sort(byLabels);
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
