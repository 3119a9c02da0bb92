/**
 * Whom to listen to of an HA pair, agreed on by all receivers of a ring without a store of its own: each (tenant,
 * cluster) has one owner among them, by a consistent hash over their addresses, and the owner's tracker decides. Its
 * answer holds for a while, so that not every request asks; that while is far below the failover time, so the owner
 * elects another replica only when no node still listens to the old one.
 *
 * When the owner does not answer, the node goes on by what it heard last, and elects for itself where it heard
 * nothing; this is logged and counted. An owner that knows nothing (it restarted, the ring changed) takes over what
 * the asker knows.
 */

import { errorText, type GrpcClient, type GrpcMethods, type Logger } from "@torus/server";
import HashRing from "hashring";
import type { ReceiveMetrics } from "../metrics.ts";
import { type Elected, HaTracker, keyOf, TooManyClustersError } from "./ha-tracker.ts";
import {
  decodeElect,
  decodeElected,
  encodeElect,
  encodeElected,
  HA_ELECT,
  type HaPair,
} from "./ha-wire.ts";

/** Whether the samples of this replica of the cluster are taken. */
export type HaChoice = (cluster: string, replica: string) => boolean;

export type HaElectorOptions = {
  failoverMs: number;
  /** Clusters that this node remembers, as an owner and as an asker. */
  maxClusters: number;
  /** The address under which the ring knows this process; "" for none. */
  localEndpoint: string;
  connect: (address: string) => GrpcClient;
  metrics: ReceiveMetrics;
  log: Logger;
  now: () => number;
};

/** An answer holds for a sixth of the failover time: 5 s of 30 s. */
const LEASES_PER_FAILOVER = 6;
const CALL_TIMEOUT_MS = 2000;
/** An owner that did not answer is not asked again for so long. */
const OWNER_BACKOFF_MS = 1000;

type Lease = Elected & {
  /** Milliseconds, until when nobody needs to be asked about the elected replica, nor about others. */
  until: number;
};

export class HaElector {
  readonly #options: HaElectorOptions;
  readonly #tracker: HaTracker;
  readonly #leases = new Map<string, Lease>();
  readonly #clients = new Map<string, GrpcClient>();
  readonly #silentUntil = new Map<string, number>();
  #owners: HashRing | null = null;

  constructor(options: HaElectorOptions) {
    this.#options = options;
    const { failoverMs, maxClusters, metrics } = options;
    this.#tracker = new HaTracker(failoverMs, maxClusters, (tenant, cluster) =>
      metrics.haElections.inc({ tenant, cluster }),
    );
  }

  /** The receivers among whom the clusters are divided; without any, this node decides by itself. */
  setRing(addresses: readonly string[]): void {
    this.#owners = addresses.length === 0 ? null : new HashRing([...new Set(addresses)].sort());
    const kept = new Set(addresses);
    for (const [address, client] of this.#clients) {
      if (kept.has(address)) continue;
      this.#clients.delete(address);
      client.close();
    }
    this.#silentUntil.clear();
    // The next request asks the new owners, and tells them what was.
    for (const lease of this.#leases.values()) lease.until = 0;
  }

  /** @throws {TooManyClustersError} */
  async choose(
    tenant: string,
    pairs: readonly (readonly [cluster: string, replica: string])[],
  ): Promise<HaChoice> {
    const { now } = this.#options;
    const asked = new Map<string, HaPair[]>();
    for (const [cluster, replica] of pairs) {
      const lease = this.#leases.get(keyOf(tenant, cluster));
      if (lease !== undefined && now() < lease.until) continue;
      const owner = this.#owners?.get(keyOf(tenant, cluster)) ?? "";
      const list = asked.get(owner) ?? [];
      const hint =
        lease === undefined
          ? null
          : { replica: lease.replica, agoMs: Math.max(0, now() - lease.heardAt) };
      list.push({ cluster, replica, hint });
      asked.set(owner, list);
    }
    if (asked.size > 0) {
      await Promise.all([...asked].map(([owner, list]) => this.#ask(owner, tenant, list)));
    }
    return (cluster, replica) => {
      const lease = this.#leases.get(keyOf(tenant, cluster));
      return lease === undefined || lease.replica === replica;
    };
  }

  /** The owner's side. */
  get grpcMethods(): GrpcMethods {
    return {
      [HA_ELECT]: {
        kind: "unary",
        handler: (message) => {
          const { tenant, pairs } = decodeElect(message);
          const { now } = this.#options;
          const elected = pairs.map((pair) => {
            const { replica, heardAt } = this.#decide(tenant, pair);
            return { replica, agoMs: Math.max(0, now() - heardAt) };
          });
          return Promise.resolve(encodeElected(elected));
        },
      },
    };
  }

  close(): void {
    this.setRing([]);
  }

  async #ask(owner: string, tenant: string, pairs: readonly HaPair[]): Promise<void> {
    const { localEndpoint, metrics, log, now } = this.#options;
    const isOwn = owner === "" || owner === localEndpoint;
    if (!isOwn && (this.#silentUntil.get(owner) ?? 0) <= now()) {
      try {
        const answer = await this.#client(owner).unary(HA_ELECT, encodeElect(tenant, pairs), {
          timeoutMs: CALL_TIMEOUT_MS,
        });
        const elected = decodeElected(answer, pairs.length);
        for (const [i, { replica, agoMs }] of elected.entries()) {
          this.#hold(tenant, (pairs[i] as HaPair).cluster, {
            replica,
            heardAt: now() - agoMs,
          });
        }
        return;
      } catch (error) {
        this.#silentUntil.set(owner, now() + OWNER_BACKOFF_MS);
        log.warn("the owner of an HA cluster does not answer, deciding here", {
          owner,
          tenant,
          err: errorText(error),
        });
      }
    }
    if (!isOwn) metrics.haOwnerAway.inc(pairs.length);
    for (const pair of pairs) this.#hold(tenant, pair.cluster, this.#decide(tenant, pair));
  }

  /** @throws {TooManyClustersError} */
  #decide(tenant: string, { cluster, replica, hint }: HaPair): Elected {
    const now = this.#options.now();
    const known = hint === null ? null : { replica: hint.replica, heardAt: now - hint.agoMs };
    return this.#tracker.hear(tenant, cluster, replica, now, known);
  }

  #hold(tenant: string, cluster: string, { replica, heardAt }: Elected): void {
    const { failoverMs, maxClusters, now } = this.#options;
    const key = keyOf(tenant, cluster);
    if (!this.#leases.has(key) && this.#leases.size >= maxClusters) this.#dropLeases();
    // No longer than the elected one may be silent.
    const until = Math.min(now() + failoverMs / LEASES_PER_FAILOVER, heardAt + failoverMs);
    this.#leases.set(key, { replica, heardAt, until });
  }

  #dropLeases(): void {
    const { failoverMs, maxClusters, now } = this.#options;
    for (const [key, { heardAt }] of this.#leases) {
      if (now() - heardAt >= failoverMs) this.#leases.delete(key);
    }
    if (this.#leases.size >= maxClusters) throw new TooManyClustersError(maxClusters);
  }

  #client(address: string): GrpcClient {
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = this.#options.connect(address);
      this.#clients.set(address, client);
    }
    return client;
  }
}
