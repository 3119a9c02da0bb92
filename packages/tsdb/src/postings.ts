/**
 * Evaluating matchers on an inverted index, whoever holds it: lists of series numbers, ascending.
 *
 * A matcher that the empty string fails selects the union of the values it accepts; one that the empty string
 * passes removes the union of the values it rejects, because a series without the label passes it too.
 */

import type { Matcher } from "@torus/model";
import { intersect, NO_REFS, subtract, unite } from "./head/postings.ts";

export interface PostingsSource {
  /** All series. */
  all(): Uint32Array;
  postings(name: string, value: string): Uint32Array;
  values(name: string): Iterable<string>;
}

export function postingsForMatchers(
  source: PostingsSource,
  matchers: readonly Matcher[],
): Uint32Array {
  let found: Uint32Array | null = null;
  const removed: Uint32Array[] = [];
  // Equality first: what it leaves is the least for the others to intersect with.
  for (const matcher of [...matchers].sort((a, b) => cost(a) - cost(b))) {
    if (matcher.matchesEmpty) {
      removed.push(union(source, matcher, false));
      continue;
    }
    const list =
      matcher.type === "="
        ? source.postings(matcher.name, matcher.value)
        : union(source, matcher, true);
    found = found === null ? list : intersect(found, list);
    if (found.length === 0) return NO_REFS;
  }
  let out = found ?? source.all();
  for (const list of removed) out = subtract(out, list);
  return out;
}

function cost(matcher: Matcher): number {
  if (matcher.matchesEmpty) return 2;
  return matcher.type === "=" ? 0 : 1;
}

function union(source: PostingsSource, matcher: Matcher, accepted: boolean): Uint32Array {
  if (!accepted && matcher.type === "!=") return source.postings(matcher.name, matcher.value);
  const lists: Uint32Array[] = [];
  for (const value of source.values(matcher.name)) {
    if (matcher.matches(value) === accepted) lists.push(source.postings(matcher.name, value));
  }
  return unite(lists);
}
