/**
 * Whether the process is alive and whether it should be given work. A process starts as "starting"; what makes
 * it unready has a reason, which `/-/ready` and the gRPC health service tell.
 */

import { Gauge, type Registry } from "prom-client";

export class Probe {
  #reason: string | undefined = "starting";
  #held = false;
  readonly #listeners = new Set<() => void>();
  readonly #status: Gauge;

  constructor(metrics: Registry) {
    this.#status = new Gauge({
      name: "thanos_status",
      help: "Represents status (0 indicates failure, 1 indicates success) of the component.",
      labelNames: ["check"],
      registers: [metrics],
    });
    this.#status.set({ check: "healthy" }, 1);
    this.#status.set({ check: "ready" }, 0);
  }

  get isReady(): boolean {
    return this.#reason === undefined;
  }

  /** "" when ready. */
  get reason(): string {
    return this.#reason ?? "";
  }

  /** True until the first `ready` or `notReady`. */
  get isStarting(): boolean {
    return !this.#held;
  }

  ready(): void {
    this.#set(undefined);
  }

  notReady(reason: string): void {
    this.#set(reason);
  }

  /** Calls back after each change; returns the function that ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #set(reason: string | undefined): void {
    this.#held = true;
    this.#reason = reason;
    this.#status.set({ check: "ready" }, reason === undefined ? 1 : 0);
    for (const listener of this.#listeners) listener();
  }
}
