/**
 * The other receivers of the ring, each with its connection and its health. A peer that failed or let a deadline
 * pass is left alone for a while (100 ms to 5 s, doubling); what is on its way to one peer is bounded in bytes, so
 * that a peer that hangs costs the others neither time nor memory.
 */

import { type GrpcClient, GrpcError, GrpcStatus } from "@torus/server";
import { VERDICTS_METADATA } from "./verdicts.ts";

export const REMOTE_WRITE = "/thanos.WriteableStore/RemoteWrite";

export type PeerOptions = {
  connect: (address: string) => GrpcClient;
  /** Milliseconds for one call. */
  timeoutMs: number;
  maxBackoffMs: number;
  /** Bytes of messages on their way to one peer. */
  maxInflightBytes: number;
  now: () => number;
  random: () => number;
};

const FIRST_BACKOFF_MS = 100;

class Peer {
  readonly client: GrpcClient;
  inflightBytes = 0;
  /** Calls that failed one after the other. */
  failures = 0;
  /** No call before this time. */
  retryAt = 0;

  constructor(client: GrpcClient) {
    this.client = client;
  }
}

export class Peers {
  readonly #options: PeerOptions;
  readonly #peers = new Map<string, Peer>();

  constructor(options: PeerOptions) {
    this.#options = options;
  }

  /**
   * Sends one RemoteWrite, and resolves with the answer's message.
   *
   * @throws {GrpcError} UNAVAILABLE at once while the peer is left alone or too much is on its way to it.
   */
  async remoteWrite(address: string, message: Uint8Array): Promise<Uint8Array> {
    const { now, timeoutMs, maxInflightBytes } = this.#options;
    const peer = this.#peer(address);
    const wait = peer.retryAt - now();
    if (wait > 0) {
      throw new GrpcError(
        GrpcStatus.UNAVAILABLE,
        `${address}: in back-off for ${Math.ceil(wait)} ms after ${peer.failures} failures`,
      );
    }
    // A single message may be larger than the bound: it goes when nothing else is on its way.
    if (peer.inflightBytes > 0 && peer.inflightBytes + message.length > maxInflightBytes) {
      throw new GrpcError(
        GrpcStatus.UNAVAILABLE,
        `${address}: ${peer.inflightBytes} bytes are on their way already, the limit is ${maxInflightBytes}`,
      );
    }
    peer.inflightBytes += message.length;
    try {
      const metadata = { [VERDICTS_METADATA]: "1" };
      const answer = await peer.client.unary(REMOTE_WRITE, message, { timeoutMs, metadata });
      peer.failures = 0;
      peer.retryAt = 0;
      return answer;
    } catch (error) {
      this.#judge(peer, error);
      throw error;
    } finally {
      peer.inflightBytes -= message.length;
    }
  }

  /** Bytes on their way to all peers. */
  get inflightBytes(): number {
    let sum = 0;
    for (const peer of this.#peers.values()) sum += peer.inflightBytes;
    return sum;
  }

  /** Closes connections to all but these, and forgets what was known of the health of all. */
  keep(addresses: ReadonlySet<string>): void {
    for (const [address, peer] of this.#peers) {
      peer.failures = 0;
      peer.retryAt = 0;
      if (addresses.has(address)) continue;
      this.#peers.delete(address);
      peer.client.close();
    }
  }

  close(): void {
    this.keep(new Set());
  }

  #judge(peer: Peer, error: unknown): void {
    const isDown =
      error instanceof GrpcError &&
      (error.code === GrpcStatus.UNAVAILABLE || error.code === GrpcStatus.DEADLINE_EXCEEDED);
    if (!isDown) {
      // The peer answered: it is there.
      peer.failures = 0;
      return;
    }
    const { now, maxBackoffMs, random } = this.#options;
    // Calls that were on their way together fail together; they count as one failure.
    if (now() < peer.retryAt) return;
    peer.failures++;
    const full = Math.min(maxBackoffMs, FIRST_BACKOFF_MS * 2 ** Math.min(peer.failures - 1, 20));
    peer.retryAt = now() + full * (0.5 + random() / 2);
  }

  #peer(address: string): Peer {
    let peer = this.#peers.get(address);
    if (peer === undefined) {
      peer = new Peer(this.#options.connect(address));
      this.#peers.set(address, peer);
    }
    return peer;
  }
}
