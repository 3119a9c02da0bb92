/**
 * One write from the walked request to its answer: the local share goes straight into the TSDB, each other owner
 * gets its share as records or as RemoteWrite, and the answer is due when every series is decided. What is still on
 * its way then runs on until its own deadline.
 */

import type { Hashring, Placement } from "@torus/hashring";
import type { FoundSeries, WriteRequestBuffer } from "@torus/kernels";
import { errorText, type Logger } from "@torus/server";
import { Cause, causeOfError, codesOf } from "./cause.ts";
import { countEntries, countShare, countWhole } from "./count-copies.ts";
import type { ForwardedSeries, TenantSeries } from "./forwarded-series.ts";
import type { HandOff } from "./handoff/handoff.ts";
import { describeRefused, writeLocal } from "./local.ts";
import type { ReceiveMetrics } from "./metrics.ts";
import { isAway, type Peer, type Peers } from "./peers.ts";
import { WriteDecision, type Written, writeQuorum } from "./quorum.ts";
import { byCopy, type Copies, forwardedRequest, routeRequest } from "./route.ts";
import { type SampleCounts, samplesBySeries, samplesOf, totalSamples } from "./sample-counts.ts";
import { asWriteRequest, makeShipment } from "./shipment.ts";
import type { Tenant } from "./tenants.ts";
import type { SeriesCauses } from "./verdicts.ts";

export type WriteResult = {
  cause: Cause;
  /** For the sender; "" when all is stored. */
  message: string;
  series: number;
  samples: number;
  written: Written;
  /** All series are copies of an HA pair's replica that is not listened to. */
  isDuplicate?: boolean;
};

/** A replica number from outside that the replication factor does not have. */
export class BadReplicaError extends Error {
  constructor(replica: number, copies: number) {
    super(`replica count exceeds replication factor: replica ${replica}, factor ${copies}`);
    this.name = "BadReplicaError";
  }
}

export class NoHashringError extends Error {
  constructor() {
    super("no hashring yet");
    this.name = "NoHashringError";
  }
}

const STORED = { cause: Cause.STORED, message: "" } as const;
const NONE_WRITTEN: Written = { samples: 0, histograms: 0, exemplars: 0 };

export type WriterOptions = {
  /** Undefined without a hashring: everything is stored here. */
  hashring: (() => Hashring | undefined) | null;
  peers: Peers;
  forwarded: ForwardedSeries;
  /** Null where copies that cannot be made are not kept. */
  handOff: HandOff | null;
  /** The address under which the ring knows this process; "" for a router. */
  localEndpoint: string;
  metrics: ReceiveMetrics;
  log: Logger;
  now: () => number;
};

/** What is being written, and what the steps of its distribution share. */
type Distribution = {
  request: WriteRequestBuffer;
  tenant: { name: string; bytes: Uint8Array; local: Tenant | undefined };
  placement: Placement;
  copies: Copies;
  sections: () => Int32Array;
  series: TenantSeries;
  found: FoundSeries;
  decision: WriteDecision;
  errors: string[];
  /** Messages already made, by the series that they hold: several nodes may own the same. */
  messages: Map<Uint32Array, Uint8Array>;
};

/** A RemoteWrite message, and the index of each of its series. */
type Message = { message: Uint8Array; entries: Uint32Array };

export class Writer {
  readonly #options: WriterOptions;
  /** This node among a placement's endpoints; -1 when it is none of them. */
  readonly #selfIn = new WeakMap<Placement, number>();

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  /**
   * Stores or forwards all series of the request. Not an async function: when it returns, the request may be
   * released; the promise then tells the outcome.
   *
   * @param local The tenant's TSDB; undefined on a router.
   * @param replica 0 to make all copies, n to make copy n alone.
   * @throws {BadReplicaError | NoHashringError} and what the hashring throws for the tenant.
   */
  write(
    request: WriteRequestBuffer,
    tenant: { name: string; bytes: Uint8Array; local: Tenant | undefined },
    replica: number,
  ): Promise<WriteResult> {
    const { hashring } = this.#options;
    const samples = samplesBySeries(request);
    if (request.count === 0)
      return Promise.resolve({ ...STORED, series: 0, samples: 0, written: NONE_WRITTEN });
    if (hashring === null) return Promise.resolve(this.#storeAll(request, tenant, samples));
    const ring = hashring();
    if (ring === undefined) throw new NoHashringError();
    if (replica > ring.replicationFactor) {
      throw new BadReplicaError(replica, ring.replicationFactor);
    }
    const placement = ring.placement(tenant.name);
    if (placement.endpoints.length === 1 && this.#self(placement) === 0) {
      return Promise.resolve(this.#storeAll(request, tenant, samples));
    }
    const all = replica === 0;
    const copies = all ? { from: 0, to: placement.copies } : { from: replica - 1, to: replica };
    return this.#distribute(request, tenant, placement, copies, samples);
  }

  /** Stores all series here, whoever owns them: for an ingestor, and for what a router sent. */
  #storeAll(
    request: WriteRequestBuffer,
    { name, local }: { name: string; local: Tenant | undefined },
    samples: SampleCounts,
  ): WriteResult {
    if (local === undefined) throw new NoHashringError();
    const decision = new WriteDecision(request.count, 1, 1);
    const errors: string[] = [];
    this.#storeShare(request, local, null, decision, errors);
    for (let i = 0; i < request.count; i++) {
      if (decision.verdict(i) === undefined) decision.count(i, Cause.STORED);
    }
    return this.#answer(name, decision, errors, samples);
  }

  #distribute(
    request: WriteRequestBuffer,
    tenant: { name: string; bytes: Uint8Array; local: Tenant | undefined },
    placement: Placement,
    copies: { from: number; to: number },
    samples: SampleCounts,
  ): Promise<WriteResult> {
    const { metrics, forwarded } = this.#options;
    const made = copies.to - copies.from;
    const self = this.#self(placement);
    const series = forwarded.of(tenant.name);
    const found = series.find(request, placement);
    let sections: Int32Array | undefined;
    const allSections = () => (sections ??= series.sections(request, found, tenant.bytes));
    const route = routeRequest(request, placement, copies, {
      flags: found.flags,
      all: allSections,
    });
    const { shares, refused } = route;
    const decision = new WriteDecision(request.count, made, writeQuorum(made));
    const errors: string[] = [];
    for (const index of refused) {
      decision.noteRefused(index, samplesOf(samples, index));
      decision.refuse(index, Cause.CONFLICT);
    }
    if (refused.length > 0) errors.push(`${refused.length} × invalid labels`);
    const messages = new Map<Uint32Array, Uint8Array>();
    const all: Distribution = {
      request,
      tenant,
      placement,
      copies,
      sections: allSections,
      series,
      found,
      decision,
      errors,
      messages,
    };
    // Messages first: they are made from the request's memory, and travel while this node appends.
    for (const share of shares) {
      if (share.endpoint === self && tenant.local !== undefined) continue;
      this.#send(all, share.endpoint, share.series);
    }
    for (const share of shares) {
      if (share.endpoint !== self || tenant.local === undefined) continue;
      const chosen = share.series.length === request.count ? null : share.series;
      const stored = this.#storeShare(request, tenant.local, chosen, decision, errors);
      metrics.replications.inc({ result: stored ? "success" : "error" });
    }
    return decision.decided.then(() => this.#answer(tenant.name, decision, errors, samples));
  }

  /** Sends a share to its owner, in the form that the owner takes. All messages are made when this returns. */
  #send(all: Distribution, endpoint: number, chosen: Uint32Array): void {
    const { request, tenant, placement, copies, series, found, messages } = all;
    const peer = this.#options.peers.get(placement.endpoints[endpoint]?.address ?? "");
    const whole = (): Message => {
      let message = messages.get(chosen);
      message ??= forwardedRequest(request, chosen, tenant.bytes, 1);
      messages.set(chosen, message);
      return { message, entries: chosen };
    };
    const byCopies = (): Message[] =>
      byCopy({ endpoint, series: chosen }, placement, copies, all.sections()).map((each) => ({
        message: forwardedRequest(request, each.series, tenant.bytes, each.copy + 1),
        entries: each.series,
      }));
    const refusal = peer.refusal(0);
    if (refusal !== undefined) {
      // The request is gone when the hint is written, so it is made now.
      let hints: Message[] = [];
      if (this.#options.handOff?.hasRoom(peer.address, 0) === true) {
        hints = peer.tookAnyCopy ? [whole()] : byCopies();
      }
      void this.#forward(
        all,
        peer,
        chosen,
        () => Promise.reject(refusal),
        () => hints,
      );
      return;
    }
    const link = peer.records();
    if (link !== undefined) {
      const registered = link.registered(series.slot);
      const shipment = makeShipment(
        request,
        found,
        chosen,
        registered,
        series,
        tenant.bytes,
        link.keepsStartTimes,
      );
      const { entries } = shipment;
      const hints = () => [{ message: asWriteRequest(shipment, null), entries }];
      series.hold();
      // Their failures are counted in the decision.
      void this.#forward(all, peer, entries, () => peer.ship(link, shipment), hints).finally(() =>
        series.release(),
      );
      return;
    }
    const unary = peer.takesAnyCopy ? [whole()] : byCopies();
    for (const each of unary) {
      const { message, entries } = each;
      const send = () => peer.remoteWrite(message, entries.length);
      void this.#forward(all, peer, entries, send, () => [each]);
    }
  }

  /** Appends and counts; returns whether all was stored. */
  #storeShare(
    request: WriteRequestBuffer,
    local: Tenant,
    chosen: Uint32Array | null,
    decision: WriteDecision,
    errors: string[],
  ): boolean {
    try {
      const result = writeLocal(local.db, request, chosen);
      if (result.failed.length > 0) errors.push(describeRefused(result));
      countShare(decision, chosen, request.count, result.failed);
      return result.failed.length === 0;
    } catch (error) {
      this.#options.log.error("store locally", { tenant: local.name, err: errorText(error) });
      errors.push(`store locally: ${errorText(error)}`);
      countWhole(decision, chosen, request.count, causeOfError(error));
      return false;
    }
  }

  /** @param entries Index of each series of the message; one may come several times, once for each sample. */
  async #forward(
    all: Distribution,
    peer: Peer,
    entries: Uint32Array,
    send: () => Promise<SeriesCauses>,
    hints: () => readonly Message[],
  ): Promise<void> {
    const { metrics, now } = this.#options;
    const { decision, errors } = all;
    const started = now();
    try {
      const failed = await send();
      metrics.forwardDelay.observe((now() - started) / 1000);
      metrics.forwardRequests.inc({ result: failed.length === 0 ? "success" : "error" });
      metrics.replications.inc({ result: failed.length === 0 ? "success" : "error" });
      if (failed.length > 0) errors.push(`${peer.address}: ${failed.length} series refused`);
      countEntries(decision, entries, failed);
    } catch (error) {
      metrics.forwardRequests.inc({ result: "error" });
      metrics.replications.inc({ result: "error" });
      errors.push(errorText(error));
      const cause = causeOfError(error);
      const kept = isAway(error) ? this.#handOff(decision, peer, hints()) : null;
      if (kept === null) countEntries(decision, entries, [], cause);
      else countEntries(decision, entries, [], (await kept) ? Cause.STORED : cause);
    }
  }

  /**
   * Keeps what the peer could not take. Null where that changes nothing for the answer; a promise of whether it counts
   * as a copy otherwise.
   */
  #handOff(
    decision: WriteDecision,
    { address }: Peer,
    messages: readonly Message[],
  ): Promise<boolean> | null {
    const { handOff } = this.#options;
    if (handOff === null || messages.length === 0) return null;
    const hints = messages.map(({ message, entries }) => ({ message, series: entries.length }));
    if (handOff.mode === "quorum") return handOff.add(address, hints);
    void decision.decided.then(() => {
      const { cause } = decision.outcome();
      // What the sender will send again needs no hint.
      const isFinal =
        cause === Cause.STORED || cause === Cause.CONFLICT || cause === Cause.BAD_REQUEST;
      return isFinal ? handOff.add(address, hints) : false;
    });
    return null;
  }

  #answer(
    tenant: string,
    decision: WriteDecision,
    errors: readonly string[],
    samples: SampleCounts,
  ): WriteResult {
    const { cause, bySeries } = decision.outcome();
    const sizes = {
      series: samples.floats.length,
      samples: totalSamples(samples),
      written: decision.written(samples),
    };
    if (cause === Cause.STORED) return { ...STORED, ...sizes };
    let failed = 0;
    for (let each = 1; each < bySeries.length; each++) failed += bySeries[each] as number;
    const of = failed + (bySeries[Cause.STORED] as number);
    const details = [...new Set(errors)].slice(0, 5).join("; ");
    const message = `${codesOf(cause).text}: ${failed} of ${of} series not written: ${details}`;
    this.#options.log.debug("write", { tenant, err: message });
    return { cause, message, ...sizes };
  }

  #self(placement: Placement): number {
    let self = this.#selfIn.get(placement);
    if (self === undefined) {
      const { localEndpoint } = this.#options;
      self = placement.endpoints.findIndex(({ address }) => address === localEndpoint);
      this.#selfIn.set(placement, self);
    }
    return self;
  }
}
