/**
 * The hashring of a running receiver: from the file, watched and polled, or given inline. A new one is built and
 * validated before it replaces the old; an invalid one is counted and the old stays.
 */

import { createHash } from "node:crypto";
import { Hashring, parseHashringsFile } from "@torus/hashring";
import {
  ConfigError,
  type ConfigSource,
  type Logger,
  readConfig,
  watchConfig,
} from "@torus/server";
import type { ReceiveMetrics } from "./metrics.ts";

export type RingSourceOptions = {
  source: ConfigSource;
  algorithm: string;
  replicationFactor: number;
  refreshMs: number;
  metrics: ReceiveMetrics;
  log: Logger;
  now: () => number;
  /** Called with each new ring, the first one included. */
  onRing: (ring: Hashring) => void;
};

export class RingSource {
  readonly #options: RingSourceOptions;
  #ring: Hashring | undefined;
  #watch: ReturnType<typeof watchConfig> | undefined;

  private constructor(options: RingSourceOptions) {
    this.#options = options;
  }

  /**
   * @returns Null when neither a file nor a text is given: an ingestor.
   * @throws {ConfigError} when there is no valid ring to start with.
   */
  static async open(options: RingSourceOptions): Promise<RingSource | null> {
    const { source, metrics, refreshMs, log } = options;
    const text = await readConfig("receive.hashrings", source);
    if (text === undefined) return null;
    const ring = new RingSource(options);
    try {
      ring.#apply(text);
    } catch (error) {
      throw new ConfigError("hashring configuration", { cause: error });
    }
    if (source.file !== "") {
      ring.#watch = watchConfig(text, {
        file: source.file,
        refreshMs,
        log,
        apply: (next) => ring.#apply(next),
        onResult: (result) => {
          metrics.fileRefreshes.inc();
          if (result === "applied") metrics.fileChanges.inc();
          else {
            metrics.fileErrors.inc();
            metrics.configReloadSuccessful.set(0);
          }
        },
      });
    }
    return ring;
  }

  get current(): Hashring | undefined {
    return this.#ring;
  }

  /** Looks at the file now. */
  async check(): Promise<void> {
    await this.#watch?.check();
  }

  async stop(): Promise<void> {
    await this.#watch?.stop();
  }

  /** @throws {HashringConfigError | HashringBuildError} */
  #apply(text: string): void {
    const { algorithm, replicationFactor, metrics, now, onRing } = this.#options;
    const ring = new Hashring(parseHashringsFile(text), { algorithm, replicationFactor });
    ring.validate();
    this.#ring = ring;
    metrics.configHash.set(configHash(text));
    metrics.configReloadSuccessful.set(1);
    metrics.configReloadTime.set(now() / 1000);
    metrics.ringNodes.reset();
    metrics.ringTenants.reset();
    for (const { hashring, endpoints, tenants } of ring.configs) {
      metrics.ringNodes.set({ name: hashring }, endpoints.length);
      metrics.ringTenants.set({ name: hashring }, tenants.length);
    }
    onRing(ring);
  }
}

/** The first 48 bits of the SHA-256, little endian: what a float64 holds whole. */
export function configHash(text: string): number {
  return createHash("sha256").update(text).digest().readUIntLE(0, 6);
}
