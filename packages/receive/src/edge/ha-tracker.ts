/**
 * Which replica of a pair of Prometheus servers is listened to, by tenant and cluster: the first that is heard, until
 * it has not been heard of for the failover time. Mimir's and Cortex' HA tracker does the same with a key-value store.
 */

export type Elected = {
  replica: string;
  /** Milliseconds, when it was last heard of. */
  heardAt: number;
};

/** More clusters than a tracker remembers. */
export class TooManyClustersError extends Error {
  readonly limit: number;
  constructor(limit: number) {
    super(`too many HA clusters: the limit is ${limit}`);
    this.name = "TooManyClustersError";
    this.limit = limit;
  }
}

export class HaTracker {
  readonly #failoverMs: number;
  readonly #maxClusters: number;
  readonly #onChange: (tenant: string, cluster: string) => void;
  readonly #elected = new Map<string, Elected>();

  constructor(
    failoverMs: number,
    maxClusters: number,
    onChange: (tenant: string, cluster: string) => void,
  ) {
    this.#failoverMs = failoverMs;
    this.#maxClusters = maxClusters;
    this.#onChange = onChange;
  }

  /**
   * The replica to listen to, now that `replica` was heard.
   *
   * @param hint What the asker knew from an earlier tracker; taken where nothing is known here.
   * @throws {TooManyClustersError}
   */
  hear(
    tenant: string,
    cluster: string,
    replica: string,
    now: number,
    hint: Elected | null,
  ): Elected {
    const key = keyOf(tenant, cluster);
    let elected = this.#elected.get(key);
    if (elected === undefined) {
      if (this.#elected.size >= this.#maxClusters) this.#makeRoom(now);
      elected = { replica, heardAt: now };
      if (hint !== null && this.#isHeard(hint, now)) {
        elected = { replica: hint.replica, heardAt: Math.min(hint.heardAt, now) };
      }
      this.#elected.set(key, elected);
    }
    if (elected.replica === replica) elected.heardAt = Math.max(elected.heardAt, now);
    else if (!this.#isHeard(elected, now)) {
      elected.replica = replica;
      elected.heardAt = now;
      this.#onChange(tenant, cluster);
    }
    return elected;
  }

  get size(): number {
    return this.#elected.size;
  }

  #isHeard(elected: Elected, now: number): boolean {
    return now - elected.heardAt < this.#failoverMs;
  }

  /** Drops those that nobody has spoken of for the failover time: the next to speak is elected anyway. */
  #makeRoom(now: number): void {
    for (const [key, elected] of this.#elected) {
      if (!this.#isHeard(elected, now)) this.#elected.delete(key);
    }
    if (this.#elected.size >= this.#maxClusters) throw new TooManyClustersError(this.#maxClusters);
  }
}

/** Tenants are path elements, and have no zero byte. */
export function keyOf(tenant: string, cluster: string): string {
  return `${tenant}\0${cluster}`;
}
