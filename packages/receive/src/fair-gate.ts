/**
 * Lets so many requests in at a time; the others wait, and tenants take turns, so that the queue of one tenant is
 * not the waiting time of another. The queue is bounded.
 */

export class GateFullError extends Error {
  constructor(waiting: number) {
    super(`${waiting} requests are waiting already`);
    this.name = "GateFullError";
  }
}

export class FairGate {
  readonly #limit: () => number;
  readonly #mostWaiting: number;
  /** Tenants with waiting requests, in the order of their turns. */
  readonly #queues = new Map<string, (() => void)[]>();
  #inside = 0;
  #waiting = 0;

  /** @param limit Asked each time; 0 for no limit. */
  constructor(limit: () => number, mostWaiting: number) {
    this.#limit = limit;
    this.#mostWaiting = mostWaiting;
  }

  /** Resolves when the request may go on; `leave` must follow. @throws {GateFullError} */
  async enter(tenant: string): Promise<void> {
    const limit = this.#limit();
    if (limit === 0 || (this.#inside < limit && this.#waiting === 0)) {
      this.#inside++;
      return;
    }
    if (this.#waiting >= this.#mostWaiting) throw new GateFullError(this.#waiting);
    this.#waiting++;
    await new Promise<void>((resolve) => {
      const queue = this.#queues.get(tenant);
      if (queue === undefined) this.#queues.set(tenant, [resolve]);
      else queue.push(resolve);
    });
  }

  leave(): void {
    this.#inside--;
    const limit = this.#limit();
    while (this.#waiting > 0 && (limit === 0 || this.#inside < limit)) {
      const [next] = this.#queues;
      if (next === undefined) return;
      const [tenant, queue] = next;
      const resolve = queue.shift();
      // To the end of the turns, or out of them.
      this.#queues.delete(tenant);
      if (queue.length > 0) this.#queues.set(tenant, queue);
      this.#waiting--;
      this.#inside++;
      resolve?.();
    }
  }
}
