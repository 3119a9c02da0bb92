/** Keeps an endpoint set at what the flags and the file name, and DNS makes of it. */

import { statSync } from "node:fs";
import { errorText, type Logger } from "@torus/server";
import type { EndpointSet, EndpointSpec } from "@torus/store";
import { type Dns, resolveEndpoint } from "./endpoint-addresses.ts";

export type EndpointSourceOptions = {
  endpoints: EndpointSet;
  dns: Dns;
  log: Logger;
};

export class EndpointSource {
  readonly #options: EndpointSourceOptions;
  #flags: readonly EndpointSpec[] = [];
  #file: readonly EndpointSpec[] = [];
  /** What each name was last. */
  readonly #known = new Map<string, string[]>();
  #tlsFiles = "";
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: EndpointSourceOptions) {
    this.#options = options;
  }

  /** Resolves when the set has them. @throws {ConfigError} when a file of their TLS cannot be read */
  setFlags(specs: readonly EndpointSpec[]): Promise<void> {
    this.#flags = specs;
    return this.refresh();
  }

  /** Likewise. */
  async setFile(specs: readonly EndpointSpec[]): Promise<void> {
    const before = this.#file;
    this.#file = specs;
    try {
      await this.refresh();
    } catch (error) {
      this.#file = before;
      throw error;
    }
  }

  /** Asks DNS for all names now. One that cannot be resolved stays what it was. */
  refresh(): Promise<void> {
    // One after the other, so that no older answer comes last; a failed one is its caller's.
    const next = this.#running.then(() => this.#refresh());
    this.#running = next.catch(() => undefined);
    return next;
  }

  async #refresh(): Promise<void> {
    const { endpoints, dns, log } = this.#options;
    const specs = [...this.#flags, ...this.#file];
    const lists = await Promise.all(
      specs.map(async (spec): Promise<EndpointSpec[]> => {
        const { address } = spec;
        try {
          this.#known.set(address, await resolveEndpoint(address, dns));
        } catch (error) {
          log.warn("resolve endpoint, keeping what it was", { address, err: errorText(error) });
        }
        // A name that nobody ever resolved is an endpoint that does not answer: queries tell of it.
        return (this.#known.get(address) ?? [address]).map((each) => ({ ...spec, address: each }));
      }),
    );
    for (const address of this.#known.keys()) {
      if (!specs.some((spec) => spec.address === address)) this.#known.delete(address);
    }
    endpoints.set(lists.flat());
    this.#followTls(specs);
  }

  /** Files of TLS that changed are read by new connections. */
  #followTls(specs: readonly EndpointSpec[]): void {
    const files = specs.flatMap(({ tls }) =>
      tls === null ? [] : [tls.caFile, tls.certFile, tls.keyFile],
    );
    const seen = [...new Set(files)].map((file) => {
      const stat = file === "" ? undefined : statSync(file, { throwIfNoEntry: false });
      return [file, stat?.mtimeMs, stat?.ino, stat?.size];
    });
    const text = JSON.stringify(seen);
    const isChanged = this.#tlsFiles !== "" && this.#tlsFiles !== text;
    this.#tlsFiles = text;
    if (!isChanged) return;
    try {
      this.#options.endpoints.reconnect();
      this.#options.log.info("applied new certificates of gRPC clients");
    } catch (error) {
      this.#options.log.error("new certificates of gRPC clients are invalid, keeping the last", {
        err: errorText(error),
      });
    }
  }

  /** Refreshes from now on. */
  start(intervalMs: number): void {
    this.#timer = setInterval(() => {
      this.refresh().catch((error: unknown) => {
        this.#options.log.error("refresh endpoints", { err: errorText(error) });
      });
    }, intervalMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }
}
