/**
 * The inverted index of a head: which series (by ref) carry which label pair.
 *
 * The kernel gives each distinct pair a number when a series first carries it; a pair's strings are decoded once
 * and shared by every answer. Lists hold refs, which only grow, so appending keeps them sorted; replay may
 * bring refs out of order, then a list is sorted when it is next read. A pair of one series is a bare number.
 */

import { compareStrings, type Labels } from "@torus/model";

export const NO_REFS = new Uint32Array(0);

export class RefList {
  #refs: Uint32Array;
  #length = 0;
  #sorted = true;

  constructor(capacity = 4) {
    this.#refs = new Uint32Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  push(ref: number): void {
    if (this.#length === this.#refs.length) {
      const wider = new Uint32Array(Math.ceil(this.#length * 1.5) + 4);
      wider.set(this.#refs);
      this.#refs = wider;
    }
    if (this.#length > 0 && ref <= (this.#refs[this.#length - 1] as number)) this.#sorted = false;
    this.#refs[this.#length++] = ref;
  }

  /** Ascending; a view that the next push or removal may change. */
  view(): Uint32Array {
    const used = this.#refs.subarray(0, this.#length);
    if (!this.#sorted) {
      used.sort();
      this.#sorted = true;
    }
    return used;
  }

  removeAll(dead: ReadonlySet<number>): void {
    let kept = 0;
    for (let i = 0; i < this.#length; i++) {
      const ref = this.#refs[i] as number;
      if (!dead.has(ref)) this.#refs[kept++] = ref;
    }
    this.#length = kept;
    if (kept * 4 < this.#refs.length) this.#refs = this.#refs.slice(0, kept + 4);
  }
}

export class LabelIndex {
  readonly #values = new Map<string, Map<string, number>>();
  readonly #pairNames: string[] = [];
  readonly #pairValues: string[] = [];
  readonly #postings: (number | RefList | undefined)[] = [];
  readonly #addresses: number[] = [];
  #pairCount = 0;
  readonly #all = new RefList();

  get seriesCount(): number {
    return this.#all.length;
  }

  get pairCount(): number {
    return this.#pairCount;
  }

  /** `address` is the pair's place in the kernel's memory, given back by `removeSeries` when it is unused. */
  addPair(pair: number, name: string, value: string, address: number): void {
    let values = this.#values.get(name);
    if (values === undefined) {
      values = new Map();
      this.#values.set(name, values);
    }
    values.set(value, pair);
    this.#pairCount++;
    this.#pairNames[pair] = name;
    this.#pairValues[pair] = value;
    this.#addresses[pair] = address;
  }

  addSeries(ref: number): void {
    this.#all.push(ref);
  }

  addToPair(ref: number, pair: number): void {
    const before = this.#postings[pair];
    if (before === undefined) this.#postings[pair] = ref;
    else if (typeof before === "number") {
      const list = new RefList();
      list.push(before);
      list.push(ref);
      this.#postings[pair] = list;
    } else before.push(ref);
  }

  labelsOf(pairs: Uint32Array): Labels {
    const out: string[] = [];
    for (const pair of pairs) {
      out.push(this.#pairNames[pair] as string, this.#pairValues[pair] as string);
    }
    return out;
  }

  pairName(pair: number): string {
    return this.#pairNames[pair] as string;
  }

  pairValue(pair: number): string {
    return this.#pairValues[pair] as string;
  }

  names(): string[] {
    return [...this.#values.keys()].sort(compareStrings);
  }

  /** Refs of all series, ascending; a view. */
  all(): Uint32Array {
    return this.#all.view();
  }

  /** Unsorted. */
  values(name: string): Iterable<string> {
    return this.#values.get(name)?.keys() ?? [];
  }

  /** Unsorted. */
  *seriesByValue(name: string): Generator<[value: string, series: number]> {
    for (const [value, pair] of this.#values.get(name) ?? []) {
      const list = this.#postings[pair];
      yield [value, list === undefined ? 0 : typeof list === "number" ? 1 : list.length];
    }
  }

  valueCount(name: string): number {
    return this.#values.get(name)?.size ?? 0;
  }

  /** A series with this pair; 0 when there is none. */
  anyRef(name: string, value: string): number {
    const pair = this.#values.get(name)?.get(value);
    return pair === undefined ? 0 : (this.#refs(pair)[0] ?? 0);
  }

  /** Refs of the series with this pair, ascending; a view. */
  postings(name: string, value: string): Uint32Array {
    const pair = this.#values.get(name)?.get(value);
    return pair === undefined ? NO_REFS : this.#refs(pair);
  }

  #refs(pair: number): Uint32Array {
    const list = this.#postings[pair];
    if (list === undefined) return NO_REFS;
    return typeof list === "number" ? Uint32Array.of(list) : list.view();
  }

  /**
   * Takes series out of the index; `pairs` are all that any of them carries.
   * Returns the addresses of the pairs that no series has any more.
   */
  removeSeries(dead: ReadonlySet<number>, pairs: ReadonlySet<number>): number[] {
    const freed: number[] = [];
    this.#all.removeAll(dead);
    for (const pair of pairs) {
      const list = this.#postings[pair];
      if (list === undefined) continue;
      if (typeof list === "number") {
        if (!dead.has(list)) continue;
      } else {
        list.removeAll(dead);
        if (list.length > 0) continue;
      }
      this.#postings[pair] = undefined;
      freed.push(this.#addresses[pair] as number);
      this.#pairCount--;
      const name = this.#pairNames[pair] as string;
      const values = this.#values.get(name);
      values?.delete(this.#pairValues[pair] as string);
      if (values?.size === 0) this.#values.delete(name);
      this.#pairNames[pair] = "";
      this.#pairValues[pair] = "";
    }
    return freed;
  }
}

export function intersect(a: Uint32Array, b: Uint32Array): Uint32Array {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  const out = new Uint32Array(short.length);
  let n = 0;
  if (short.length * 16 < long.length) {
    let from = 0;
    for (const ref of short) {
      from = lowerBound(long, ref, from);
      if (from === long.length) break;
      if (long[from] === ref) out[n++] = ref;
    }
    return out.subarray(0, n);
  }
  for (let i = 0, j = 0; i < short.length && j < long.length; ) {
    const x = short[i] as number;
    const y = long[j] as number;
    if (x === y) {
      out[n++] = x;
      i++;
      j++;
    } else if (x < y) i++;
    else j++;
  }
  return out.subarray(0, n);
}

export function subtract(a: Uint32Array, b: Uint32Array): Uint32Array {
  if (b.length === 0) return a;
  const out = new Uint32Array(a.length);
  let n = 0;
  let j = 0;
  for (const ref of a) {
    while (j < b.length && (b[j] as number) < ref) j++;
    if (b[j] !== ref) out[n++] = ref;
  }
  return out.subarray(0, n);
}

/** The union of lists that share no ref or few: concatenated, sorted, repeats dropped. */
export function unite(lists: readonly Uint32Array[]): Uint32Array {
  if (lists.length === 0) return NO_REFS;
  if (lists.length === 1) return lists[0] as Uint32Array;
  let total = 0;
  for (const list of lists) total += list.length;
  const out = new Uint32Array(total);
  let at = 0;
  for (const list of lists) {
    out.set(list, at);
    at += list.length;
  }
  out.sort();
  let n = 0;
  for (let i = 0; i < total; i++) if (i === 0 || out[i] !== out[i - 1]) out[n++] = out[i] as number;
  return out.subarray(0, n);
}

function lowerBound(list: Uint32Array, ref: number, from: number): number {
  let low = from;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((list[middle] as number) < ref) low = middle + 1;
    else high = middle;
  }
  return low;
}
