/**
 * Holds tenants to their limits. Rates are token buckets of one second's worth, which a single request may overdraw
 * when the bucket is full, so that a request larger than a second's worth is slow and not impossible.
 */

import type { LabelLimits } from "./edge/label-limits.ts";
import { Limits, type TenantLimits } from "./limits.ts";
import type { ReceiveMetrics } from "./metrics.ts";
import type { Tenants } from "./tenants.ts";

/** One of a tenant's limits is reached. */
export class LimitError extends Error {
  readonly status: 413 | 429;
  readonly retryAfterSeconds: number;
  constructor(status: 413 | 429, message: string, retryAfterSeconds = 0) {
    super(message);
    this.name = "LimitError";
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

type Bucket = {
  tokens: number;
  /** Milliseconds, when there were so many. */
  at: number;
  /**
   * Until when nothing is taken: the request that was refused first would have room then. Smaller ones do not keep it
   * out, and those that come before are refused by their headers.
   */
  closedUntil: number;
};

/** Tenants come from the wire: buckets that are full again say nothing, and are dropped above this number. */
const MOST_BUCKETS = 10_000;

export class Limiter {
  readonly #metrics: ReceiveMetrics;
  readonly #now: () => number;
  readonly #buckets = new Map<string, Bucket>();
  #limits = new Limits();

  constructor(metrics: ReceiveMetrics, now: () => number) {
    this.#metrics = metrics;
    this.#now = now;
  }

  get maxConcurrency(): number {
    return this.#limits.maxConcurrency;
  }

  of(tenant: string): TenantLimits {
    return this.#limits.of(tenant);
  }

  /** Null where the tenant has none. */
  labelLimits(tenant: string): LabelLimits | null {
    const { labels } = this.of(tenant);
    return labels.count + labels.nameLength + labels.valueLength > 0 ? labels : null;
  }

  apply(limits: Limits, tenants: Tenants | null): void {
    this.#limits = limits;
    this.#buckets.clear();
    tenants?.applyLimits();
    const { writeLimits, headSeriesLimit } = this.#metrics;
    writeLimits.reset();
    headSeriesLimit.reset();
    for (const [tenant, each] of [["", limits.default] as const, ...limits.tenants]) {
      writeLimits.set({ tenant, limit: "body_size" }, each.sizeBytes);
      writeLimits.set({ tenant, limit: "series" }, each.series);
      writeLimits.set({ tenant, limit: "samples" }, each.samples);
      headSeriesLimit.set({ tenant }, each.headSeries);
    }
  }

  /** Before the body is read, and again when its decoded length is known. @throws {LimitError} 413 */
  checkSize(tenant: string, bytes: number): void {
    const { sizeBytes } = this.of(tenant);
    if (sizeBytes > 0 && bytes > sizeBytes) this.#refuse(tenant, "body_size", bytes, sizeBytes);
  }

  /** @throws {LimitError} 413 */
  checkContent(tenant: string, series: number, samples: number): void {
    const limits = this.of(tenant);
    if (limits.series > 0 && series > limits.series) {
      this.#refuse(tenant, "series", series, limits.series);
    }
    if (limits.samples > 0 && samples > limits.samples) {
      this.#refuse(tenant, "samples", samples, limits.samples);
    }
  }

  /** @throws {LimitError} 429 with the time after which there is room again. */
  takeRate(tenant: string, kind: "samples" | "bytes", amount: number): void {
    const tokens = this.checkRate(tenant, kind, amount);
    if (tokens === Number.POSITIVE_INFINITY) return;
    this.#buckets.set(`${kind} ${tenant}`, {
      tokens: tokens - amount,
      at: this.#now(),
      closedUntil: 0,
    });
    if (this.#buckets.size > MOST_BUCKETS) {
      const [oldest] = this.#buckets.keys();
      this.#buckets.delete(oldest as string);
    }
  }

  /**
   * Takes nothing: what can be refused before a body is read, is.
   *
   * @returns What there is to take.
   * @throws {LimitError} 429
   */
  checkRate(tenant: string, kind: "samples" | "bytes", amount: number): number {
    const limits = this.of(tenant);
    const perSecond = kind === "samples" ? limits.samplesPerSecond : limits.bytesPerSecond;
    if (perSecond === 0) return Number.POSITIVE_INFINITY;
    const now = this.#now();
    const last = this.#buckets.get(`${kind} ${tenant}`);
    const refilled =
      last === undefined ? perSecond : last.tokens + ((now - last.at) / 1000) * perSecond;
    const tokens = Math.min(perSecond, refilled);
    const isClosed = last !== undefined && now < last.closedUntil;
    if (last !== undefined && (isClosed || (amount > tokens && tokens < perSecond))) {
      if (!isClosed) {
        last.closedUntil = now + ((Math.min(amount, perSecond) - tokens) / perSecond) * 1000;
      }
      const wait = Math.ceil((last.closedUntil - now) / 1000);
      this.#metrics.rateLimited.inc({ tenant, limit: `${kind}_per_second` });
      const text = `limit of ${perSecond} ${kind} per second is reached`;
      throw new LimitError(429, `tenant ${tenant}: ${text}`, Math.max(1, wait));
    }
    return tokens;
  }

  #refuse(tenant: string, limit: string, value: number, most: number): never {
    this.#metrics.limitsHit.observe({ tenant, limit }, value - most);
    throw new LimitError(
      413,
      `tenant ${tenant}: ${limit} of ${value} is over the limit of ${most}`,
    );
  }
}
