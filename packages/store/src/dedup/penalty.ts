/**
 * Thanos' penalty algorithm: from replicas that were scraped at different times, one is followed as long as it goes
 * on, and another taken only when it is ahead by more than the penalty (Thanos, pkg/dedup).
 *
 * Replicas are folded pairwise, D(D(r0, r1), r2): the state below is one such node. A counter's replicas are lifted
 * at each switch so that a lower value of the other replica is not taken for a reset.
 */

import { ColumnBuilder, type Columns, NO_COLUMNS, wordsOfColumn } from "./columns.ts";

/** Hides the other replica's samples at the start, in ms. */
const INITIAL_PENALTY = 5000;

interface Stream {
  /** Moves to the next sample; false at the end. */
  next(): boolean;
  /** Moves to the first sample at or after `time`, not back; false at the end. */
  seek(time: number): boolean;
  readonly time: number;
  readonly value: number;
  /** Lifts what follows, when the current value is below `value`. */
  liftTo(value: number): void;
  /** Puts the current sample into `out`. */
  copyTo(out: ColumnBuilder): void;
}

class Leaf implements Stream {
  readonly #timestamps: Float64Array;
  readonly #values: Float64Array;
  readonly #words: Uint32Array;
  readonly #histograms: Columns["histograms"];
  #index = -1;
  #lift = 0;

  constructor({ timestamps, values, histograms }: Columns) {
    this.#histograms = histograms;
    this.#timestamps = timestamps;
    this.#values = values;
    this.#words = wordsOfColumn(values);
  }

  next(): boolean {
    return ++this.#index < this.#timestamps.length;
  }

  seek(time: number): boolean {
    if (this.#index < 0) this.#index = 0;
    while (this.#index < this.#timestamps.length && this.time < time) this.#index++;
    return this.#index < this.#timestamps.length;
  }

  get time(): number {
    return this.#timestamps[this.#index] as number;
  }

  get value(): number {
    return (this.#values[this.#index] as number) + this.#lift;
  }

  liftTo(value: number): void {
    // Native histograms are chosen by time as floats are, but never lifted.
    if (this.#histograms?.[this.#index] !== undefined) return;
    const { value: own } = this;
    if (value > own) this.#lift += value - own;
  }

  copyTo(out: ColumnBuilder): void {
    const histogram = this.#histograms?.[this.#index];
    if (this.#lift === 0 || histogram !== undefined) {
      out.push(this.time, this.#words, this.#index, histogram);
    } else out.pushNumber(this.time, this.value);
  }
}

class Pair implements Stream {
  readonly #a: Stream;
  readonly #b: Stream;
  readonly #isCounter: boolean;
  #aHas: boolean;
  #bHas: boolean;
  #useA = true;
  #lastTime = Number.NEGATIVE_INFINITY;
  #penaltyA = 0;
  #penaltyB = 0;

  constructor(a: Stream, b: Stream, isCounter: boolean) {
    this.#a = a;
    this.#b = b;
    this.#isCounter = isCounter;
    this.#aHas = a.next();
    this.#bHas = b.next();
  }

  get #current(): Stream {
    return this.#useA ? this.#a : this.#b;
  }

  next(): boolean {
    if (!this.#isCounter) return this.#choose();
    const usedA = this.#useA;
    const has = usedA ? this.#aHas : this.#bHas;
    const before = has ? this.#current.value : 0;
    const found = this.#choose();
    if (has && this.#useA !== usedA) this.liftTo(before);
    return found;
  }

  #choose(): boolean {
    if (this.#aHas) this.#aHas = this.#a.seek(this.#lastTime + 1 + this.#penaltyA);
    if (this.#bHas) this.#bHas = this.#b.seek(this.#lastTime + 1 + this.#penaltyB);
    if (!this.#aHas) {
      this.#useA = false;
      if (!this.#bHas) return false;
      this.#lastTime = this.#b.time;
      this.#penaltyB = 0;
      return true;
    }
    if (!this.#bHas) {
      this.#useA = true;
      this.#lastTime = this.#a.time;
      this.#penaltyA = 0;
      return true;
    }
    this.#useA = this.#a.time <= this.#b.time;
    const { time } = this.#current;
    const penalty =
      this.#lastTime === Number.NEGATIVE_INFINITY ? INITIAL_PENALTY : 2 * (time - this.#lastTime);
    this.#penaltyA = this.#useA ? 0 : penalty;
    this.#penaltyB = this.#useA ? penalty : 0;
    this.#lastTime = time;
    return true;
  }

  /** Every sample on the way is chosen as ever, so that the penalties stay right. */
  seek(time: number): boolean {
    while (this.#lastTime < time) if (!this.next()) return false;
    return true;
  }

  get time(): number {
    return this.#current.time;
  }

  get value(): number {
    return this.#current.value;
  }

  liftTo(value: number): void {
    if (this.#aHas) this.#a.liftTo(value);
    if (this.#bHas) this.#b.liftTo(value);
  }

  copyTo(out: ColumnBuilder): void {
    this.#current.copyTo(out);
  }
}

/** @param isCounter The samples go into rate, irate, increase or resets. */
export function penaltyDedup(replicas: readonly Columns[], isCounter: boolean): Columns {
  const [first, ...others] = replicas;
  if (first === undefined) return NO_COLUMNS;
  if (others.length === 0) return first;
  let stream: Stream = new Leaf(first);
  for (const other of others) stream = new Pair(stream, new Leaf(other), isCounter);
  const out = new ColumnBuilder(first.timestamps.length + 16);
  while (stream.next()) stream.copyTo(out);
  return out.take();
}
