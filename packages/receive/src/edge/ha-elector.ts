/**
 * Whom to listen to of an HA pair, agreed on by all receivers of a ring without a store of its own: for each (tenant,
 * cluster) a consistent hash over their addresses puts them in an order, and the first that answers decides. Its
 * answer holds for a while, so that not every request asks; that while is far below the failover time, so another
 * replica is elected only when no node still listens to the old one.
 *
 * Who is asked although others come before it asks those first, so that two nodes that do not see the same peers come
 * to the same one. Who is to elect, because it knows of nobody or of one that fell silent, first asks all others what
 * they know: a receiver that restarted, was stopped or cut off takes over what its successor decided. Where two parts
 * of a ring elected without each other, the later election holds when they meet.
 *
 * A receiver that reaches none of those before it decides by itself: samples that are taken twice can be told apart
 * later, those that nobody takes are gone. It is counted.
 */

import {
  type GrpcClient,
  GrpcError,
  type GrpcMethods,
  GrpcStatus,
  type Logger,
} from "@torus/server";
import HashRing from "hashring";
import type { ReceiveMetrics } from "../metrics.ts";
import { HaPeers } from "./ha-peers.ts";
import { type Elected, HaTracker, keyOf, TooManyClustersError } from "./ha-tracker.ts";
import {
  decodeElect,
  decodeElected,
  decodeKnown,
  decodeRecall,
  encodeElect,
  encodeElected,
  encodeKnown,
  encodeRecall,
  HA_ELECT,
  HA_RECALL,
  type HaPair,
  type HeardAgo,
  MOST_PAIRS,
} from "./ha-wire.ts";

/** Whether the samples of this replica of the cluster are taken. */
export type HaChoice = (cluster: string, replica: string) => boolean;

export type HaElectorOptions = {
  failoverMs: number;
  /** Clusters that this node remembers, as one who decides and as an asker. */
  maxClusters: number;
  /** The address under which the ring knows this process; "" for none. */
  localEndpoint: string;
  connect: (address: string) => GrpcClient;
  metrics: ReceiveMetrics;
  log: Logger;
  now: () => number;
};

/** An answer holds for a sixth of the failover time: 5 s of 30 s. In its second half a new one is asked for. */
const LEASES_PER_FAILOVER = 6;
/** For an answer to a request, with all that is asked for it. */
const BUDGET_MS = 4000;
/** With less, nobody else is asked. */
const LEAST_BUDGET_MS = 100;

type Lease = Elected & {
  /** Milliseconds, until when nobody needs to be asked about the elected replica, nor about others. */
  until: number;
  isRenewing: boolean;
};

export class HaElector {
  readonly #options: HaElectorOptions;
  readonly #tracker: HaTracker;
  readonly #leases = new Map<string, Lease>();
  readonly #peers: HaPeers;
  #others: readonly string[] = [];
  #ring: HashRing | null = null;

  constructor(options: HaElectorOptions) {
    this.#options = options;
    const { failoverMs, maxClusters, metrics } = options;
    this.#peers = new HaPeers(options);
    this.#tracker = new HaTracker(failoverMs, maxClusters, (tenant, cluster) =>
      metrics.haElections.inc({ tenant, cluster }),
    );
  }

  /** The receivers among whom the clusters are divided; without any, this node decides by itself. */
  setRing(addresses: readonly string[]): void {
    const distinct = [...new Set(addresses)].sort();
    this.#ring = distinct.length === 0 ? null : new HashRing(distinct);
    this.#others = distinct.filter((address) => address !== this.#options.localEndpoint);
    this.#peers.keep(new Set(distinct));
    // The next request asks those who decide now, and tells them what was.
    for (const lease of this.#leases.values()) lease.until = 0;
  }

  /** @throws {TooManyClustersError} also for one request with more pairs than a message takes. */
  async choose(
    tenant: string,
    pairs: readonly (readonly [cluster: string, replica: string])[],
  ): Promise<HaChoice> {
    const { failoverMs, now } = this.#options;
    const asked: HaPair[] = [];
    const renewed: HaPair[] = [];
    for (const [cluster, replica] of pairs) {
      const lease = this.#leases.get(keyOf(tenant, cluster));
      const rest = lease === undefined ? 0 : lease.until - now();
      // Whoever asks next tells it, also when that is about the other replica.
      if (lease?.replica === replica && rest > 0) lease.heardAt = now();
      const isEnding = rest < failoverMs / LEASES_PER_FAILOVER / 2;
      if (rest > 0 && (!isEnding || lease?.isRenewing === true)) continue;
      if (rest > 0 && lease !== undefined) lease.isRenewing = true;
      const pair = { cluster, replica, hint: this.#known(tenant, cluster) };
      (rest > 0 ? renewed : asked).push(pair);
    }
    if (asked.length > MOST_PAIRS) throw new TooManyClustersError(MOST_PAIRS);
    if (renewed.length > 0) void this.#renew(tenant, renewed);
    if (asked.length > 0) this.#hold(tenant, asked, await this.#elect(tenant, asked, BUDGET_MS));
    return (cluster, replica) => {
      const lease = this.#leases.get(keyOf(tenant, cluster));
      return lease === undefined || lease.replica === replica;
    };
  }

  /** The side of the one who is asked. */
  get grpcMethods(): GrpcMethods {
    return {
      [HA_ELECT]: {
        kind: "unary",
        handler: async (message) => {
          const { tenant, pairs, budgetMs } = decodeElect(message);
          try {
            const elected = await this.#elect(tenant, pairs, Math.min(budgetMs, BUDGET_MS));
            return encodeElected(elected);
          } catch (error) {
            if (!(error instanceof TooManyClustersError)) throw error;
            throw new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, error.message);
          }
        },
      },
      [HA_RECALL]: {
        kind: "unary",
        handler: async (message) => {
          const { tenant, clusters, absent, budgetMs } = decodeRecall(message);
          const reached = this.#others.filter((address) => absent.includes(address));
          if (reached.length > 0) await this.#recall(tenant, clusters, budgetMs / 2, reached);
          return encodeKnown(clusters.map((cluster) => this.#known(tenant, cluster)));
        },
      },
    };
  }

  close(): void {
    this.setRing([]);
  }

  /** In the background: requests go on with the lease until it ends. */
  async #renew(tenant: string, pairs: readonly HaPair[]): Promise<void> {
    try {
      this.#hold(tenant, pairs, await this.#elect(tenant, pairs, BUDGET_MS));
    } catch {
      // The request that finds the lease ended meets the same error, and answers with it.
    } finally {
      for (const { cluster } of pairs) {
        const lease = this.#leases.get(keyOf(tenant, cluster));
        if (lease !== undefined) lease.isRenewing = false;
      }
    }
  }

  /**
   * Asks the first of each cluster's order that answers; this node where it is the first. Each try has half of the
   * time that is left, so that whoever was asked in turn is done before its asker gives up, and a circle of nodes
   * with different rings ends.
   *
   * @throws {TooManyClustersError}
   */
  async #elect(tenant: string, pairs: readonly HaPair[], budgetMs: number): Promise<HeardAgo[]> {
    const answers = new Map<HaPair, HeardAgo>();
    let open = pairs;
    for (let budget = budgetMs / 2; open.length > 0; budget /= 2) {
      const byDecider = new Map<string, HaPair[]>();
      for (const pair of open) {
        const decider = budget < LEAST_BUDGET_MS ? "" : this.#decider(tenant, pair.cluster);
        const list = byDecider.get(decider) ?? [];
        list.push(pair);
        byDecider.set(decider, list);
      }
      await Promise.all(
        [...byDecider].map(async ([decider, list]) => {
          const elected =
            decider === ""
              ? await this.#decide(tenant, list, budget)
              : await this.#ask(decider, tenant, list, budget);
          for (const [i, each] of elected.entries()) answers.set(list[i] as HaPair, each);
        }),
      );
      open = open.filter((pair) => !answers.has(pair));
    }
    return pairs.map((pair) => answers.get(pair) as HeardAgo);
  }

  /** "" for this node. */
  #decider(tenant: string, cluster: string): string {
    const { localEndpoint } = this.#options;
    const present = this.#order(tenant, cluster).find(
      (address) => address === localEndpoint || !this.#peers.isSilent(address),
    );
    return present === localEndpoint ? "" : (present ?? "");
  }

  #order(tenant: string, cluster: string): string[] {
    return this.#ring?.range(keyOf(tenant, cluster), 0, true) ?? [];
  }

  /** Empty when the other one does not answer. @throws {TooManyClustersError} */
  async #ask(
    address: string,
    tenant: string,
    pairs: readonly HaPair[],
    budgetMs: number,
  ): Promise<readonly HeardAgo[]> {
    const elected = await this.#peers.ask(address, budgetMs, {
      method: HA_ELECT,
      message: encodeElect(tenant, pairs, budgetMs),
      decode: (answer) => decodeElected(answer, pairs.length),
    });
    return elected ?? [];
  }

  /** @throws {TooManyClustersError} */
  async #decide(tenant: string, pairs: readonly HaPair[], budgetMs: number): Promise<HeardAgo[]> {
    const { localEndpoint, metrics, now } = this.#options;
    for (const { cluster, hint } of pairs) {
      const [owner = localEndpoint] = this.#order(tenant, cluster);
      if (owner !== localEndpoint) metrics.haOwnerAway.inc();
      this.#learn(tenant, cluster, hint);
      this.#learn(tenant, cluster, this.#held(tenant, cluster));
    }
    const unsettled = pairs
      .map(({ cluster }) => cluster)
      .filter((cluster) => !this.#tracker.isSettled(tenant, cluster, now()));
    if (unsettled.length > 0) await this.#recall(tenant, unsettled, budgetMs, null);
    return pairs.map(({ cluster, replica }) =>
      this.#ago(this.#tracker.hear(tenant, cluster, replica, now())),
    );
  }

  /**
   * Learns what others know: those named, or all, who then also tell what those know that this node does not reach.
   *
   * @throws {TooManyClustersError}
   */
  async #recall(
    tenant: string,
    clusters: readonly string[],
    budgetMs: number,
    named: readonly string[] | null,
  ): Promise<void> {
    if (budgetMs < LEAST_BUDGET_MS) return;
    const present = (named ?? this.#others).filter((address) => !this.#peers.isSilent(address));
    const absent =
      named === null ? this.#others.filter((address) => !present.includes(address)) : [];
    const message = encodeRecall({ tenant, clusters, absent, budgetMs });
    const decode = (answer: Uint8Array) => decodeKnown(answer, clusters.length);
    await Promise.all(
      present.map(async (address) => {
        const call = { method: HA_RECALL, message, decode };
        const known = await this.#peers.ask(address, budgetMs, call);
        for (const [i, each] of (known ?? []).entries()) {
          this.#learn(tenant, clusters[i] as string, each);
        }
      }),
    );
  }

  #learn(tenant: string, cluster: string, known: HeardAgo | null): void {
    if (known === null) return;
    const { replica, term, agoMs } = known;
    const now = this.#options.now();
    this.#tracker.learn(tenant, cluster, { replica, term, heardAt: now - agoMs }, now);
  }

  /** What this node knows of the cluster, as one who decides or as an asker. */
  #known(tenant: string, cluster: string): HeardAgo | null {
    const held = this.#held(tenant, cluster);
    const elected = this.#tracker.peek(tenant, cluster);
    if (elected === undefined) return held;
    this.#learn(tenant, cluster, held);
    return this.#ago(elected);
  }

  #held(tenant: string, cluster: string): HeardAgo | null {
    const lease = this.#leases.get(keyOf(tenant, cluster));
    return lease === undefined ? null : this.#ago(lease);
  }

  #ago({ replica, term, heardAt }: Elected): HeardAgo {
    return { replica, term, agoMs: Math.max(0, this.#options.now() - heardAt) };
  }

  #hold(tenant: string, pairs: readonly HaPair[], elected: readonly HeardAgo[]): void {
    const { failoverMs, maxClusters, now } = this.#options;
    for (const [i, { cluster }] of pairs.entries()) {
      const { replica, term, agoMs } = elected[i] as HeardAgo;
      const key = keyOf(tenant, cluster);
      if (!this.#leases.has(key) && this.#leases.size >= maxClusters) this.#dropLeases();
      const heardAt = now() - agoMs;
      // No longer than the elected one may be silent.
      const until = Math.min(now() + failoverMs / LEASES_PER_FAILOVER, heardAt + failoverMs);
      this.#leases.set(key, { replica, term, heardAt, until, isRenewing: false });
    }
  }

  #dropLeases(): void {
    const { failoverMs, maxClusters, now } = this.#options;
    for (const [key, { heardAt }] of this.#leases) {
      if (now() - heardAt >= failoverMs) this.#leases.delete(key);
    }
    if (this.#leases.size >= maxClusters) throw new TooManyClustersError(maxClusters);
  }
}
