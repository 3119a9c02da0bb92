import { expect, test } from "vitest";
import { startLoop } from "./loop.ts";

test("rounds follow each other, an error is reported and is not the last", async () => {
  const errors: unknown[] = [];
  let rounds = 0;
  await new Promise<void>((resolve) => {
    const loop = startLoop(
      async () => {
        rounds++;
        if (rounds === 1) throw new Error("first");
        if (rounds === 3) void loop.stop().then(resolve);
      },
      1,
      (error) => errors.push(error),
    );
  });
  expect(rounds).toBe(3);
  expect(errors).toEqual([new Error("first")]);
});

test("stop ends the round under way by its signal, and waits for its end", async () => {
  let ended = false;
  const errors: unknown[] = [];
  const loop = startLoop(
    async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      ended = true;
      signal.throwIfAborted();
    },
    60_000,
    (error) => errors.push(error),
  );
  await loop.stop();
  expect(ended).toBe(true);
  expect(errors).toEqual([]);
});

test("stop during the pause does not wait for its end", async () => {
  let stop: (() => void) | undefined;
  const first = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const loop = startLoop(
    async () => stop?.(),
    3_600_000,
    () => undefined,
  );
  await first;
  await loop.stop();
  expect(stop).toBeDefined();
});
