/**
 * The bytes that queries may hold at a time: what came from endpoints, what was decoded, what is a result. One query
 * has its own limit, and all together have one: each thread writes what its query holds into its slot of memory that
 * all threads share, in MiB, and reads the other slots when its own grows.
 */

import { QueryExecutionError } from "@torus/promql";

/** The query needs more memory than it may have. */
export class QueryBytesError extends QueryExecutionError {
  readonly bytes: number;
  readonly limit: number;
  constructor(bytes: number, limit: number, whose: "a query" | "all queries together") {
    const [holds, flag] =
      whose === "a query"
        ? [`would hold ${bytes} bytes in memory`, "--query.max-bytes"]
        : [`would bring queries to ${bytes} bytes in memory`, "--query.max-total-bytes"];
    super(`query processing ${holds}, more than the ${limit} that ${whose} may hold (${flag})`);
    this.name = "QueryBytesError";
    this.bytes = bytes;
    this.limit = limit;
  }
}

const MIB = 1024 * 1024;

/** What the queries of all threads hold. */
export class SharedBytes {
  /** MiB by slot; to be handed to other threads. */
  readonly slots: Int32Array<SharedArrayBuffer>;
  readonly limit: number;

  /** @param limit Bytes, 0 for none. */
  constructor(limit: number, slots: number | Int32Array<SharedArrayBuffer>) {
    this.limit = limit;
    this.slots =
      typeof slots === "number"
        ? new Int32Array(new SharedArrayBuffer(slots * Int32Array.BYTES_PER_ELEMENT))
        : slots;
  }

  get heldBytes(): number {
    let mib = 0;
    for (let i = 0; i < this.slots.length; i++) mib += Atomics.load(this.slots, i);
    return mib * MIB;
  }

  /** @throws {QueryBytesError} when more is asked for and all slots together are over the limit */
  set(slot: number, bytes: number, isMore: boolean): void {
    const mib = Math.ceil(bytes / MIB);
    const before = Atomics.load(this.slots, slot);
    if (mib === before) return;
    Atomics.store(this.slots, slot, mib);
    if (!isMore || this.limit === 0) return;
    const held = this.heldBytes;
    if (held <= this.limit) return;
    Atomics.store(this.slots, slot, before);
    throw new QueryBytesError(held, this.limit, "all queries together");
  }
}

export class ByteBudget {
  readonly #limit: number;
  readonly #shared: SharedBytes;
  readonly #slot: number;
  #storage = 0;
  #evaluation = 0;
  /** The most that was held at a time. */
  peak = 0;

  /** @param limit 0 for none. */
  constructor(limit: number, shared: SharedBytes, slot: number) {
    this.#limit = limit;
    this.#shared = shared;
    this.#slot = slot;
  }

  /** Of series on their way to the evaluation: more, or less when negative. @throws {QueryBytesError} */
  readonly storage = (bytes: number): void => {
    this.#storage += bytes;
    this.#changed(bytes > 0);
  };

  /** All that the evaluation holds. @throws {QueryBytesError} */
  readonly evaluation = (heldBytes: number): void => {
    const isMore = heldBytes > this.#evaluation;
    this.#evaluation = heldBytes;
    this.#changed(isMore);
  };

  /** The query ended, its answer is written. */
  release(): void {
    this.#shared.set(this.#slot, 0, false);
  }

  #changed(isMore: boolean): void {
    const held = this.#storage + this.#evaluation;
    if (held > this.peak) this.peak = held;
    if (isMore && this.#limit > 0 && held > this.#limit)
      throw new QueryBytesError(held, this.#limit, "a query");
    this.#shared.set(this.#slot, held, isMore);
  }
}
