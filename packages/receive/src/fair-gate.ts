/**
 * Lets so many requests in at a time; the others wait, and tenants take turns, so that the queue of one tenant is
 * not the waiting time of another. What waits is bounded; where there is no more room, who has the longest queue gives
 * up the last place of it to a tenant with a shorter one.
 */

export class GateFullError extends Error {
  constructor(waiting: number) {
    super(`${waiting} requests are waiting already`);
    this.name = "GateFullError";
  }
}

type Waiting = { enter: () => void; refuse: (error: GateFullError) => void };

export class FairGate {
  readonly #limit: () => number;
  readonly #mostWaiting: number;
  /** Tenants with waiting requests, in the order of their turns. */
  readonly #queues = new Map<string, Waiting[]>();
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
    if (this.#waiting >= this.#mostWaiting) this.#makeRoom(tenant);
    this.#waiting++;
    await new Promise<void>((enter, refuse) => {
      const queue = this.#queues.get(tenant);
      if (queue === undefined) this.#queues.set(tenant, [{ enter, refuse }]);
      else queue.push({ enter, refuse });
    });
  }

  leave(): void {
    this.#inside--;
    const limit = this.#limit();
    while (this.#waiting > 0 && (limit === 0 || this.#inside < limit)) {
      const [next] = this.#queues;
      if (next === undefined) return;
      const [tenant, queue] = next;
      const first = queue.shift();
      // To the end of the turns, or out of them.
      this.#queues.delete(tenant);
      if (queue.length > 0) this.#queues.set(tenant, queue);
      this.#waiting--;
      this.#inside++;
      first?.enter();
    }
  }

  /** @throws {GateFullError} when the tenant has the longest queue itself. */
  #makeRoom(tenant: string): void {
    let longest: Waiting[] = [];
    for (const queue of this.#queues.values()) if (queue.length > longest.length) longest = queue;
    const own = this.#queues.get(tenant)?.length ?? 0;
    const full = new GateFullError(this.#waiting);
    if (own + 1 >= longest.length) throw full;
    longest.pop()?.refuse(full);
    this.#waiting--;
  }
}
