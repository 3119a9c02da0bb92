import { EMPTY_LABELS } from "@torus/model";
import fc from "fast-check";
import { expect, test } from "vitest";
import { newColumn } from "../column.ts";
import { quantileOf, sortedNanFirst } from "../sums.ts";
import { rangeKernels, type Windows } from "./range.ts";

const sample = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  fc.constantFrom(Number.NaN, Infinity, -Infinity, 0.5),
);

/** A series with windows that slide, overlap or leave samples out. */
const series = fc.record({
  values: fc.array(sample, { maxLength: 40 }),
  widths: fc.array(fc.tuple(fc.nat(6), fc.nat(12)), { minLength: 1, maxLength: 12 }),
});

function windowsOf(values: readonly number[], widths: readonly [number, number][]): Windows {
  const lo = new Int32Array(widths.length);
  const hi = new Int32Array(widths.length);
  let from = 0;
  let to = 0;
  widths.forEach(([forward, ahead], i) => {
    from = Math.min(values.length, from + forward);
    to = Math.min(values.length, Math.max(to, from + ahead));
    lo[i] = from;
    hi[i] = to;
  });
  return {
    timestamps: Float64Array.from(values, (_, i) => i * 1000),
    values: Float64Array.from(values),
    histograms: null,
    startTimestamps: null,
    lo,
    hi,
    ends: Float64Array.from(widths, (_, i) => i * 1000),
    rangeMs: 1000,
  };
}

function run(name: string, w: Windows, args: Float64Array[]) {
  const out = newColumn(EMPTY_LABELS, w.lo.length);
  const silent = { warn: () => undefined, info: () => undefined };
  rangeKernels.get(name)?.(w, out, args, w.ends, { metric: "", notes: silent });
  return Array.from(out.values, (value, i) => (out.present[i] === 1 ? value : undefined));
}

function each(w: Windows, fn: (window: Float64Array) => number) {
  return Array.from(w.lo, (lo, i) => {
    const window = w.values.subarray(lo, w.hi[i]);
    return window.length === 0 ? undefined : fn(window);
  });
}

test("sliding quantiles equal those of each window sorted on its own", () => {
  fc.assert(
    fc.property(series, fc.double({ min: 0, max: 1, noNaN: true }), ({ values, widths }, q) => {
      const w = windowsOf(values, widths);
      const args = [new Float64Array(w.lo.length).fill(q)];
      expect(run("quantile_over_time", w, args)).toEqual(
        each(w, (window) => quantileOf(q, sortedNanFirst(window))),
      );
    }),
  );
});

test("sliding extremes equal those of each window searched on its own", () => {
  fc.assert(
    fc.property(series, ({ values, widths }) => {
      const w = windowsOf(values, widths);
      const best = (pick: (...numbers: number[]) => number) =>
        each(w, (window) => {
          const numbers = [...window].filter((value) => !Number.isNaN(value));
          return numbers.length === 0 ? Number.NaN : pick(...numbers);
        });
      expect(run("max_over_time", w, [])).toEqual(best(Math.max));
      expect(run("min_over_time", w, [])).toEqual(best(Math.min));
    }),
  );
});
