/**
 * The other receivers of the ring, each with its connection and its health. A peer that failed or let a deadline
 * pass is left alone for a while (100 ms to 5 s, doubling); what is on its way to one peer is bounded in bytes, so
 * that a peer that hangs costs the others neither time nor memory.
 *
 * To a peer that says it takes them, records go by series number; to all others, and until it has said so, requests.
 */

import { ConnectionLostError, type DuplexGrpcClient, GrpcError, GrpcStatus } from "@torus/server";
import { RecordLink } from "./record-link.ts";
import { asWriteRequest, numbersOfRows, type Shipment } from "./shipment.ts";
import { decodeVerdicts, type SeriesCauses, VERDICTS_METADATA } from "./verdicts.ts";

export const REMOTE_WRITE = "/thanos.WriteableStore/RemoteWrite";

export type PeerOptions = {
  connect: (address: string) => DuplexGrpcClient;
  /** Whether to ship records to peers that take them. */
  records: boolean;
  /** Milliseconds for one call. */
  timeoutMs: number;
  maxBackoffMs: number;
  /** Bytes of messages on their way to one peer. */
  maxInflightBytes: number;
  now: () => number;
  random: () => number;
};

const FIRST_BACKOFF_MS = 100;
/** A peer that does not take records is asked again after this: it may have been replaced by one that does. */
const ASK_AGAIN_MS = 60_000;

export class Peer {
  readonly address: string;
  readonly #options: PeerOptions;
  readonly #client: DuplexGrpcClient;
  #link: RecordLink | undefined;
  #askAt = 0;
  #tookAnyCopy = false;
  #inflightBytes = 0;
  /** Calls that failed one after the other. */
  #failures = 0;
  /** No call before this time. */
  #retryAt = 0;

  constructor(address: string, options: PeerOptions) {
    this.address = address;
    this.#options = options;
    this.#client = options.connect(address);
  }

  get inflightBytes(): number {
    return this.#inflightBytes;
  }

  /** Whether calls are refused at once now. */
  get isResting(): boolean {
    return this.#retryAt > this.#options.now();
  }

  /** Why nothing of this size may be sent now. */
  refusal(bytes: number): GrpcError | undefined {
    const { now, maxInflightBytes } = this.#options;
    const wait = this.#retryAt - now();
    if (wait > 0) {
      return new GrpcError(
        GrpcStatus.UNAVAILABLE,
        `${this.address}: in back-off for ${Math.ceil(wait)} ms after ${this.#failures} failures`,
      );
    }
    // A single message may be larger than the bound: it goes when nothing else is on its way.
    if (this.#inflightBytes > 0 && this.#inflightBytes + bytes > maxInflightBytes) {
      return new GrpcError(
        GrpcStatus.UNAVAILABLE,
        `${this.address}: ${this.#inflightBytes} bytes are on their way already, the limit is ${maxInflightBytes}`,
      );
    }
    return undefined;
  }

  /** The link for records when it is open; asks the peer for one otherwise. */
  records(): RecordLink | undefined {
    if (this.#link === undefined) this.#ask();
    this.#tookAnyCopy ||= this.takesAnyCopy;
    if (!this.#options.records) return undefined;
    return this.#link?.isOpen === true ? this.#link : undefined;
  }

  /** Whether the peer stores what it is sent, whichever copy that is: a torus receiver, as it said of itself. */
  get takesAnyCopy(): boolean {
    return this.#link?.isOpen === true;
  }

  /** The same of one that does not answer, as it was when it did. */
  get tookAnyCopy(): boolean {
    return this.#tookAnyCopy;
  }

  /** Sends one RemoteWrite; tells the series that it did not store. @throws {GrpcError} */
  remoteWrite(message: Uint8Array, series: number): Promise<SeriesCauses> {
    return this.#counted(message.length, () => this.#remoteWrite(message, series));
  }

  /** One unary call. @throws {GrpcError} */
  call(method: string, message: Uint8Array): Promise<Uint8Array> {
    const { timeoutMs } = this.#options;
    return this.#counted(message.length, () => this.#client.unary(method, message, { timeoutMs }));
  }

  /**
   * Sends a shipment over the link that it was made for, and what the peer then lacks as a RemoteWrite. The indexes are
   * those of the shipment's `entries`.
   *
   * @throws {GrpcError}
   */
  ship(link: RecordLink, shipment: Shipment): Promise<SeriesCauses> {
    return this.#counted(shipment.bytes, async () => {
      shipment.series.hold();
      try {
        return await this.#ship(link, shipment);
      } finally {
        shipment.series.release();
      }
    });
  }

  forget(slot: number): void {
    this.#link?.forget(slot);
  }

  /** Forgets what was known of its health. */
  reset(): void {
    this.#failures = 0;
    this.#retryAt = 0;
    this.#askAt = 0;
  }

  close(): void {
    this.#link?.close();
    this.#client.close();
  }

  async #ship(link: RecordLink, shipment: Shipment): Promise<SeriesCauses> {
    const { timeoutMs } = this.#options;
    const count = shipment.entries.length;
    let answer: Awaited<ReturnType<RecordLink["send"]>>;
    try {
      answer = await link.send(shipment, timeoutMs);
    } catch (error) {
      if (!isLost(error)) throw error;
      return this.#remoteWrite(asWriteRequest(shipment, null), count);
    }
    if (answer.failed.some(([index]) => index >= count)) throw noVerdicts(this.address);
    const registered = link.isOpen ? link.registered(shipment.series.slot) : undefined;
    for (const [index] of answer.failed) {
      // Whether a series whose samples were refused is there, only a new try can tell.
      const number = shipment.numbers[index] ?? 0;
      if (number > 0) registered?.set(number - 1, false);
    }
    if (answer.unknown.length === 0) return answer.failed;
    if (answer.unknown.some((row) => row >= shipment.rowCount)) throw noVerdicts(this.address);
    for (const number of numbersOfRows(shipment, answer.unknown)) registered?.set(number, false);
    const missing = await this.#remoteWrite(
      asWriteRequest(shipment, answer.unknown),
      answer.unknown.length,
    );
    const again = missing.map(
      ([at, cause, samples]) =>
        [shipment.labelled + (answer.unknown[at] as number), cause, samples] as const,
    );
    return [...answer.failed, ...again];
  }

  async #remoteWrite(message: Uint8Array, series: number): Promise<SeriesCauses> {
    const { timeoutMs } = this.#options;
    const call = { timeoutMs, metadata: { [VERDICTS_METADATA]: "1" } };
    let answer: Uint8Array;
    try {
      answer = await this.#client.unary(REMOTE_WRITE, message, call);
    } catch (error) {
      // Writing the same samples twice is no error, and a new connection may be had at once.
      if (!isLost(error)) throw error;
      answer = await this.#client.unary(REMOTE_WRITE, message, call);
    }
    // A peer that says nothing about single series has stored them all.
    return decodeVerdicts(answer, series) ?? [];
  }

  async #counted<T>(bytes: number, run: () => Promise<T>): Promise<T> {
    this.#inflightBytes += bytes;
    try {
      const result = await run();
      this.#failures = 0;
      this.#retryAt = 0;
      return result;
    } catch (error) {
      this.#judge(error);
      throw error;
    } finally {
      this.#inflightBytes -= bytes;
    }
  }

  #ask(): void {
    const { now } = this.#options;
    if (now() < this.#askAt) return;
    this.#askAt = now() + ASK_AGAIN_MS;
    try {
      const link = new RecordLink(this.#client, (error) => {
        if (this.#link === link) this.#link = undefined;
        // A link that ended with its connection is asked for again with the next one.
        if (error === undefined || isAway(error)) this.#askAt = 0;
      });
      this.#link = link;
    } catch (error) {
      if (!(error instanceof GrpcError)) throw error;
      // No connection: the call that follows says why.
      this.#askAt = 0;
    }
  }

  #judge(error: unknown): void {
    if (!isAway(error)) {
      // The peer answered: it is there.
      this.#failures = 0;
      return;
    }
    const { now, maxBackoffMs, random } = this.#options;
    // Calls that were on their way together fail together; they count as one failure.
    if (now() < this.#retryAt) return;
    this.#failures++;
    const full = Math.min(maxBackoffMs, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures - 1, 20));
    this.#retryAt = now() + full * (0.5 + random() / 2);
  }
}

export class Peers {
  readonly #options: PeerOptions;
  readonly #peers = new Map<string, Peer>();

  constructor(options: PeerOptions) {
    this.#options = options;
  }

  get(address: string): Peer {
    let peer = this.#peers.get(address);
    if (peer === undefined) {
      peer = new Peer(address, this.#options);
      this.#peers.set(address, peer);
    }
    return peer;
  }

  list(): Peer[] {
    return [...this.#peers.values()];
  }

  /** Closes connections to all but these, and forgets what was known of the health of all. */
  keep(addresses: ReadonlySet<string>): void {
    for (const [address, peer] of this.#peers) {
      peer.reset();
      if (addresses.has(address)) continue;
      this.#peers.delete(address);
      peer.close();
    }
  }

  forget(slot: number): void {
    for (const peer of this.#peers.values()) peer.forget(slot);
  }

  close(): void {
    this.keep(new Set());
  }
}

/** Whether the peer may take it later. */
export function isAway(error: unknown): boolean {
  return (
    error instanceof GrpcError &&
    (error.code === GrpcStatus.UNAVAILABLE || error.code === GrpcStatus.DEADLINE_EXCEEDED)
  );
}

function isLost(error: unknown): boolean {
  return error instanceof ConnectionLostError && error.code === GrpcStatus.UNAVAILABLE;
}

function noVerdicts(address: string): GrpcError {
  return new GrpcError(GrpcStatus.INTERNAL, `${address}: verdicts on series that were not sent`);
}
