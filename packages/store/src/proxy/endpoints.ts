/**
 * The endpoints that a query node asks, kept up to date by their Info (Thanos, pkg/store and pkg/query/endpointset.go): what they serve, which
 * labels and times they have, whether they answer.
 */

import type { Labels, Matcher } from "@torus/model";
import { decodeInfo, type EndpointInfo } from "@torus/protocol";
import { errorText, type GrpcClient, type Logger } from "@torus/server";

export type EndpointOptions = {
  infoIntervalMs: number;
  infoTimeoutMs: number;
  /** An endpoint that last answered longer ago than this is no longer listed; it is still asked for its Info. */
  unhealthyTimeoutMs: number;
  now: () => number;
  log: Logger;
};

/** What one thread tells another of an endpoint. */
export type EndpointState = Pick<Endpoint, "address" | "strict" | "info" | "lastError">;

export class Endpoint {
  readonly client: GrpcClient;
  /** Asked also while its Info fails. */
  readonly strict: boolean;
  /** What the last Info said; null before the first. */
  info: EndpointInfo | null = null;
  /** Why the last Info failed, "" when it did not. */
  lastError = "no Info yet";
  lastCheckMs = 0;
  lastHealthyMs = 0;

  constructor(client: GrpcClient, strict: boolean) {
    this.client = client;
    this.strict = strict;
  }

  get address(): string {
    return this.client.address;
  }

  get healthy(): boolean {
    return this.lastError === "";
  }

  get state(): EndpointState {
    const { address, strict, info, lastError } = this;
    return { address, strict, info, lastError };
  }
}

export class EndpointSet {
  readonly endpoints: readonly Endpoint[];
  readonly #options: EndpointOptions;
  #timer: NodeJS.Timeout | undefined;
  #checking = false;
  readonly #abort = new AbortController();

  constructor(endpoints: readonly Endpoint[], options: EndpointOptions) {
    this.endpoints = endpoints;
    this.#options = options;
  }

  /** Asks all for their Info, then again at every interval. Resolves after the first round. */
  async start(): Promise<void> {
    await this.check();
    this.#timer = setInterval(() => {
      // A round that still runs covers this one too.
      if (this.#checking) return;
      this.#checking = true;
      void this.check().finally(() => {
        this.#checking = false;
      });
    }, this.#options.infoIntervalMs);
  }

  async check(): Promise<void> {
    await Promise.all(this.endpoints.map((endpoint) => this.#checkOne(endpoint)));
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
      endpoint.lastHealthyMs = now();
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
   * One that never answered is needed only when it is strict; one that fell silent is until the unhealthy timeout.
   */
  stores(): Endpoint[] {
    const since = this.#options.now() - this.#options.unhealthyTimeoutMs;
    return this.endpoints.filter(({ info, healthy, strict, lastHealthyMs }) => {
      if (info === null) return strict;
      return info.store !== null && (healthy || strict || lastHealthyMs >= since);
    });
  }

  /** Endpoints to be shown: those that answered within the unhealthy timeout, and strict ones always. */
  listed(): Endpoint[] {
    const since = this.#options.now() - this.#options.unhealthyTimeoutMs;
    return this.endpoints.filter(({ strict, lastHealthyMs }) => strict || lastHealthyMs >= since);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#abort.abort();
    for (const { client } of this.endpoints) client.close();
  }
}

/** Whether an endpoint can have series of this time range that pass the matchers; false lets it be left out. */
export function mayHave(
  info: EndpointInfo,
  mint: number,
  maxt: number,
  matchers: readonly Matcher[],
): boolean {
  const { store } = info;
  if (store === null || mint > store.maxTime || maxt < store.minTime) return false;
  if (info.labelSets.length === 0) return true;
  return info.labelSets.some((labels) => !contradicts(labels, matchers));
}

function contradicts(labels: Labels, matchers: readonly Matcher[]): boolean {
  for (const matcher of matchers) {
    for (let i = 0; i < labels.length; i += 2) {
      if (labels[i] === matcher.name && !matcher.matches(labels[i + 1] as string)) return true;
    }
  }
  return false;
}
