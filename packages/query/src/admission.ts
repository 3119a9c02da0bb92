/** Lets so many queries run at a time; the next ones wait in a queue with a bound. */

import { ApiError } from "./api-error.ts";

/** Queries that wait, for each that may run. */
const WAITING_PER_RUNNING = 25;

export class Admission {
  readonly #limit: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** @throws {ApiError} when the queue is full, or when `signal` is aborted before it is the query's turn. */
  async run<T>(signal: AbortSignal, query: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limit) await this.#turn(signal);
    else this.#running++;
    try {
      return await query();
    } finally {
      // A place is handed over, not given up: a query that comes before the next one wakes would take it too.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    if (signal.aborted) throw new ApiError("canceled", "query was canceled in the queue");
    if (this.#waiting.length >= this.#limit * WAITING_PER_RUNNING) {
      throw new ApiError(
        "unavailable",
        `too many queries: ${this.#running} run and ${this.#waiting.length} wait (--query.max-concurrent)`,
      );
    }
    await new Promise<void>((resolve, reject) => {
      const next = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(next), 1);
        reject(new ApiError("canceled", "query was canceled in the queue"));
      };
      signal.addEventListener("abort", leave, { once: true });
      this.#waiting.push(next);
    });
  }
}
