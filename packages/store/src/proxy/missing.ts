/**
 * What is missing in one answer of the fan-out, because endpoints failed, and whether the answer is whole without it.
 *
 * A sample that a ring acknowledged is held by a quorum of its copies: with replication factor 3 by two nodes, with 2
 * by one. As long as fewer of the ring's nodes fail than a quorum has, each such sample is in the answer of another,
 * and nothing is missing.
 */

import type { Endpoint } from "./endpoints.ts";

/** An endpoint failed and partial answers are not wanted. */
export class FanOutError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "FanOutError";
  }
}

export type MissingOptions = {
  /** What is missing becomes a warning, or else all fails. */
  partialResponse: boolean;
  onWarning: (text: string) => void;
  /** Labels of which an endpoint that belongs to the ring has one in each of its label sets. */
  ringReplicaLabels: readonly string[];
  /** Nodes of the ring that may fail while every acknowledged sample is held by another. */
  spareReplicas: number;
};

/** The nodes of a ring that may fail while each acknowledged sample is held by another one: a quorum less one. */
export function spareReplicas(replicationFactor: number): number {
  return replicationFactor === 2 ? 0 : Math.floor(replicationFactor / 2);
}

export class Missing {
  readonly #options: MissingOptions;
  #spared: { text: string; cause: unknown }[] = [];
  #ringFailures = 0;

  constructor(options: MissingOptions) {
    this.#options = options;
  }

  /** @throws {FanOutError} when something is missing now and partial answers are not wanted */
  add(endpoint: Endpoint, text: string, cause?: unknown): void {
    const { spareReplicas: spare } = this.#options;
    const isCovered = this.#isOfRing(endpoint) && ++this.#ringFailures <= spare;
    if (isCovered) {
      this.#spared.push({ text, cause });
      return;
    }
    // The ring lacks more than it has to spare, so those that were spared are missed as well.
    const missed = this.#ringFailures > spare ? this.#spared.splice(0) : [];
    for (const each of [...missed, { text, cause }]) {
      if (!this.#options.partialResponse) throw new FanOutError(each.text, { cause: each.cause });
      this.#options.onWarning(each.text);
    }
  }

  #isOfRing({ info }: Endpoint): boolean {
    const sets = info?.labelSets ?? [];
    const ring = new Set(this.#options.ringReplicaLabels);
    return (
      sets.length > 0 &&
      sets.every((labels) => labels.some((name, i) => i % 2 === 0 && ring.has(name)))
    );
  }
}
