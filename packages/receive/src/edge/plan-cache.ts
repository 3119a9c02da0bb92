/**
 * What the edge decided for a series, by the bytes of its labels: a scrape brings the same series again and again. Two
 * generations, so that what is asked for stays; bounded in bytes.
 */

/** Bytes of one entry besides its text, roughly. */
const ENTRY_BYTES = 200;

export class PlanCache<T> {
  readonly #maxBytes: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();
  #youngBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string): T | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old, 0);
    return old;
  }

  /** @param bytes That the value holds. */
  set(key: string, value: T, bytes: number): void {
    const size = ENTRY_BYTES + key.length + bytes;
    if (this.#youngBytes + size > this.#maxBytes / 2) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(key, value);
    this.#youngBytes += size;
  }

  clear(): void {
    this.#young = new Map();
    this.#old = new Map();
    this.#youngBytes = 0;
  }
}
