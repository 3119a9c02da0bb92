/**
 * Which replica of a pair of Prometheus servers is listened to, by tenant and cluster: the first that is heard, until
 * it has not been heard of for the failover time. Mimir's and Cortex' HA tracker does the same with a key-value store.
 */

export type Elected = {
  replica: string;
  /** How many elections led here. Of two that trackers made without each other, the later one holds. */
  term: number;
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
   * @throws {TooManyClustersError}
   */
  hear(tenant: string, cluster: string, replica: string, now: number): Elected {
    const key = keyOf(tenant, cluster);
    const elected = this.#elected.get(key);
    if (elected === undefined) return this.#add(key, { replica, term: 1, heardAt: now }, now);
    if (elected.replica === replica) elected.heardAt = Math.max(elected.heardAt, now);
    else if (!this.#isHeard(elected, now)) {
      elected.replica = replica;
      elected.term++;
      elected.heardAt = now;
      this.#onChange(tenant, cluster);
    }
    return elected;
  }

  /**
   * Takes over what somebody else knows, where it is better founded: one that is heard before one that is silent, then
   * the later election, then what was heard last, then the lesser name, so that all who compare the same two agree.
   *
   * @throws {TooManyClustersError}
   */
  learn(tenant: string, cluster: string, known: Elected, now: number): void {
    const key = keyOf(tenant, cluster);
    const elected = this.#elected.get(key);
    const heardAt = Math.min(known.heardAt, now);
    if (elected === undefined) {
      this.#add(key, { ...known, heardAt }, now);
    } else if (elected.replica === known.replica) {
      elected.term = Math.max(elected.term, known.term);
      elected.heardAt = Math.max(elected.heardAt, heardAt);
    } else if (this.#prevails(known, elected, now)) {
      elected.replica = known.replica;
      elected.heardAt = heardAt;
      // An earlier election that outlived a later one is a new one to those who knew the later.
      elected.term = known.term < elected.term ? elected.term + 1 : known.term;
    }
  }

  peek(tenant: string, cluster: string): Elected | undefined {
    return this.#elected.get(keyOf(tenant, cluster));
  }

  /** Whether the next to be heard changes nothing. */
  isSettled(tenant: string, cluster: string, now: number): boolean {
    const elected = this.peek(tenant, cluster);
    return elected !== undefined && this.#isHeard(elected, now);
  }

  get size(): number {
    return this.#elected.size;
  }

  #add(key: string, elected: Elected, now: number): Elected {
    if (this.#elected.size >= this.#maxClusters) this.#makeRoom(now);
    this.#elected.set(key, elected);
    return elected;
  }

  #prevails(known: Elected, elected: Elected, now: number): boolean {
    const isHeard = this.#isHeard(known, now);
    if (isHeard !== this.#isHeard(elected, now)) return isHeard;
    if (known.term !== elected.term) return known.term > elected.term;
    if (known.heardAt !== elected.heardAt) return known.heardAt > elected.heardAt;
    return known.replica < elected.replica;
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
