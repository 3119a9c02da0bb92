/** The hashmod ring: endpoints sorted by address; copy n of a hash is on endpoint (hash + n mod 2^64) mod count. */

import { compareStrings } from "@torus/model";
import type { Endpoint } from "./config.ts";
import { HashringBuildError, InsufficientNodesError, type Placement } from "./placement.ts";

export class HashmodRing implements Placement {
  readonly endpoints: readonly Endpoint[];
  readonly copies: number;
  readonly owners: Uint32Array;
  readonly #wrapFrom: number;

  /**
   * With fewer endpoints than copies the ring is built, as in Thanos, and `missingCopy` tells.
   *
   * @throws {HashringBuildError} when an endpoint has a zone.
   */
  constructor(endpoints: readonly Endpoint[], copies: number) {
    if (endpoints.some(({ az }) => az !== "")) {
      throw new HashringBuildError(
        "Hashmod algorithm does not support AZ aware hashring configuration. Either use Ketama or remove AZ configuration.",
      );
    }
    this.endpoints = endpoints.toSorted((a, b) => compareStrings(a.address, b.address));
    this.copies = copies;
    const count = endpoints.length;
    // Section r holds the hashes with remainder r. The last copies-1 hashes below 2^64 wrap round to 0 on the way
    // to a higher copy, which is a jump in the remainder: section count + k - 1 is the hash 2^64 - k alone.
    this.#wrapFrom = 2 ** 32 - (copies - 1);
    this.owners = new Uint32Array((count + copies - 1) * copies);
    if (count === 0) return;
    for (let section = 0; section < count; section++) {
      for (let n = 0; n < copies; n++) {
        this.owners[section * copies + n] = (section + n) % count;
      }
    }
    for (let k = 1; k < copies; k++) {
      for (let n = 0; n < copies; n++) {
        const hash = n < k ? 2n ** 64n - BigInt(k - n) : BigInt(n - k);
        this.owners[(count + k - 1) * copies + n] = Number(hash % BigInt(count));
      }
    }
  }

  section(hashLow: number, hashHigh: number): number {
    const count = this.endpoints.length;
    if (hashHigh === 0xffff_ffff && hashLow >= this.#wrapFrom) return count + 2 ** 32 - hashLow - 1;
    return ((hashHigh % count) * (2 ** 32 % count) + hashLow) % count;
  }

  missingCopy(n: number): InsufficientNodesError | undefined {
    const count = this.endpoints.length;
    return n < count ? undefined : new InsufficientNodesError(count, n + 1);
  }
}
