/**
 * What a hashring of one tenant is to the write path: a hash leads to a section, a section to its owners. Both steps
 * are array look-ups; nothing is allocated. 64-bit hashes come as two unsigned 32-bit halves.
 */

import type { Endpoint } from "./config.ts";

export interface Placement {
  readonly endpoints: readonly Endpoint[];
  /** Copies of each series: owners of section s stand at [s * copies, (s + 1) * copies). */
  readonly copies: number;
  /** Indexes into `endpoints`. */
  readonly owners: Uint32Array;
  section(hashLow: number, hashHigh: number): number;
  /** What asking for copy `n` (from 0) fails with; undefined when each section has that copy. */
  missingCopy(n: number): InsufficientNodesError | undefined;
}

export class InsufficientNodesError extends Error {
  readonly have: number;
  readonly want: number;
  constructor(have: number, want: number) {
    super(`insufficient nodes; have ${have}, want ${want}`);
    this.name = "InsufficientNodesError";
    this.have = have;
    this.want = want;
  }
}

/** A ring cannot be built as configured. */
export class HashringBuildError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "HashringBuildError";
  }
}
