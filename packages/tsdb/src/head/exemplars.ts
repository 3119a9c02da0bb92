/**
 * Exemplars of a head: the newest ones of all its series in a circle of fixed size (Prometheus, tsdb/exemplar.go). One
 * that comes when the circle is full takes the place of the oldest.
 *
 *   slot     ref, time, value, labels, and the slot of the series' next older exemplar
 *   series   newest slot, how many
 */

import type { Labels } from "@torus/model";
import { doubleOf } from "../chunkenc/samples.ts";
import { encodeRecord } from "../wlog/records.ts";

export type Exemplar = {
  /** ms. */
  time: number;
  /** The bits of a float. */
  value: bigint;
  labels: Labels;
};

/** Names and values of an exemplar's labels together (OpenMetrics), in characters. */
const MAX_LABEL_RUNES = 128;
/** How far back a copy of an exemplar is looked for; senders repeat what they sent last. */
const MOST_LOOKED_AT = 64;
const FIRST_SLOTS = 64;
const RECORD_ENTRIES = 1024;
/** Refs begin at 1. */
const NO_SERIES = 0;

export type LoggedExemplar = { ref: number; time: bigint; value: bigint; labels: Labels };

export type ExemplarVerdict = "stored" | "duplicate" | "out of order" | "too long";

type Series = { newest: number; count: number };

export class Exemplars {
  readonly #max: number;
  readonly #series = new Map<number, Series>();
  #refs = new Uint32Array(0);
  #times = new Float64Array(0);
  #values = new BigUint64Array(0);
  #older = new Int32Array(0);
  readonly #labels: Labels[] = [];
  #next = 0;
  #count = 0;
  #appended = 0;
  #outOfOrder = 0;
  #lastTime = Number.NEGATIVE_INFINITY;

  /** @param max 0: none is kept. */
  constructor(max: number) {
    this.#max = max;
  }

  get max(): number {
    return this.#max;
  }

  /** Exemplars that are kept. */
  get count(): number {
    return this.#count;
  }

  /** Series that have some. */
  get seriesCount(): number {
    return this.#series.size;
  }

  /** Since the start. */
  get appended(): number {
    return this.#appended;
  }

  get outOfOrder(): number {
    return this.#outOfOrder;
  }

  /** Of the newest exemplar in ms; -Infinity when there is none. */
  get lastTime(): number {
    return this.#lastTime;
  }

  /** What `add` is to do with it. */
  judge(ref: number, exemplar: Exemplar): ExemplarVerdict {
    if (runes(exemplar.labels) > MAX_LABEL_RUNES) return "too long";
    const series = this.#series.get(ref);
    if (series === undefined) return "stored";
    if (this.#has(series, exemplar)) return "duplicate";
    const { newest } = series;
    const last = this.#times[newest] as number;
    const isOlder =
      exemplar.time < last ||
      (exemplar.time === last &&
        doubleOf(exemplar.value) < doubleOf(this.#values[newest] as bigint));
    if (isOlder) this.#outOfOrder++;
    return isOlder ? "out of order" : "stored";
  }

  /** Stores what was judged so. */
  add(ref: number, { time, value, labels }: Exemplar): void {
    if (this.#max === 0) return;
    this.#reserve();
    const slot = this.#next;
    this.#next = (slot + 1) % this.#max;
    if (this.#count === this.#max) this.#giveUp(slot);
    else this.#count++;
    const series = this.#series.get(ref);
    this.#refs[slot] = ref;
    this.#times[slot] = time;
    this.#values[slot] = value;
    this.#labels[slot] = labels;
    this.#older[slot] = series?.newest ?? -1;
    if (series === undefined) this.#series.set(ref, { newest: slot, count: 1 });
    else {
      series.newest = slot;
      series.count++;
    }
    this.#appended++;
    this.#lastTime = Math.max(this.#lastTime, time);
  }

  /** Refs of the series that have some. */
  refs(): Iterable<number> {
    return this.#series.keys();
  }

  /** A series' exemplars in [mint, maxt], oldest first. */
  of(ref: number, mint: number, maxt: number): Exemplar[] {
    const out: Exemplar[] = [];
    const series = this.#series.get(ref);
    if (series === undefined) return out;
    let slot = series.newest;
    for (let left = series.count; left > 0; left--) {
      const time = this.#times[slot] as number;
      if (time >= mint && time <= maxt) out.push(this.#at(slot));
      slot = this.#older[slot] as number;
    }
    return out.reverse();
  }

  /** All that are kept, in the order in which they came. */
  *inOrder(): Generator<Exemplar & { ref: number }> {
    for (let i = this.#max - this.#count; i < this.#max; i++) {
      const slot = (this.#next + i) % this.#max;
      const ref = this.#refs[slot] as number;
      if (ref !== NO_SERIES) yield { ref, ...this.#at(slot) };
    }
  }

  /** A series is gone: what it has is not found any more, and makes room in its turn. */
  forget(ref: number): void {
    const series = this.#series.get(ref);
    if (series === undefined) return;
    let slot = series.newest;
    for (let left = series.count; left > 0; left--) {
      const older = this.#older[slot] as number;
      this.#refs[slot] = NO_SERIES;
      this.#labels[slot] = [];
      slot = older;
    }
    this.#series.delete(ref);
  }

  #at(slot: number): Exemplar {
    return {
      time: this.#times[slot] as number,
      value: this.#values[slot] as bigint,
      labels: this.#labels[slot] as Labels,
    };
  }

  #has({ newest, count }: Series, { time, value, labels }: Exemplar): boolean {
    let slot = newest;
    for (let left = Math.min(count, MOST_LOOKED_AT); left > 0; left--) {
      if ((this.#times[slot] as number) < time) return false;
      if (this.#times[slot] === time && this.#values[slot] === value) {
        const other = this.#labels[slot] as Labels;
        if (other.length === labels.length && other.every((text, i) => text === labels[i])) {
          return true;
        }
      }
      slot = this.#older[slot] as number;
    }
    return false;
  }

  /** What `slot` holds is the oldest of all, and so of its series, unless that was forgotten since. */
  #giveUp(slot: number): void {
    const ref = this.#refs[slot] as number;
    if (ref === NO_SERIES) return;
    const series = this.#series.get(ref) as Series;
    series.count--;
    if (series.count === 0) this.#series.delete(ref);
  }

  #reserve(): void {
    if (this.#next < this.#refs.length) return;
    const size = Math.min(this.#max, Math.max(FIRST_SLOTS, this.#refs.length * 2));
    const refs = new Uint32Array(size);
    const times = new Float64Array(size);
    const values = new BigUint64Array(size);
    const older = new Int32Array(size);
    refs.set(this.#refs);
    times.set(this.#times);
    values.set(this.#values);
    older.set(this.#older);
    this.#refs = refs;
    this.#times = times;
    this.#values = values;
    this.#older = older;
  }
}

/** What is kept, as records of the log. */
export function* exemplarRecords(all: Exemplars): Generator<Uint8Array> {
  let batch: LoggedExemplar[] = [];
  for (const { ref, time, value, labels } of all.inOrder()) {
    batch.push({ ref, time: BigInt(time), value, labels });
    if (batch.length < RECORD_ENTRIES) continue;
    yield exemplarRecord(batch);
    batch = [];
  }
  if (batch.length > 0) yield exemplarRecord(batch);
}

/** A record of the log. @param exemplars At least one; times in ms. */
export function exemplarRecord(exemplars: LoggedExemplar[]): Uint8Array {
  const [{ ref, time }] = exemplars as [LoggedExemplar];
  return encodeRecord({ type: 4, base: { ref, time }, exemplars });
}

function runes(labels: Labels): number {
  let count = 0;
  for (const text of labels) for (const _ of text) count++;
  return count;
}
