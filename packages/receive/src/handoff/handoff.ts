/**
 * Hinted hand-off: copies whose owner did not take them wait on this node's disk and are sent in their order when the
 * owner answers again. New copies go to it directly meanwhile; what is late by then, the out-of-order window takes.
 *
 *   DIR/<peer's address, as encodeURIComponent writes it>/    a queue (hint-queue.ts)
 */

import { readdir } from "node:fs/promises";
import path from "node:path";
import { errorText, type Logger } from "@torus/server";
import type { ReceiveMetrics } from "../metrics.ts";
import { isAway, type Peers } from "../peers.ts";
import { type Hint, HintQueue } from "./hint-queue.ts";

/** `copies` repairs missing copies; with `quorum` a hint that is on disk for good counts as a copy. */
export type HandOffMode = "copies" | "quorum";

export type HandOffOptions = {
  mode: HandOffMode;
  dir: string;
  /** For each peer. */
  maxBytes: number;
  maxMessageBytes: number;
  /** Older hints are dropped: no head would take them any more. */
  maxAgeMs: number;
  peers: Peers;
  metrics: ReceiveMetrics;
  log: Logger;
  now: () => number;
};

const LOOK_MS = 250;

export class HandOff {
  readonly mode: HandOffMode;
  readonly #options: HandOffOptions;
  readonly #queues = new Map<string, PeerQueue>();
  readonly #opening = new Map<string, Promise<PeerQueue>>();
  #members: ReadonlySet<string> = new Set();
  readonly #stopped = new AbortController();

  private constructor(options: HandOffOptions) {
    this.mode = options.mode;
    this.#options = options;
  }

  /** Opens the queues that are there and goes on with them. */
  static async open(options: HandOffOptions): Promise<HandOff> {
    const handOff = new HandOff(options);
    let names: string[] = [];
    try {
      names = await readdir(options.dir);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    for (const name of names) await handOff.#queue(decodeURIComponent(name));
    return handOff;
  }

  /** Only to members of the ring anything is sent; what waits for others is kept until it is too old. */
  setMembers(addresses: Iterable<string>): void {
    this.#members = new Set(addresses);
  }

  /** Whether a hint of this size would be kept; one that would not is counted as dropped. */
  hasRoom(address: string, bytes: number): boolean {
    const queue = this.#queues.get(address);
    if (queue === undefined || queue.queue.bytes + bytes <= this.#options.maxBytes) return true;
    this.#options.metrics.handOffDropped.inc({ peer: address, reason: "full" });
    return false;
  }

  /** Keeps what the peer is to get. False when some of it was dropped. */
  async add(
    address: string,
    hints: readonly { message: Uint8Array; series: number }[],
  ): Promise<boolean> {
    const { now, metrics, log } = this.#options;
    if (this.#stopped.signal.aborted) return false;
    let kept = true;
    try {
      const peer = await this.#queue(address);
      const timeMs = now();
      for (const hint of hints) {
        if (await peer.queue.push({ ...hint, timeMs }, this.mode === "quorum")) {
          metrics.handOffQueued.inc({ peer: address });
        } else kept = false;
      }
      peer.wake();
    } catch (error) {
      log.error("hand-off queue", { peer: address, err: errorText(error) });
      metrics.handOffDropped.inc({ peer: address, reason: "disk" }, hints.length);
      return false;
    }
    return kept;
  }

  /** Bytes that wait, by peer, and the age of the oldest hint in seconds. */
  depths(): { peer: string; bytes: number; ageSeconds: number }[] {
    const now = this.#options.now();
    return [...this.#queues].map(([peer, { queue }]) => {
      const { bytes, oldestMs } = queue;
      return { peer, bytes, ageSeconds: oldestMs === null ? 0 : (now - oldestMs) / 1000 };
    });
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#opening.values());
    for (const queue of this.#queues.values()) {
      queue.wake();
      await queue.running;
      if (queue.queue.isEmpty) await queue.queue.remove();
      else await queue.queue.close();
    }
    this.#queues.clear();
  }

  #queue(address: string): Promise<PeerQueue> {
    let opening = this.#opening.get(address);
    if (opening === undefined) {
      opening = this.#open(address);
      this.#opening.set(address, opening);
      opening.catch(() => this.#opening.delete(address));
    }
    return opening;
  }

  async #open(address: string): Promise<PeerQueue> {
    const { dir, maxBytes, maxMessageBytes, metrics, log } = this.#options;
    const queue = await HintQueue.open({
      dir: path.join(dir, encodeURIComponent(address)),
      maxBytes,
      maxMessageBytes,
      onDrop: (reason, hints) => {
        metrics.handOffDropped.inc({ peer: address, reason }, hints);
        if (reason === "torn")
          log.warn("a hand-off file is torn, the rest is given up", { peer: address });
      },
    });
    const peer = new PeerQueue(queue);
    this.#queues.set(address, peer);
    peer.running = this.#replay(address, peer);
    return peer;
  }

  async #replay(address: string, peer: PeerQueue): Promise<void> {
    const { peers, maxAgeMs, metrics, log, now } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      let hint: Hint | null = null;
      try {
        hint = await peer.queue.peek(now() - maxAgeMs);
      } catch (error) {
        log.error("read the hand-off queue", { peer: address, err: errorText(error) });
      }
      const isMember = this.#members.has(address);
      if (hint === null || !isMember || peers.get(address).refusal(0) !== undefined) {
        await peer.pause(LOOK_MS, signal);
        continue;
      }
      try {
        const failed = await peers.get(address).remoteWrite(hint.message, hint.series);
        metrics.handOffReplayed.inc({ peer: address });
        if (failed.length > 0) metrics.handOffRefused.inc({ peer: address }, failed.length);
        peer.queue.done();
      } catch (error) {
        if (isAway(error)) continue;
        // It answered, and will not take this one.
        log.warn("hand-off", { peer: address, err: errorText(error) });
        metrics.handOffRefused.inc({ peer: address }, hint.series);
        peer.queue.done();
      }
    }
  }
}

class PeerQueue {
  readonly queue: HintQueue;
  running: Promise<void> = Promise.resolve();
  #wake: () => void = () => undefined;

  constructor(queue: HintQueue) {
    this.queue = queue;
  }

  wake(): void {
    this.#wake();
  }

  /** Resolves after this time, or earlier when something was added. */
  pause(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
