import fc from "fast-check";
import { expect, test } from "vitest";
import { type Exemplar, Exemplars } from "./exemplars.ts";

const bits = (value: number) => new BigUint64Array(Float64Array.of(value).buffer)[0] as bigint;

/** The same in plain lists: all exemplars in the order in which they came. */
class Model {
  all: (Exemplar & { ref: number })[] = [];
  readonly #max: number;
  /** Places of forgotten series: they are taken in their turn. */
  #holes: (typeof this.all)[0][] = [];

  constructor(max: number) {
    this.#max = max;
  }

  of(ref: number): Exemplar[] {
    return this.all
      .filter((each) => each.ref === ref && !this.#holes.includes(each))
      .map(({ time, value, labels }) => ({ time, value, labels }));
  }

  add(ref: number, exemplar: Exemplar): string {
    const known = this.of(ref);
    const isSame = (each: Exemplar) =>
      each.time === exemplar.time &&
      each.value === exemplar.value &&
      each.labels.join() === exemplar.labels.join();
    if (known.some(isSame)) return "duplicate";
    const last = known.at(-1);
    if (last !== undefined) {
      if (exemplar.time < last.time) return "out of order";
      if (exemplar.time === last.time && exemplar.value < last.value) return "out of order";
    }
    this.all.push({ ref, ...exemplar });
    if (this.all.length > this.#max) this.all.shift();
    return "stored";
  }

  forget(ref: number): void {
    this.#holes.push(...this.all.filter((each) => each.ref === ref));
  }
}

const step = fc.record({
  ref: fc.integer({ min: 1, max: 4 }),
  time: fc.nat(12),
  value: fc.nat(2),
  trace: fc.constantFrom("a", "b"),
  forgets: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});

test("the circle holds the newest exemplars, whatever comes, repeats or goes", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.array(step, { maxLength: 60 }), (max, steps) => {
      const circle = new Exemplars(max);
      const model = new Model(max);
      for (const { ref, time, value, trace, forgets } of steps) {
        if (forgets) {
          circle.forget(ref);
          model.forget(ref);
          continue;
        }
        const exemplar = { time, value: bits(value), labels: ["trace_id", trace] };
        const verdict = circle.judge(ref, exemplar);
        if (verdict === "stored") circle.add(ref, exemplar);
        expect(verdict).toBe(model.add(ref, exemplar));
      }
      for (let ref = 1; ref <= 4; ref++) {
        expect(circle.of(ref, 0, 100)).toEqual(model.of(ref));
        expect(circle.of(ref, 3, 5)).toEqual(
          model.of(ref).filter(({ time }) => time >= 3 && time <= 5),
        );
      }
      const refs = new Set([1, 2, 3, 4].filter((ref) => model.of(ref).length > 0));
      expect(new Set(circle.refs())).toEqual(refs);
      expect(circle.count).toBeLessThanOrEqual(max);
    }),
    { numRuns: 2000 },
  );
});

test("labels of 128 characters are taken, longer ones not, however many bytes those are", () => {
  const circle = new Exemplars(4);
  const of = (value: string) => ({ time: 1, value: 0n, labels: ["trace_id", value] });
  expect(circle.judge(1, of("\u{1f600}".repeat(120)))).toBe("stored");
  expect(circle.judge(1, of("x".repeat(121)))).toBe("too long");
});

test("a circle of none keeps none", () => {
  const circle = new Exemplars(0);
  circle.add(1, { time: 1, value: 0n, labels: [] });
  expect(circle.count).toBe(0);
  expect(circle.of(1, 0, 9)).toEqual([]);
});
