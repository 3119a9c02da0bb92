/**
 * The endpoints that a query node asks, kept up to date by their Info (Thanos, pkg/store and pkg/query/endpointset.go):
 * what they serve, which labels and times they have, whether they answer. Which endpoints there are may change.
 */

import type { Labels, Matcher } from "@torus/model";
import { decodeInfo, type EndpointInfo } from "@torus/protocol";
import { errorText, type GrpcClient, type Logger } from "@torus/server";
import type { ClientTls, EndpointSpec } from "./store-client.ts";

export type EndpointOptions = {
  connect: (spec: EndpointSpec) => GrpcClient;
  infoIntervalMs: number;
  infoTimeoutMs: number;
  /** An endpoint that last answered longer ago than this is no longer listed; it is still asked for its Info. */
  unhealthyTimeoutMs: number;
  now: () => number;
  log: Logger;
};

/** What one thread tells another of an endpoint. */
export type EndpointState = EndpointSpec &
  Pick<Endpoint, "info" | "lastError"> & {
    /** A connection of an earlier generation has old certificates. */
    generation: number;
  };

export class Endpoint {
  client: GrpcClient;
  readonly strict: boolean;
  readonly tls: ClientTls | null;
  generation = 0;
  /** What the last Info said; null before the first. */
  info: EndpointInfo | null = null;
  /** Why the last Info failed, "" when it did not. */
  lastError = "no Info yet";
  lastCheckMs = 0;
  /** When it last answered; before that, when it became known. */
  lastSeenMs = 0;

  readonly address: string;

  constructor(client: GrpcClient, { address, strict, tls }: EndpointSpec) {
    this.client = client;
    this.address = address;
    this.strict = strict;
    this.tls = tls;
  }

  get healthy(): boolean {
    return this.lastError === "";
  }

  get state(): EndpointState {
    const { address, strict, tls, info, lastError, generation } = this;
    return { address, strict, tls, info, lastError, generation };
  }
}

export class EndpointSet {
  #endpoints: readonly Endpoint[] = [];
  readonly #options: EndpointOptions;
  #timer: NodeJS.Timeout | undefined;
  #checking = false;
  #firstRound: Promise<void> = Promise.resolve();
  readonly #abort = new AbortController();

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  /** Those that are asked from now on. Known ones stay as they are; the first one named counts. */
  set(specs: readonly EndpointSpec[]): void {
    const before = new Map(this.#endpoints.map((endpoint) => [key(endpoint), endpoint]));
    const after = new Map<string, Endpoint>();
    const addresses = new Set<string>();
    for (const spec of specs) {
      if (addresses.has(spec.address)) continue;
      addresses.add(spec.address);
      const known = before.get(key(spec));
      const endpoint = known ?? new Endpoint(this.#options.connect(spec), spec);
      if (known === undefined) {
        endpoint.lastSeenMs = this.#options.now();
        if (this.#timer !== undefined) void this.#checkOne(endpoint);
      }
      after.set(key(spec), endpoint);
    }
    this.#endpoints = [...after.values()];
    for (const [name, endpoint] of before) if (!after.has(name)) endpoint.client.close();
  }

  /** New connections where there is TLS, because its files changed. @throws {ConfigError} */
  reconnect(): void {
    for (const endpoint of this.#endpoints) {
      if (endpoint.tls === null) continue;
      const before = endpoint.client;
      endpoint.client = this.#options.connect(endpoint);
      endpoint.generation++;
      before.close();
    }
  }

  /** Asks all for their Info, then again at every interval. Resolves after the first round. */
  async start(): Promise<void> {
    this.#firstRound = this.check();
    this.#timer = setInterval(() => {
      // A round that still runs covers this one too.
      if (this.#checking) return;
      this.#checking = true;
      void this.check().finally(() => {
        this.#checking = false;
      });
    }, this.#options.infoIntervalMs);
    await this.#firstRound;
  }

  async check(): Promise<void> {
    await Promise.all(this.#endpoints.map((endpoint) => this.#checkOne(endpoint)));
  }

  async #checkOne(endpoint: Endpoint): Promise<void> {
    const { infoTimeoutMs, now, log } = this.#options;
    const before = endpoint.lastError;
    try {
      const answer = await endpoint.client.unary("/thanos.info.Info/Info", new Uint8Array(0), {
        timeoutMs: infoTimeoutMs,
        signal: this.#abort.signal,
      });
      endpoint.info = decodeInfo(answer);
      endpoint.lastError = "";
      endpoint.lastSeenMs = now();
      if (before !== "") log.info("endpoint answers", { address: endpoint.address });
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      endpoint.lastError = errorText(error);
      if (before === "" || endpoint.lastCheckMs === 0) {
        log.warn("endpoint does not answer", { address: endpoint.address, err: error as Error });
      }
    } finally {
      endpoint.lastCheckMs = now();
    }
  }

  /**
   * Endpoints that an answer needs now, those among them that cannot be asked included: the fan-out tells of these.
   * One that is silent, also one that never answered, is needed until the unhealthy timeout has passed. Resolves when
   * the first round of Infos is over: before it, no endpoint's data is known.
   */
  async stores(): Promise<readonly Endpoint[]> {
    await this.#firstRound;
    return this.listed().filter(({ info }) => info === null || info.store !== null);
  }

  /** Endpoints that answered within the unhealthy timeout, and strict ones always. */
  listed(): readonly Endpoint[] {
    const since = this.#options.now() - this.#options.unhealthyTimeoutMs;
    return this.#endpoints.filter(
      ({ healthy, strict, lastSeenMs }) => healthy || strict || lastSeenMs > since,
    );
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#abort.abort();
    for (const { client } of this.#endpoints) client.close();
  }
}

function key({ address, strict, tls }: EndpointSpec): string {
  return JSON.stringify([address, strict, tls]);
}

/** What a node that takes samples gives as the end of its data. */
const OPEN_END = 2 ** 63 - 1;

/** Whether an endpoint can have series of this time range that pass the matchers; false lets it be left out. */
export function mayHave(
  info: EndpointInfo,
  mint: number,
  maxt: number,
  matchers: readonly Matcher[],
): boolean {
  const { store, labelSets } = info;
  if (store === null || mint > store.maxTime) return false;
  // Since its Info a node that takes samples may have its first ones, or those of a further tenant.
  const isOpen = store.maxTime >= OPEN_END;
  if (isOpen && labelSets.length === 0) return true;
  if (maxt < store.minTime) return false;
  if (isOpen || labelSets.length === 0) return true;
  return labelSets.some((labels) => !contradicts(labels, matchers));
}

function contradicts(labels: Labels, matchers: readonly Matcher[]): boolean {
  for (const matcher of matchers) {
    for (let i = 0; i < labels.length; i += 2) {
      if (labels[i] === matcher.name && !matcher.matches(labels[i + 1] as string)) return true;
    }
  }
  return false;
}
