/**
 * The receivers that one asks about HA pairs, each with its connection. One that did not answer is silent: no request
 * waits for it again until a call in the background has found that it is back.
 */

import { errorText, type GrpcClient, GrpcError, GrpcStatus, type Logger } from "@torus/server";
import { TooManyClustersError } from "./ha-tracker.ts";
import { decodeKnown, encodeRecall, HA_RECALL } from "./ha-wire.ts";

export type HaPeersOptions = {
  connect: (address: string) => GrpcClient;
  /** For the error that a peer's refusal becomes here. */
  maxClusters: number;
  log: Logger;
  now: () => number;
};

/** A silent receiver is tried again after this. */
const PROBE_AFTER_MS = 1000;
const PROBE_TIMEOUT_MS = 1000;

export type HaCall<T> = {
  method: string;
  message: Uint8Array;
  /** What it throws counts as no answer. */
  decode: (answer: Uint8Array) => T;
};

type Silence = { probeAt: number; isProbing: boolean };

export class HaPeers {
  readonly #options: HaPeersOptions;
  readonly #clients = new Map<string, GrpcClient>();
  readonly #silences = new Map<string, Silence>();

  constructor(options: HaPeersOptions) {
    this.#options = options;
  }

  /** Closes connections to all but these, and takes all for present. */
  keep(addresses: ReadonlySet<string>): void {
    for (const [address, client] of this.#clients) {
      if (addresses.has(address)) continue;
      this.#clients.delete(address);
      client.close();
    }
    this.#silences.clear();
  }

  /** Whether it is left out for now; finds out in the background whether it is back. */
  isSilent(address: string): boolean {
    const silence = this.#silences.get(address);
    if (silence === undefined) return false;
    if (!silence.isProbing && this.#options.now() >= silence.probeAt) {
      silence.isProbing = true;
      void this.#probe(address, silence);
    }
    return true;
  }

  /**
   * Null when it gives no answer that can be read; it is silent then.
   *
   * @throws {TooManyClustersError} when it has no room for the clusters.
   */
  async ask<T>(address: string, timeoutMs: number, call: HaCall<T>): Promise<T | null> {
    const { log, maxClusters, now } = this.#options;
    const { method, message, decode } = call;
    try {
      return decode(await this.#client(address).unary(method, message, { timeoutMs }));
    } catch (error) {
      if (error instanceof GrpcError && error.code === GrpcStatus.RESOURCE_EXHAUSTED) {
        throw new TooManyClustersError(maxClusters);
      }
      this.#silences.set(address, { probeAt: now() + PROBE_AFTER_MS, isProbing: false });
      log.warn("a receiver does not answer about HA clusters, the next one decides", {
        address,
        err: errorText(error),
      });
      return null;
    }
  }

  async #probe(address: string, silence: Silence): Promise<void> {
    const { log, now } = this.#options;
    try {
      const client = this.#client(address);
      const message = encodeRecall({
        tenant: "",
        clusters: [],
        absent: [],
        budgetMs: PROBE_TIMEOUT_MS,
      });
      decodeKnown(await client.unary(HA_RECALL, message, { timeoutMs: PROBE_TIMEOUT_MS }), 0);
    } catch {
      // It stays silent; what was wrong is logged already.
      silence.isProbing = false;
      silence.probeAt = now() + PROBE_AFTER_MS;
      return;
    }
    if (this.#silences.get(address) !== silence) return;
    this.#silences.delete(address);
    log.info("a receiver answers about HA clusters again", { address });
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
