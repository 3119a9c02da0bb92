/**
 * Go's math/rand source: an additive lagged Fibonacci generator of 607 words with tap 273, seeded by a
 * Lehmer generator (48271 mod 2^31-1). Shuffle shards are drawn from it, so its draws must be Go's.
 */

import { GO_RANDOM_WORDS } from "./go-random-table.ts";

const LENGTH = 607;
const TAP = 273;
const MODULUS = 2 ** 31 - 1;

let table: BigUint64Array | undefined;

export class GoRandom {
  readonly #words = new BigUint64Array(LENGTH);
  #tap = 0;
  #feed = LENGTH - TAP;

  /** @param seed A signed 64-bit number. */
  constructor(seed: bigint) {
    table ??= BigUint64Array.from(GO_RANDOM_WORDS.trim().split(/\s+/), (word) =>
      BigInt(`0x${word}`),
    );
    let x = Number(seed % BigInt(MODULUS));
    if (x < 0) x += MODULUS;
    if (x === 0) x = 89482311;
    const step = () => {
      x = 48271 * (x % 44488) - 3399 * Math.floor(x / 44488);
      if (x < 0) x += MODULUS;
      return BigInt(x);
    };
    for (let i = 0; i < 20; i++) step();
    for (let i = 0; i < LENGTH; i++) {
      const high = step() << 40n;
      const middle = step() << 20n;
      this.#words[i] = high ^ middle ^ step() ^ (table[i] as bigint);
    }
  }

  /** An unsigned 64-bit number. */
  uint64(): bigint {
    this.#tap = (this.#tap + LENGTH - 1) % LENGTH;
    this.#feed = (this.#feed + LENGTH - 1) % LENGTH;
    // The typed array keeps the low 64 bits of the sum.
    this.#words[this.#feed] =
      (this.#words[this.#feed] as bigint) + (this.#words[this.#tap] as bigint);
    return this.#words[this.#feed] as bigint;
  }
}
