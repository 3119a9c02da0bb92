/** Runs something again and again, with a pause between the end of one round and the start of the next. */

export type Loop = {
  /** Ends the round under way by its signal, and resolves when it ended. */
  stop(): Promise<void>;
};

/**
 * @param round Its errors are its own to report; one that is thrown is given to `onError`.
 * @param pauseMs The first round starts at once.
 */
export function startLoop(
  round: (signal: AbortSignal) => Promise<void>,
  pauseMs: number,
  onError: (error: unknown) => void,
): Loop {
  const controller = new AbortController();
  const { signal } = controller;
  const run = async () => {
    while (!signal.aborted) {
      try {
        await round(signal);
      } catch (error) {
        if (!signal.aborted) onError(error);
      }
      await pause(pauseMs, signal);
    }
  };
  const running = run();
  return {
    async stop() {
      controller.abort();
      await running;
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}
