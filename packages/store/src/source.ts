/** What StoreAPI is served over: a head with its blocks, or one block of the bucket, under its external labels. */

import type { ChunkQueryable, Labels, Matcher } from "@torus/model";

export type StoreSource = {
  /** External labels, sorted. They win over a series' own label of the same name. */
  labels: Labels;
  /** Milliseconds, both inclusive; mint above maxt when there is nothing yet. */
  mint: number;
  maxt: number;
  queryable: ChunkQueryable;
};

/**
 * The matchers that are left for a source's own labels, or null when its external labels contradict one.
 * A matcher on a label that the source does not have is left: a series may have it.
 */
export function matchExternal(labels: Labels, matchers: readonly Matcher[]): Matcher[] | null {
  const left: Matcher[] = [];
  for (const matcher of matchers) {
    let value: string | undefined;
    for (let i = 0; i < labels.length; i += 2) {
      if (labels[i] === matcher.name) value = labels[i + 1];
    }
    if (value === undefined) left.push(matcher);
    else if (!matcher.matches(value)) return null;
  }
  return left;
}

/** Whether [mint, maxt] and the source have a millisecond in common. */
export function overlaps(source: StoreSource, mint: number, maxt: number): boolean {
  return source.mint <= maxt && source.maxt >= mint && source.mint <= source.maxt;
}
