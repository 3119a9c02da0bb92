/**
 * Shuffle sharding (Thanos, pkg/receive/hashring.go): a tenant gets a few of the ring's endpoints, drawn zone by zone with
 * Go's math/rand seeded by the tenant's name, and a ketama ring of its own over them.
 */

import { createHash } from "node:crypto";
import type { Endpoint } from "./config.ts";
import { GoRandom } from "./go-random.ts";
import { KetamaRing, sortedSections } from "./ketama.ts";
import { HashringBuildError } from "./placement.ts";

type Zone = {
  name: string;
  endpoints: readonly Endpoint[];
  hashes: BigUint64Array;
  endpoint: Uint32Array;
};

export class ShuffleSharder {
  readonly #zones: Zone[];
  readonly #copies: number;

  constructor(endpoints: readonly Endpoint[], copies: number, zoneAware: boolean) {
    this.#copies = copies;
    this.#zones = [...groupByZone(endpoints, zoneAware)].map(([name, members]) => ({
      name,
      endpoints: members,
      ...sortedSections(members),
    }));
  }

  /** @throws {HashringBuildError} when the shard is larger than a zone or smaller than the replication factor. */
  ring(tenant: string, shardSize: number): KetamaRing {
    const perZone = Math.ceil(shardSize / this.#zones.length);
    const chosen = this.#zones.flatMap((zone) => drawEndpoints(zone, tenant, perZone));
    return new KetamaRing(chosen, this.#copies);
  }
}

function groupByZone(
  endpoints: readonly Endpoint[],
  zoneAware: boolean,
): Map<string, readonly Endpoint[]> {
  const zones = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) {
    const name = zoneAware ? endpoint.az : "";
    const members = zones.get(name);
    if (members === undefined) zones.set(name, [endpoint]);
    else members.push(endpoint);
  }
  return zones;
}

/** The first 8 bytes of MD5 over the tenant, and 0 and the zone's name unless that is empty. */
export function shuffleSeed(tenant: string, zone: string): bigint {
  const md5 = createHash("md5").update(tenant);
  if (zone !== "") md5.update("\0").update(zone);
  return md5.digest().readBigInt64BE(0);
}

function drawEndpoints(zone: Zone, tenant: string, count: number): Endpoint[] {
  if (count > zone.endpoints.length) {
    throw new HashringBuildError(
      `shard size ${count} is larger than number of nodes in AZ ${zone.name} (${zone.endpoints.length})`,
    );
  }
  const random = new GoRandom(shuffleSeed(tenant, zone.name));
  const taken = new Set<number>();
  while (taken.size < count) {
    let at = firstAtOrAfter(zone.hashes, random.uint64());
    while (taken.has(zone.endpoint[at] as number)) at = (at + 1) % zone.hashes.length;
    taken.add(zone.endpoint[at] as number);
  }
  return [...taken].map((index) => zone.endpoints[index] as Endpoint);
}

function firstAtOrAfter(hashes: BigUint64Array, hash: bigint): number {
  let from = 0;
  let to = hashes.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((hashes[middle] as bigint) < hash) from = middle + 1;
    else to = middle;
  }
  return from === hashes.length ? 0 : from;
}
