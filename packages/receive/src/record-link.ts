/**
 * The sender's end of record shipping to one receiver: a call that stays open, and what of it is not answered yet.
 * What the receiver knows lives as long as the call: a new one starts with nothing registered.
 */

import { RegisteredSeries } from "@torus/kernels";
import { type DuplexCall, type DuplexGrpcClient, GrpcError, GrpcStatus } from "@torus/server";
import {
  decodeAnswer,
  encodeForget,
  encodeWriteHead,
  RECORDS_VERSION,
  type RecordAnswer,
  SHIP_RECORDS,
  STARTED_RECORDS_VERSION,
} from "./record-message.ts";
import type { Shipment } from "./shipment.ts";

type Waiting = {
  resolve: (answer: RecordAnswer) => void;
  reject: (error: GrpcError) => void;
  timer: NodeJS.Timeout;
};

type Slot = { registered: RegisteredSeries; named: boolean };

export class RecordLink {
  readonly #call: DuplexCall;
  readonly #address: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #slots = new Map<number, Slot>();
  #sequence = 0;
  #isOpen = false;
  #keepsStartTimes = false;
  #leaving = false;

  /**
   * Opens the call. @throws {GrpcError} when there is no connection.
   *
   * @param onEnd Called once, when the link cannot be used any more.
   */
  constructor(client: DuplexGrpcClient, onEnd: (error: GrpcError | undefined) => void) {
    this.#address = client.address;
    this.#call = client.duplex(
      SHIP_RECORDS,
      {
        onMessage: (message) => this.#onMessage(message),
        onGoAway: () => this.#leave(),
        onEnd: (error) => {
          this.#close(error);
          onEnd(error);
        },
      },
      { timeoutMs: 0 },
    );
  }

  /** Whether the receiver has said that it takes records, and still does. */
  get isOpen(): boolean {
    return this.#isOpen && !this.#leaving;
  }

  /** Whether the receiver has said that it keeps start timestamps. */
  get keepsStartTimes(): boolean {
    return this.#keepsStartTimes;
  }

  /** What the receiver knows of a slot. */
  registered(slot: number): RegisteredSeries {
    let known = this.#slots.get(slot);
    if (known === undefined) {
      known = { registered: new RegisteredSeries(), named: false };
      this.#slots.set(slot, known);
    }
    return known.registered;
  }

  /** Sends, in the order of the calls. @throws {GrpcError} DEADLINE_EXCEEDED ends the link. */
  send(shipment: Shipment, timeoutMs: number): Promise<RecordAnswer> {
    return new Promise((resolve, reject) => {
      const slot = this.#slots.get(shipment.series.slot);
      if (!this.isOpen || slot === undefined) {
        reject(
          new GrpcError(GrpcStatus.UNAVAILABLE, `${this.#address}: the record link is closed`),
        );
        return;
      }
      const sequence = ++this.#sequence;
      const timer = setTimeout(() => this.#expire(), timeoutMs);
      this.#waiting.set(sequence, { resolve, reject, timer });
      const head = encodeWriteHead({
        sequence,
        slot: shipment.series.slot,
        tenant: slot.named ? "" : Buffer.from(shipment.tenant).toString("utf8"),
        request: shipment.request,
        numbers: shipment.numbers,
        rowCount: shipment.rowCount,
        baseTime: shipment.baseTime,
        starts: shipment.starts,
      });
      slot.named = true;
      this.#call.write([...head, shipment.rows]);
    });
  }

  /** The slot's numbers will not be used again. */
  forget(slot: number): void {
    const known = this.#slots.get(slot);
    if (known === undefined) return;
    known.registered.free();
    this.#slots.delete(slot);
    if (known.named && this.isOpen) this.#call.write([encodeForget(slot)]);
  }

  /** Ends the call when all is answered. */
  close(): void {
    this.#leave();
  }

  #leave(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#call.end();
  }

  /** A receiver that does not answer in time holds up all that comes behind. */
  #expire(): void {
    const error = new GrpcError(
      GrpcStatus.DEADLINE_EXCEEDED,
      `${this.#address}: context deadline exceeded`,
    );
    this.#close(error);
    this.#call.cancel(error);
  }

  #onMessage(message: Uint8Array): void {
    const answer = decodeAnswer(message);
    if ("kind" in answer) {
      if (answer.version >= RECORDS_VERSION) this.#isOpen = true;
      this.#keepsStartTimes = answer.version >= STARTED_RECORDS_VERSION;
      return;
    }
    const waiting = this.#waiting.get(answer.sequence);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.sequence);
    clearTimeout(waiting.timer);
    if (answer.code === GrpcStatus.OK) waiting.resolve(answer);
    else {
      const code = answer.code as GrpcStatus;
      waiting.reject(new GrpcError(code, `${this.#address}: ${answer.message}`));
    }
  }

  #close(error: GrpcError | undefined): void {
    this.#isOpen = false;
    this.#leaving = true;
    const reason =
      error ?? new GrpcError(GrpcStatus.UNAVAILABLE, `${this.#address}: the record link ended`);
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(reason);
    }
    this.#waiting.clear();
    for (const { registered } of this.#slots.values()) registered.free();
    this.#slots.clear();
  }
}
