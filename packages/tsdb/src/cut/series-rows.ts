/**
 * Series of a head as rows of numbers, in label order: what the index of their block is written from.
 *
 * Label bytes lie in the kernels' memory as they came (canonical Label fields); a pair that the series before has at
 * the same place is found by comparing bytes, which most are, others by a map. Numbers of symbols and pairs ascend in
 * byte order, so a row compares as its labels do. A series takes four bytes a label here.
 *
 *   Label field   0a length | 0a length name | 12 length value
 */

import { compareStrings } from "@torus/model";

const SURROGATE = /[\ud800-\udfff]/;

export type SeriesRows = {
  /** Ascending; the first is "". */
  symbols: readonly string[];
  /** Symbol numbers of each pair's name and value; pairs ascend by them. */
  pairNames: Uint32Array;
  pairValues: Uint32Array;
  /** Pair numbers of series i: `pairs[starts[i]]` up to `pairs[starts[i + 1]]`. */
  starts: Uint32Array;
  pairs: Uint32Array;
  /** Indexes of the series, in label order. */
  order: Uint32Array;
};

/** @param series Addresses of series records, in any order; they and their label bytes must not be freed meanwhile. */
export function seriesRows(memory: ArrayBufferLike, series: Uint32Array): SeriesRows {
  const words = new Uint32Array(memory);
  const text = Buffer.from(memory);
  const starts = new Uint32Array(series.length + 1);
  let pairs = new Uint32Array(series.length * 8 + 64);
  const known = new Map<string, number>();
  const names: string[] = [];
  const values: string[] = [];
  // The pairs of the series before: where their fields begin and end, and their numbers.
  const before = { at: new Uint32Array(64), end: new Uint32Array(64), count: 0, row: 0 };
  let filled = 0;
  for (let i = 0; i < series.length; i++) {
    const record = (series[i] as number) >>> 2;
    let at = words[record] as number;
    const end = at + (words[record + 1] as number);
    let n = 0;
    while (at < end) {
      let from = at + 1;
      let size = text[from++] as number;
      if (size >= 0x80) {
        size &= 0x7f;
        for (let shift = 7; ; shift += 7) {
          const byte = text[from++] as number;
          size |= (byte & 0x7f) << shift;
          if (byte < 0x80) break;
        }
      }
      const next = from + size;
      let pair = -1;
      if (n < before.count) {
        const other = before.at[n] as number;
        if ((before.end[n] as number) - other === next - at && isSame(text, other, at, next - at)) {
          pair = pairs[before.row + n] as number;
        }
      }
      if (pair < 0) {
        const key = text.toString("latin1", from, next);
        pair = known.get(key) ?? -1;
        if (pair < 0) {
          pair = known.size;
          known.set(key, pair);
          const [name, value] = pairOf(text, from);
          names.push(name);
          values.push(value);
        }
      }
      if (filled === pairs.length) {
        const wider = new Uint32Array(Math.ceil(filled * 1.5));
        wider.set(pairs);
        pairs = wider;
      }
      pairs[filled++] = pair;
      if (n === before.at.length) {
        before.at = widened(before.at);
        before.end = widened(before.end);
      }
      before.at[n] = at;
      before.end[n] = next;
      n++;
      at = next;
    }
    before.count = n;
    before.row = starts[i] as number;
    starts[i + 1] = filled;
  }
  known.clear();
  const { symbols, pairNames, pairValues, ranks } = inOrder(names, values);
  for (let i = 0; i < filled; i++) pairs[i] = ranks[pairs[i] as number] as number;
  return { symbols, pairNames, pairValues, starts, pairs, order: orderOf(starts, pairs) };
}

function widened(list: Uint32Array): Uint32Array<ArrayBuffer> {
  const wider = new Uint32Array(list.length * 2);
  wider.set(list);
  return wider;
}

function isSame(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  // From the end: values differ there first.
  for (let i = length - 1; i >= 0; i--) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}

/** Name and value of the Label message whose body begins at `at`. */
function pairOf(text: Buffer, at: number): [name: string, value: string] {
  let from = at;
  const part = (): string => {
    from++;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = text[from++] as number;
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    from += size;
    return text.toString("utf8", from - size, from);
  };
  return [part(), part()];
}

/** Symbols sorted, and the pairs as numbers of them, sorted; `ranks` gives the new number of each pair. */
function inOrder(names: readonly string[], values: readonly string[]) {
  const symbols = [...new Set(["", ...names, ...values])];
  // Without surrogates the order of UTF-16 units is that of bytes, and the engine's own sort is faster.
  if (symbols.some((text) => SURROGATE.test(text))) symbols.sort(compareStrings);
  else symbols.sort();
  const numbers = new Map(symbols.map((text, i) => [text, i]));
  const name = Uint32Array.from(names, (text) => numbers.get(text) as number);
  const value = Uint32Array.from(values, (text) => numbers.get(text) as number);
  const sorted = Uint32Array.from(names, (_, i) => i).sort(
    (a, b) =>
      (name[a] as number) - (name[b] as number) || (value[a] as number) - (value[b] as number),
  );
  const ranks = new Uint32Array(sorted.length);
  sorted.forEach((pair, rank) => {
    ranks[pair] = rank;
  });
  return {
    symbols,
    pairNames: sorted.map((pair) => name[pair] as number),
    pairValues: sorted.map((pair) => value[pair] as number),
    ranks,
  };
}

function orderOf(starts: Uint32Array, pairs: Uint32Array): Uint32Array {
  const order = new Uint32Array(starts.length - 1);
  for (let i = 0; i < order.length; i++) order[i] = i;
  return order.sort((x, y) => {
    let a = starts[x] as number;
    let b = starts[y] as number;
    const aEnd = starts[x + 1] as number;
    const bEnd = starts[y + 1] as number;
    for (; a < aEnd && b < bEnd; a++, b++) {
      const difference = (pairs[a] as number) - (pairs[b] as number);
      if (difference !== 0) return difference;
    }
    return aEnd - a - (bEnd - b);
  });
}
