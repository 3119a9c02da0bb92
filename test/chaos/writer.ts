/**
 * A sender like Prometheus' queue: a batch is one sample of each of its series, offered to one node after another
 * until one takes it. What was acknowledged and what was only sent is remembered for the check afterwards.
 */

import http from "node:http";
import { snappyEncode } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";
import type { Random } from "@torus/testkit";
import type { Receiver } from "./ring-of-processes.ts";

/** Attempts at a batch before the next is begun. */
const ATTEMPTS = 12;
const ATTEMPT_TIMEOUT_MS = 10_000;

export type Batch = {
  timeMs: number;
  acknowledged: boolean;
};

/** The value of a sample: whatever else is found under its series and time was never sent. */
export function valueOf(writer: number, series: number, timeMs: number): number {
  return ((timeMs % 1_000_003) + series * 7 + writer * 13) / 8;
}

export class ChaosWriter {
  readonly index: number;
  readonly seriesCount: number;
  readonly batches: Batch[] = [];
  /** ms from the first attempt to the acknowledgement. */
  readonly latenciesMs: number[] = [];
  /** Answers by status; 0 where there was none. */
  readonly statuses = new Map<number, number>();
  /** Answers of a kind that a correct sender must never get, with what they said. */
  readonly refusals: string[] = [];
  /** All answers but 2xx. */
  readonly failures: string[] = [];
  readonly #random: Random;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 2 });

  constructor(index: number, seriesCount: number, random: Random) {
    this.index = index;
    this.seriesCount = seriesCount;
    this.#random = random;
  }

  /** Sends a batch every `intervalMs` until it is told to end. */
  async run(receivers: readonly Receiver[], intervalMs: number, end: AbortSignal): Promise<void> {
    let due = Date.now();
    while (!end.aborted) {
      await this.#send(receivers);
      due = Math.max(due + intervalMs, Date.now() - intervalMs);
      await sleep(due - Date.now());
    }
    this.#agent.destroy();
  }

  async #send(receivers: readonly Receiver[]): Promise<void> {
    // No two batches share a time, so that a value's origin is certain.
    const timeMs = Math.max(Date.now(), (this.batches.at(-1)?.timeMs ?? 0) + 1);
    const batch: Batch = { timeMs, acknowledged: false };
    this.batches.push(batch);
    const body = snappyEncode(encodeWriteRequest(this.#series(timeMs)));
    const begin = performance.now();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const running = receivers.filter((receiver) => receiver.isRunning);
      if (running.length > 0) {
        const { status, text } = await this.#post(this.#random.pick(running).writeUrl, body);
        this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
        if (status >= 200 && status < 300) {
          batch.acknowledged = true;
          this.latenciesMs.push(performance.now() - begin);
          return;
        }
        if (status >= 300) this.failures.push(`${status} ${text}`);
        if (status >= 400 && status < 500 && status !== 429) {
          this.refusals.push(`${status} ${text}`);
        }
      }
      await sleep(50 * (attempt + 1));
    }
  }

  #series(timeMs: number) {
    return Array.from({ length: this.seriesCount }, (_, i) => ({
      labels: ["__name__", "chaos", "n", String(i), "writer", String(this.index)],
      timestamps: Float64Array.of(timeMs),
      values: Float64Array.of(valueOf(this.index, i, timeMs)),
    }));
  }

  #post(url: string, body: Uint8Array): Promise<{ status: number; text: string }> {
    return new Promise((resolve) => {
      const request = http.request(
        url,
        {
          agent: this.#agent,
          method: "POST",
          timeout: ATTEMPT_TIMEOUT_MS,
          headers: {
            "content-encoding": "snappy",
            "content-type": "application/x-protobuf",
            "x-prometheus-remote-write-version": "0.1.0",
            "content-length": body.length,
          },
        },
        (response) => {
          let text = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => {
            text += part;
          });
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
          response.on("error", () => resolve({ status: 0, text: "" }));
        },
      );
      request.on("timeout", () => request.destroy(new Error("timeout")));
      request.on("error", () => resolve({ status: 0, text: "" }));
      request.end(body);
    });
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
