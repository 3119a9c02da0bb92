/**
 * All hashrings of a configuration: which of them a tenant belongs to, and where its series go. A tenant's placement
 * is found once and kept; a new configuration is a new Hashring.
 */

import {
  type Algorithm,
  type Endpoint,
  type HashringConfig,
  HashringConfigError,
  type TenantMatcher,
} from "./config.ts";
import { GlobSyntaxError, matchGlob } from "./glob.ts";
import { HashmodRing } from "./hashmod.ts";
import { KetamaRing } from "./ketama.ts";
import { HashringBuildError, type Placement } from "./placement.ts";
import { ShuffleSharder } from "./shuffle-shard.ts";

export type HashringOptions = {
  /** For hashrings that name none. */
  algorithm: Algorithm;
  replicationFactor: number;
};

export class NoMatchingHashringError extends Error {
  readonly tenant: string;
  constructor(tenant: string) {
    super("no matching hashring to handle tenant");
    this.name = "NoMatchingHashringError";
    this.tenant = tenant;
  }
}

export class TenantPatternError extends Error {
  constructor(pattern: string, tenant: string, cause: Error) {
    super(`error matching tenant pattern ${pattern} (tenant ${tenant}): ${cause.message}`, {
      cause,
    });
    this.name = "TenantPatternError";
  }
}

type Ring = {
  config: HashringConfig;
  algorithm: Algorithm;
  placement: Placement;
  sharder: ShuffleSharder | null;
};

/** What is kept of the shuffle shards of a ring. */
export type ShardCache = {
  hashring: string;
  requests: number;
  hits: number;
  evicted: number;
  items: number;
  maxItems: number;
};

type Shards = { byTenant: Map<string, Placement>; requests: number; hits: number; evicted: number };

/** Tenants come from the wire: what is kept of them is bounded. */
const MOST_CACHED_TENANTS = 100_000;

export class Hashring {
  readonly configs: readonly HashringConfig[];
  readonly replicationFactor: number;
  readonly #rings: Ring[];
  readonly #byTenant = new Map<string, Ring>();
  readonly #shards = new Map<Ring, Shards>();

  /** @throws {HashringBuildError} */
  constructor(configs: readonly HashringConfig[], options: HashringOptions) {
    const { algorithm, replicationFactor } = options;
    this.configs = configs;
    this.replicationFactor = replicationFactor;
    this.#rings = configs.map((config) =>
      build(config, config.algorithm || algorithm, replicationFactor),
    );
    for (const ring of this.#rings) {
      if (ring.sharder === null) continue;
      this.#shards.set(ring, { byTenant: new Map(), requests: 0, hits: 0, evicted: 0 });
    }
  }

  /** Every endpoint of every ring, by address, each address once. */
  get endpoints(): Endpoint[] {
    const byAddress = new Map<string, Endpoint>();
    for (const { config } of this.#rings) {
      for (const endpoint of config.endpoints) byAddress.set(endpoint.address, endpoint);
    }
    return [...byAddress.values()];
  }

  /**
   * Refuses what Thanos notices only when it writes, or never: an unknown algorithm, rings with fewer nodes than
   * copies, patterns with a syntax error. For use before a running receiver takes the configuration.
   *
   * @throws {HashringBuildError | HashringConfigError}
   */
  validate(): void {
    for (const { config, algorithm, placement } of this.#rings) {
      if (algorithm !== "ketama" && algorithm !== "hashmod") {
        throw new HashringConfigError(
          `unknown hashring algorithm "${algorithm}", want hashmod or ketama`,
        );
      }
      const missing = placement.missingCopy(this.replicationFactor - 1);
      if (missing !== undefined) {
        throw new HashringBuildError(`hashring "${config.hashring}": ${missing.message}`);
      }
      for (const matcher of [config, ...config.shuffleSharding.overrides]) {
        if (matcher.type !== "glob") continue;
        for (const pattern of matcher.tenants) {
          try {
            matchGlob(pattern, "");
          } catch (error) {
            if (!(error instanceof GlobSyntaxError)) throw error;
            throw new HashringConfigError(`tenant pattern ${pattern}: ${error.message}`);
          }
        }
      }
    }
  }

  /**
   * Where the tenant's series go.
   *
   * @throws {NoMatchingHashringError}
   * @throws {TenantPatternError}
   * @throws {HashringBuildError} when the tenant's shuffle shard cannot be built.
   */
  placement(tenant: string): Placement {
    const ring = this.#ringOf(tenant);
    const shards = this.#shards.get(ring);
    if (ring.sharder === null || shards === undefined) return ring.placement;
    const { shuffleSharding } = ring.config;
    const { byTenant } = shards;
    shards.requests++;
    let shard = byTenant.get(tenant);
    if (shard === undefined) {
      const override = shuffleSharding.overrides.find((each) => {
        // An override without a matcher type never matches, in Thanos as here; a hashring without one is exact.
        return each.type !== "" && matchesTenant(each, tenant);
      });
      shard = ring.sharder.ring(tenant, override?.shardSize ?? shuffleSharding.shardSize);
    } else {
      shards.hits++;
      byTenant.delete(tenant);
    }
    // Set anew on each use, so that the first of the map is the one used longest ago.
    byTenant.set(tenant, shard);
    if (byTenant.size > shuffleSharding.cacheSize) {
      const [oldest] = byTenant.keys();
      byTenant.delete(oldest as string);
      shards.evicted++;
    }
    return shard;
  }

  /** Of every ring that has shuffle shards. */
  shardCaches(): ShardCache[] {
    return [...this.#shards].map(([{ config }, { byTenant, requests, hits, evicted }]) => ({
      hashring: config.hashring,
      requests,
      hits,
      evicted,
      items: byTenant.size,
      maxItems: config.shuffleSharding.cacheSize,
    }));
  }

  /** External labels that the first hashring naming the tenant exactly adds to its TSDB. */
  externalLabels(tenant: string): Readonly<Record<string, string>> {
    const found = this.configs.find(
      (config) =>
        config.tenants.includes(tenant) && (config.type === "" || config.type === "exact"),
    );
    return found?.externalLabels ?? {};
  }

  #ringOf(tenant: string): Ring {
    let ring = this.#byTenant.get(tenant);
    if (ring !== undefined) return ring;
    ring = this.#rings.find(
      ({ config }) => config.tenants.length === 0 || matchesTenant(config, tenant),
    );
    if (ring === undefined) throw new NoMatchingHashringError(tenant);
    if (this.#byTenant.size < MOST_CACHED_TENANTS) this.#byTenant.set(tenant, ring);
    return ring;
  }
}

function build(config: HashringConfig, algorithm: Algorithm, copies: number): Ring {
  const { endpoints, shuffleSharding } = config;
  const sharded = shuffleSharding.shardSize > 0;
  if (algorithm !== "ketama") {
    if (sharded) {
      throw new HashringBuildError(
        "hashmod algorithm does not support shuffle sharding. Either use Ketama or remove shuffle sharding configuration",
      );
    }
    return { config, algorithm, placement: new HashmodRing(endpoints, copies), sharder: null };
  }
  const placement = new KetamaRing(endpoints, copies);
  if (!sharded) return { config, algorithm, placement, sharder: null };
  if (shuffleSharding.shardSize > endpoints.length) {
    throw new HashringBuildError(
      `shard size ${shuffleSharding.shardSize} is larger than number of nodes in hashring ${config.hashring} (${endpoints.length})`,
    );
  }
  const zoneAware = !shuffleSharding.zoneAwarenessDisabled;
  return {
    config,
    algorithm,
    placement,
    sharder: new ShuffleSharder(endpoints, copies, zoneAware),
  };
}

/** Types that are neither exact nor glob match nothing. */
function matchesTenant(matcher: TenantMatcher, tenant: string): boolean {
  if (matcher.type === "" || matcher.type === "exact") return matcher.tenants.includes(tenant);
  if (matcher.type !== "glob") return false;
  return matcher.tenants.some((pattern) => {
    try {
      return matchGlob(pattern, tenant);
    } catch (error) {
      if (!(error instanceof GlobSyntaxError)) throw error;
      throw new TenantPatternError(pattern, tenant, error);
    }
  });
}
