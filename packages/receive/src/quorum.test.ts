import fc from "fast-check";
import { expect, test } from "vitest";
import { CAUSES, Cause } from "./cause.ts";
import { WriteDecision, writeQuorum } from "./quorum.ts";

test.each([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 3],
  [5, 3],
])("of %i copies %i must be stored", (copies, quorum) => expect(writeQuorum(copies)).toBe(quorum));

const settled = (decision: WriteDecision) =>
  Promise.race([
    decision.decided.then(() => true),
    new Promise<boolean>((resolve) => {
      setImmediate(() => resolve(false));
    }),
  ]);

const anyRequest = fc.integer({ min: 1, max: 5 }).chain((copies) =>
  fc.record({
    copies: fc.constant(copies),
    outcomes: fc.array(
      fc.array(fc.integer({ min: 0, max: CAUSES - 1 }), { minLength: copies, maxLength: copies }),
      { minLength: 1, maxLength: 6 },
    ),
    order: fc.infiniteStream(fc.nat()),
  }),
);

test("whatever the order of answers, a series is stored exactly when a quorum stored it", async () => {
  await fc.assert(
    fc.asyncProperty(anyRequest, async ({ copies, outcomes, order }) => {
      const quorum = writeQuorum(copies);
      const decision = new WriteDecision(outcomes.length, copies, quorum);
      const events = outcomes.flatMap((causes, index) => causes.map((cause) => ({ index, cause })));
      while (events.length > 0) {
        const [next] = events.splice((order.next().value ?? 0) % events.length, 1);
        if (next !== undefined) decision.count(next.index, next.cause as Cause);
      }
      expect(await settled(decision)).toBe(true);
      for (const [index, causes] of outcomes.entries()) {
        const stored = causes.filter((cause) => cause === Cause.STORED).length;
        expect(decision.verdict(index) === Cause.STORED).toBe(stored >= quorum);
      }
      const failed = outcomes.some((_, index) => decision.verdict(index) !== Cause.STORED);
      expect(decision.outcome().cause !== Cause.STORED).toBe(failed);
    }),
  );
});

test("a series is decided as soon as a quorum stored it, and not before", async () => {
  const decision = new WriteDecision(1, 3, 2);
  decision.count(0, Cause.STORED);
  expect(await settled(decision)).toBe(false);
  decision.count(0, Cause.STORED);
  expect(await settled(decision)).toBe(true);
  decision.count(0, Cause.UNAVAILABLE);
  expect(decision.outcome().cause).toBe(Cause.STORED);
});

test("a conflict that a quorum confirms wins over another series' absent owners", () => {
  const decision = new WriteDecision(2, 3, 2);
  for (const cause of [Cause.CONFLICT, Cause.CONFLICT]) decision.count(0, cause);
  for (const cause of [Cause.UNAVAILABLE, Cause.UNAVAILABLE]) decision.count(1, cause);
  expect(decision.outcome().cause).toBe(Cause.CONFLICT);
});

test("a conflict of one owner and absence of another is undecided: send again", () => {
  const decision = new WriteDecision(1, 3, 2);
  decision.count(0, Cause.CONFLICT);
  decision.count(0, Cause.UNAVAILABLE);
  expect(decision.outcome().cause).toBe(Cause.UNAVAILABLE);
});

test("samples that an owner refused are not counted as written, those of lost series neither", () => {
  const decision = new WriteDecision(3, 3, 2);
  for (const refused of [1, 2]) {
    decision.noteRefused(0, refused);
    decision.count(0, Cause.CONFLICT);
  }
  for (const cause of [Cause.STORED, Cause.STORED]) decision.count(1, cause);
  for (const cause of [Cause.UNAVAILABLE, Cause.INTERNAL]) decision.count(2, cause);
  const written = decision.written({
    floats: Uint32Array.of(5, 7, 9),
    histograms: Uint32Array.of(0, 2, 0),
    exemplars: Uint32Array.of(1, 4, 2),
  });
  expect(written).toEqual({ samples: 3 + 7, histograms: 2, exemplars: 4 });
});
