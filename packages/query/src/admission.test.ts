import fc from "fast-check";
import { expect, test } from "vitest";
import { Admission } from "./admission.ts";

const never = () => new AbortController().signal;

/** Lets everything that can go on without us go on. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

test("never do more run than the limit, whenever the next ones come, and all get their turn", () =>
  fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.nat(6), { minLength: 1, maxLength: 20 }),
      async (limit, lengths) => {
        const admission = new Admission(limit);
        let running = 0;
        let most = 0;
        let ended = 0;
        const query = (turns: number) => async () => {
          most = Math.max(most, ++running);
          for (let i = 0; i < turns; i++) await Promise.resolve();
          running--;
          ended++;
        };
        // Each asks again as soon as it is answered: the moment at which a place is free.
        await Promise.all(
          lengths.map(async (turns) => {
            await admission.run(never(), query(turns));
            await admission.run(never(), query(turns));
          }),
        );
        expect(most).toBeLessThanOrEqual(limit);
        expect(ended).toBe(lengths.length * 2);
        expect([admission.running, admission.waiting]).toEqual([0, 0]);
      },
    ),
  ));

test("a query that fails gives its place to the next one", async () => {
  const admission = new Admission(1);
  const failing = admission.run(never(), () => Promise.reject(new Error("no")));
  const next = admission.run(never(), () => Promise.resolve("yes"));
  await expect(failing).rejects.toThrow("no");
  await expect(next).resolves.toBe("yes");
  expect(admission.running).toBe(0);
});

test("whoever leaves the queue, or comes to it having left, does not run", async () => {
  const admission = new Admission(1);
  let finish: () => void = () => undefined;
  const first = admission.run(never(), () => new Promise<void>((resolve) => (finish = resolve)));
  const controller = new AbortController();
  let ran = 0;
  const count = () => Promise.resolve(ran++);
  const leaver = admission.run(controller.signal, count);
  const last = admission.run(never(), count);
  await settle();
  expect(admission.waiting).toBe(2);
  controller.abort();
  await expect(leaver).rejects.toThrow("query was canceled in the queue");
  await expect(admission.run(controller.signal, count)).rejects.toThrow("canceled");
  finish();
  await Promise.all([first, last]);
  expect(ran).toBe(1);
});

test("above the queue's bound a query is refused with the figures", async () => {
  const admission = new Admission(1);
  let finish: () => void = () => undefined;
  const first = admission.run(never(), () => new Promise<void>((resolve) => (finish = resolve)));
  const waiting = Array.from({ length: 25 }, () => admission.run(never(), () => Promise.resolve()));
  await expect(admission.run(never(), () => Promise.resolve())).rejects.toThrow(
    "too many queries: 1 run and 25 wait",
  );
  finish();
  await Promise.all([first, ...waiting]);
});
