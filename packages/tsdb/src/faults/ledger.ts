/** Who sent samples of a `SampleStream` keeps account here, and finds out what a database made of them. */

import { CONTRADICTION, SERIES, type SentSample, valueOf } from "./sample-stream.ts";

const MOST_STEPS = 1 << 14;

const SENT = 1;
const SENT_OTHER = 2;
const STORED = 4;
const STORED_OTHER = 8;
const FOUND = 16;
const FOUND_OTHER = 32;

/** What was sent to a directory, and what of it was acknowledged. */
export class Ledger {
  readonly #state = new Uint8Array(SERIES * MOST_STEPS);
  readonly #retention: number;
  /** The highest request that was sent. */
  last = 0;

  /** @param retention Samples this many steps behind the last one may be gone. */
  constructor(retention: number) {
    this.#retention = retention;
  }

  /** @param stored A bit for each sample that was acknowledged; null when nothing was. */
  sent(n: number, samples: readonly SentSample[], stored: bigint | null): void {
    samples.forEach(({ series, step, contradicts }, i) => {
      const at = series * MOST_STEPS + step;
      let bits = contradicts ? SENT_OTHER : SENT;
      if (stored !== null && ((stored >> BigInt(i)) & 1n) === 1n) {
        bits |= contradicts ? STORED_OTHER : STORED;
      }
      this.#state[at] = (this.#state[at] as number) | bits;
    });
    this.last = Math.max(this.last, n);
  }

  /** @param triples Series, step and value of each sample found. @returns What is wrong with them. */
  check(triples: Float64Array): string[] {
    const wrong: string[] = [];
    const state = this.#state;
    for (let i = 0; i < state.length; i++) {
      state[i] = (state[i] as number) & (SENT | SENT_OTHER | STORED | STORED_OTHER);
    }
    for (let i = 0; i < triples.length; i += 3) {
      const [series = -1, step = -1, value = 0] = triples.subarray(i, i + 3);
      const at = series * MOST_STEPS + step;
      const had = series < 0 ? undefined : state[at];
      const other = value === valueOf(series, step) + CONTRADICTION;
      const wanted = other ? SENT_OTHER : SENT;
      const name = `series ${series} at ${step}`;
      if (
        had === undefined ||
        (had & wanted) === 0 ||
        (!other && value !== valueOf(series, step))
      ) {
        wrong.push(`${name}: ${value} was never sent`);
        continue;
      }
      if ((had & (FOUND | FOUND_OTHER)) !== 0) wrong.push(`${name}: twice`);
      state[at] = had | (other ? FOUND_OTHER : FOUND);
    }
    // Retention deletes what lies this far behind the newest.
    const from = Math.max(1, this.last - this.#retention);
    for (let series = 0; series < SERIES; series++) {
      for (let step = from; step <= this.last; step++) {
        const bits = state[series * MOST_STEPS + step] as number;
        const name = `series ${series} at ${step}`;
        if ((bits & STORED) !== 0 && (bits & FOUND) === 0) wrong.push(`${name}: lost`);
        if ((bits & STORED_OTHER) !== 0 && (bits & FOUND_OTHER) === 0) {
          wrong.push(`${name}: lost with its other value`);
        }
      }
    }
    return wrong;
  }
}
