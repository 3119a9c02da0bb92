/** Scrapes every component of the cluster at an interval and sends each scrape to a receiver. */

import type { ComponentPlan } from "./plan.ts";
import { RemoteWriter } from "./remote-write.ts";
import { Scraper } from "./scrape.ts";

export type FeedOptions = {
  components: readonly ComponentPlan[];
  intervalMs: number;
  now: () => number;
  /** Says something worth a line: writes begin to fail, another receiver takes them. */
  report: (line: string) => void;
};

export class Feed {
  readonly #options: FeedOptions;
  readonly #scrapers: readonly Scraper[];
  readonly #writer: RemoteWriter;
  #timer: NodeJS.Timeout | undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;
  #lastAddress = "";
  #lastFailure = "";

  constructor(options: FeedOptions) {
    const { components, intervalMs, now } = options;
    this.#options = options;
    const timeoutMs = Math.min(intervalMs, 5000);
    this.#scrapers = components.map(
      ({ command, http }) => new Scraper({ job: command, address: http }, timeoutMs, now),
    );
    const receivers = components.flatMap(({ remoteWrite }) => remoteWrite ?? []);
    this.#writer = new RemoteWriter(receivers, 5000);
  }

  /** Runs the first round now. Resolves when it is written, or was refused. */
  async start(): Promise<void> {
    this.#round = this.#run();
    await this.#round;
    if (this.#stopped) return;
    this.#timer = setInterval(() => {
      // One round at a time: a slow receiver makes rounds rarer, not many.
      this.#round = this.#round.then(() => this.#run());
    }, this.#options.intervalMs);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#round;
  }

  async #run(): Promise<void> {
    if (this.#stopped) return;
    const scrapes = await Promise.all(this.#scrapers.map((scraper) => scraper.scrape()));
    const { address, status, text } = await this.#writer.write(scrapes.flat());
    const failure = status >= 200 && status < 300 ? "" : `${status} ${text}`;
    if (failure !== "" && failure !== this.#lastFailure) {
      this.#options.report(`remote write to ${address} is refused: ${failure}`);
    } else if (failure === "" && this.#lastFailure !== "") {
      this.#options.report(`remote write to ${address} works again`);
    } else if (failure === "" && this.#lastAddress !== "" && address !== this.#lastAddress) {
      this.#options.report(
        `remote write goes to ${address} now, ${this.#lastAddress} did not answer`,
      );
    }
    this.#lastFailure = failure;
    if (failure === "") this.#lastAddress = address;
  }
}
