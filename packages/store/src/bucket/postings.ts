/**
 * From matchers to the series of a block: ids (index offset / 16), ascending, as `Uint32Array`.
 *
 * A missing label is the empty string, so a matcher that takes "" cannot be answered by the lists of the values
 * it accepts; instead the lists of the values it refuses are taken away.
 */

import { ByteReader } from "@torus/encoding";
import type { Matcher } from "@torus/model";
import type { LoadedPages, PageCache, ReadContext } from "./bucket-pages.ts";
import { BlockFileDamagedError, checkCrc } from "./index-bytes.ts";
import type { IndexHeader, PostingsPlace } from "./index-header.ts";

/** @throws {BlockFileDamagedError} */
export async function selectPostings(
  header: IndexHeader,
  pages: PageCache,
  indexName: string,
  matchers: readonly Matcher[],
  context: ReadContext,
): Promise<Uint32Array> {
  const keep: PostingsPlace[][] = [];
  const drop: PostingsPlace[][] = [];
  for (const matcher of matchers) {
    const { name, value, type } = matcher;
    if (matcher.matchesEmpty) {
      const refused = header.postingsWhere(name, (other) => !matcher.matches(other));
      if (refused.length > 0) drop.push(refused);
      continue;
    }
    const one = type === "=" ? header.postings(name, value) : undefined;
    const accepted =
      type === "="
        ? one === undefined
          ? []
          : [one]
        : header.postingsWhere(name, (other) => matcher.matches(other));
    if (accepted.length === 0) return new Uint32Array(0);
    keep.push(accepted);
  }
  if (keep.length === 0) {
    const all = header.postings("", "");
    if (all === undefined) return new Uint32Array(0);
    keep.push([all]);
  }
  const ranges = [...keep, ...drop].flat().map(({ start, end }) => [start, end] as const);
  const loaded = await pages.load(indexName, ranges, context);
  const kept = keep
    .map((places) => union(places.map((place) => readPostings(loaded, place, indexName))))
    .sort((a, b) => a.length - b.length);
  let ids = kept[0] ?? new Uint32Array(0);
  for (const others of kept.slice(1)) ids = intersect(ids, others);
  for (const places of drop) {
    if (ids.length === 0) break;
    ids = subtract(ids, union(places.map((place) => readPostings(loaded, place, indexName))));
  }
  return ids;
}

function readPostings(pages: LoadedPages, place: PostingsPlace, indexName: string): Uint32Array {
  const what = `${indexName}: postings at ${place.start}`;
  const length = new ByteReader(pages.view(place.start, place.start + 4)).u32();
  const end = place.start + 4 + length + 4;
  if (end > place.end || length < 4 || length % 4 !== 0) {
    throw new BlockFileDamagedError(`${what}: ${length} bytes`);
  }
  const bytes = pages.view(place.start + 4, end);
  checkCrc(bytes, 0, what);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint32(0);
  if (count * 4 + 4 !== length)
    throw new BlockFileDamagedError(`${what}: ${count} ids in ${length} bytes`);
  const ids = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    ids[i] = view.getUint32(4 + i * 4);
    if (i > 0 && (ids[i] as number) <= (ids[i - 1] as number)) {
      throw new BlockFileDamagedError(`${what}: ids do not ascend`);
    }
  }
  return ids;
}

export function union(lists: readonly Uint32Array[]): Uint32Array {
  if (lists.length === 1) return lists[0] as Uint32Array;
  let size = 0;
  for (const list of lists) size += list.length;
  const all = new Uint32Array(size);
  let filled = 0;
  for (const list of lists) {
    all.set(list, filled);
    filled += list.length;
  }
  all.sort();
  let kept = 0;
  for (let i = 0; i < all.length; i++) {
    if (i === 0 || all[i] !== all[i - 1]) all[kept++] = all[i] as number;
  }
  return all.subarray(0, kept);
}

/** @param few The shorter list: each of its ids is looked for in the other by leaps. */
export function intersect(few: Uint32Array, many: Uint32Array): Uint32Array {
  const out = new Uint32Array(Math.min(few.length, many.length));
  let count = 0;
  let at = 0;
  for (let i = 0; i < few.length && at < many.length; i++) {
    const id = few[i] as number;
    let step = 1;
    while (at + step < many.length && (many[at + step] as number) < id) step *= 2;
    let low = at + (step >> 1);
    let high = Math.min(at + step, many.length);
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((many[middle] as number) < id) low = middle + 1;
      else high = middle;
    }
    at = low;
    if (many[at] === id) out[count++] = id;
  }
  return out.subarray(0, count);
}

export function subtract(ids: Uint32Array, gone: Uint32Array): Uint32Array {
  const out = new Uint32Array(ids.length);
  let count = 0;
  let at = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    while (at < gone.length && (gone[at] as number) < id) at++;
    if (gone[at] !== id) out[count++] = id;
  }
  return out.subarray(0, count);
}
