/**
 * Starts and stops the parts of a process in order. Parts are added as they start; they stop one after the other
 * in the reverse order, so that a part may use, while it stops, everything that was there before it.
 */

import { errorText, type Logger } from "./log.ts";

export type Part = {
  /** Resolves when nothing of the part is left running. An error is logged; the next part is stopped all the same. */
  stop: () => void | Promise<void>;
};

export class Lifecycle {
  readonly #log: Logger;
  readonly #parts: { name: string; part: Part }[] = [];
  readonly #abort = new AbortController();
  #stopping: Promise<boolean> | undefined;
  #reason: Error | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Aborted when the process begins to stop. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** A part that is running now. After the stop has begun, it is stopped at once. */
  add(name: string, part: Part): void {
    if (this.#stopping !== undefined) void this.#stopPart(name, part);
    else this.#parts.push({ name, part });
  }

  /** A part cannot go on: the process stops and ends with status 1. */
  fail(error: Error): void {
    this.#reason ??= error;
    this.#log.error("a part of the process failed", { err: error });
    this.#abort.abort();
  }

  /** Begins the stop, as a signal does. */
  requestStop(): void {
    this.#abort.abort();
  }

  /** Resolves when the process is told to stop. @throws what `fail` was given */
  async stopRequested(): Promise<void> {
    if (!this.#abort.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#abort.signal.addEventListener("abort", () => resolve(), { once: true });
      });
    }
    if (this.#reason !== undefined) throw this.#reason;
  }

  /** Stops all parts, once. Resolves with false when one of them threw. */
  stop(): Promise<boolean> {
    this.#abort.abort();
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<boolean> {
    let clean = true;
    // Not a copy: #parts is no longer added to once #stopping is set, and stop() sets it before this runs on.
    for (const { name, part } of this.#parts.reverse()) {
      clean = (await this.#stopPart(name, part)) && clean;
    }
    return clean;
  }

  async #stopPart(name: string, part: Part): Promise<boolean> {
    try {
      await part.stop();
      this.#log.debug("stopped", { part: name });
      return true;
    } catch (error) {
      this.#log.error("stop", { part: name, err: errorText(error) });
      return false;
    }
  }
}

/** SIGTERM or SIGINT asks for a stop; a second one ends the process at once. Returns what takes the handlers away. */
export function stopOnSignals(lifecycle: Lifecycle, log: Logger): () => void {
  return onStopSignals(
    (name) => {
      log.info("caught signal, stopping", { signal: name });
      lifecycle.requestStop();
    },
    (name) => log.warn("second signal, ending without waiting", { signal: name }),
  );
}

/** npm and npx pass Ctrl-C on to a child that the terminal has told already: so soon, two signals are one. */
const SAME_SIGNAL_MS = 500;

/**
 * Calls `first` once, and at a later signal `second`, after which the process ends with the status that a shell
 * expects. Returns the function that takes the handlers away.
 */
export function onStopSignals(
  first: (name: NodeJS.Signals) => void,
  second: (name: NodeJS.Signals) => void,
): () => void {
  let firstAt: number | undefined;
  const onSignal = (name: NodeJS.Signals) => {
    if (firstAt === undefined) {
      firstAt = performance.now();
      first(name);
    } else if (performance.now() - firstAt > SAME_SIGNAL_MS) {
      second(name);
      process.exit(name === "SIGINT" ? 130 : 143);
    }
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return () => {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  };
}
