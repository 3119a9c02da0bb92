/**
 * The ketama ring (Thanos, pkg/receive/hashring.go): each endpoint has 1000 sections, section i = 1..1000 at XXH64 of
 * "<address>:<i>"; a hash belongs to the first section at or after it, wrapping; its copies are found by walking on
 * from there, to endpoints not yet taken, whose zone does not hold more copies than the least filled one. The owners
 * of every section are computed once, when the ring is built.
 */

import { xxh64 } from "@torus/encoding";
import type { Endpoint } from "./config.ts";
import { HashringBuildError, InsufficientNodesError, type Placement } from "./placement.ts";

const SECTIONS_PER_ENDPOINT = 1000;
/** Bits of the hash that the index is over: 4096 entries make the search some two steps for rings of some nodes. */
const INDEX_BITS = 12;

export class KetamaRing implements Placement {
  readonly endpoints: readonly Endpoint[];
  readonly copies: number;
  readonly owners: Uint32Array;
  /** Hashes of the sections in ascending order. */
  readonly #low: Uint32Array;
  readonly #high: Uint32Array;
  /** For the upper bits of a hash, the first section whose hash has at least these upper bits. */
  readonly #index: Uint32Array;

  /** @throws {HashringBuildError} when endpoints or zones cannot hold the copies. */
  constructor(endpoints: readonly Endpoint[], copies: number) {
    checkCapacity(endpoints, copies);
    this.endpoints = endpoints;
    this.copies = copies;
    const sections = sortedSections(endpoints);
    const count = sections.hashes.length;
    this.#low = new Uint32Array(count);
    this.#high = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const hash = sections.hashes[i] as bigint;
      this.#low[i] = Number(hash & 0xffff_ffffn);
      this.#high[i] = Number(hash >> 32n);
    }
    const entries = 1 << INDEX_BITS;
    this.#index = new Uint32Array(entries + 1);
    for (let entry = 0, at = 0; entry <= entries; entry++) {
      const first = entry * 2 ** (32 - INDEX_BITS);
      while (at < count && (this.#high[at] as number) < first) at++;
      this.#index[entry] = at;
    }
    this.owners = ownersOf(sections.endpoint, endpoints, copies);
  }

  /** The section's hash, for tests and for those who draw from the ring. */
  sectionHash(section: number): bigint {
    return (BigInt(this.#high[section] as number) << 32n) | BigInt(this.#low[section] as number);
  }

  get sectionCount(): number {
    return this.#low.length;
  }

  section(hashLow: number, hashHigh: number): number {
    const entry = hashHigh >>> (32 - INDEX_BITS);
    let from = this.#index[entry] as number;
    let to = this.#index[entry + 1] as number;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const high = this.#high[middle] as number;
      if (high < hashHigh || (high === hashHigh && (this.#low[middle] as number) < hashLow)) {
        from = middle + 1;
      } else to = middle;
    }
    return from === this.#low.length ? 0 : from;
  }

  missingCopy(n: number): InsufficientNodesError | undefined {
    const count = this.endpoints.length;
    return n < Math.min(count, this.copies) ? undefined : new InsufficientNodesError(count, n + 1);
  }
}

/**
 * Zones take turns: a zone may hold one copy more than the least filled one, and a zone without a node left still
 * counts as least filled. So the walk of a ring whose zones cannot hold the copies would never end.
 */
function checkCapacity(endpoints: readonly Endpoint[], copies: number): void {
  if (endpoints.length < copies || endpoints.length === 0) {
    throw new HashringBuildError(
      "ketama: amount of endpoints needs to be larger than replication factor",
    );
  }
  const zones = new Map<string, number>();
  for (const { az } of endpoints) zones.set(az, (zones.get(az) ?? 0) + 1);
  const smallest = Math.min(...zones.values());
  let capacity = 0;
  for (const size of zones.values()) capacity += Math.min(size, smallest + 1);
  if (copies > capacity) {
    const sizes = [...zones].map(([az, size]) => `"${az}": ${size}`).join(", ");
    throw new HashringBuildError(
      `ketama: zones can hold ${capacity} copies of a series, replication factor is ${copies} (endpoints by zone: ${sizes})`,
    );
  }
}

/** Section hashes in ascending order, with the endpoint that each belongs to. */
export function sortedSections(endpoints: readonly Endpoint[]): {
  hashes: BigUint64Array;
  endpoint: Uint32Array;
} {
  const count = endpoints.length * SECTIONS_PER_ENDPOINT;
  const unsorted = new BigUint64Array(count);
  for (const [e, { address }] of endpoints.entries()) {
    for (let i = 1; i <= SECTIONS_PER_ENDPOINT; i++) {
      unsorted[e * SECTIONS_PER_ENDPOINT + i - 1] = xxh64(Buffer.from(`${address}:${i}`));
    }
  }
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  order.sort((a, b) => {
    const x = unsorted[a] as bigint;
    const y = unsorted[b] as bigint;
    return x < y ? -1 : x > y ? 1 : a - b;
  });
  return {
    hashes: BigUint64Array.from(order, (i) => unsorted[i] as bigint),
    endpoint: order.map((i) => Math.floor(i / SECTIONS_PER_ENDPOINT)),
  };
}

function ownersOf(
  endpointOf: Uint32Array,
  endpoints: readonly Endpoint[],
  copies: number,
): Uint32Array {
  const zoneNames = [...new Set(endpoints.map(({ az }) => az))];
  const zoneOf = Uint32Array.from(endpoints, ({ az }) => zoneNames.indexOf(az));
  const inZone = new Uint32Array(zoneNames.length);
  // The section that last took the endpoint or counted the zone, to save clearing.
  const takenBy = new Int32Array(endpoints.length).fill(-1);
  const count = endpointOf.length;
  const owners = new Uint32Array(count * copies);
  for (let section = 0; section < count; section++) {
    inZone.fill(0);
    let found = 0;
    // checkCapacity makes sure that the walk ends: each turn round the ring takes at least one endpoint.
    for (let at = section; found < copies; at = at + 1 === count ? 0 : at + 1) {
      const endpoint = endpointOf[at] as number;
      if (takenBy[endpoint] === section) continue;
      const zone = zoneOf[endpoint] as number;
      const held = inZone[zone] as number;
      if (zoneNames.length > 1 && held > 0 && held > least(inZone)) continue;
      takenBy[endpoint] = section;
      inZone[zone] = held + 1;
      owners[section * copies + found] = endpoint;
      found++;
    }
  }
  return owners;
}

function least(counts: Uint32Array): number {
  let smallest = counts[0] as number;
  for (let i = 1; i < counts.length; i++) {
    if ((counts[i] as number) < smallest) smallest = counts[i] as number;
  }
  return smallest;
}
