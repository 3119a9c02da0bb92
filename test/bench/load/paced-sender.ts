/**
 * Sends requests at the times of a schedule, whether the ones before were answered or not, and remembers how long each
 * took and what was answered: a sender that waited for answers would send less to a server that is slow.
 */

import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { snappyEncode } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";

export type Tally = {
  latenciesMs: number[];
  /** Answers by status; 0 for connections that were lost. */
  statuses: Map<number, number>;
};

/**
 * `steady`: gaps of a half to one and a half of the mean, so that senders do not fall into step. `bursts`: all requests
 * of a tenth of a second at once, on the clock's tenths, where those of every other sender are too.
 */
export type Rhythm = "steady" | "bursts";

export type Load = {
  urls: readonly string[];
  tenant: string;
  perSecond: number;
  rhythm: Rhythm;
  /** Milliseconds. */
  durationMs: number;
  next: () => Uint8Array;
  /** Of a request that was taken. */
  onTaken?: () => void;
};

const BURST_MS = 100;
/** Requests that may be without an answer; the schedule waits beyond. */
const MOST_OPEN = 2000;

const agent = new http.Agent({ keepAlive: true });

export function newTally(): Tally {
  return { latenciesMs: [], statuses: new Map() };
}

/** Resolves when every request has its answer. */
export async function sendPaced(load: Load): Promise<Tally> {
  const tally = newTally();
  const { urls, tenant, perSecond, rhythm, durationMs, next, onTaken } = load;
  const end = Date.now() + durationMs;
  const open = new Set<Promise<void>>();
  let turn = 0;
  const one = async () => {
    const url = urls[turn++ % urls.length] as string;
    const started = performance.now();
    const status = await post(url, tenant, next());
    tally.latenciesMs.push(performance.now() - started);
    tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1);
    if (status >= 200 && status < 300) onTaken?.();
  };
  const [gap, count] =
    rhythm === "bursts"
      ? [() => BURST_MS - (Date.now() % BURST_MS), Math.round((perSecond * BURST_MS) / 1000)]
      : [() => (1000 / perSecond) * (0.5 + Math.random()), 1];
  for (let at = Date.now() + gap(); at < end; at += gap()) {
    await sleep(Math.max(0, at - Date.now()));
    for (let i = 0; i < count && open.size < MOST_OPEN; i++) {
      const sent = one().finally(() => open.delete(sent));
      open.add(sent);
    }
    if (rhythm === "bursts") at = Math.max(at, Date.now());
  }
  await Promise.all(open);
  return tally;
}

export function closeConnections(): void {
  agent.destroy();
}

export function quantile(latencies: readonly number[], q: number): number {
  const sorted = latencies.toSorted((x, y) => x - y);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The same series in every body, each one millisecond later than in the last. */
export class Bodies {
  readonly #series: string[][];
  #time: number;

  constructor(count: number, start: number) {
    this.#time = start;
    this.#series = Array.from({ length: count }, (_, i) => [
      "__name__",
      "requests_total",
      "instance",
      `host-${i % 50}`,
      "path",
      `/p/${i}`,
    ]);
  }

  make(count: number): Uint8Array[] {
    return Array.from({ length: count }, () => {
      this.#time++;
      const timestamps = Float64Array.of(this.#time);
      const series = this.#series.map((labels, i) => ({
        labels,
        timestamps,
        values: Float64Array.of(i),
      }));
      return snappyEncode(encodeWriteRequest(series));
    });
  }
}

function post(url: string, tenant: string, body: Uint8Array): Promise<number> {
  return new Promise((resolve) => {
    const request = http.request(url, {
      method: "POST",
      agent,
      headers: {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "content-length": body.length,
        "thanos-tenant": tenant,
      },
    });
    request.on("response", (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", () => resolve(0));
    request.end(body);
  });
}
