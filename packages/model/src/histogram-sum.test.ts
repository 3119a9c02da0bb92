import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CUSTOM_BUCKETS_SCHEMA, type Histogram } from "./histogram.ts";
import { allBuckets, exponentialBound, indexesOf, spansOf } from "./histogram-buckets.ts";
import {
  addHistograms,
  dividedHistogram,
  HistogramSum,
  histogramsEqual,
  IncompatibleHistogramsError,
  isCounterReset,
  scaledHistogram,
} from "./histogram-sum.ts";

const side = fc
  .uniqueArray(fc.integer({ min: -20, max: 40 }), { maxLength: 8 })
  .map((indexes) => indexes.sort((a, b) => a - b))
  .chain((indexes) =>
    fc.record({
      spans: fc.constant(spansOf(indexes)),
      buckets: fc
        .array(fc.integer({ min: 1, max: 100 }), {
          minLength: indexes.length,
          maxLength: indexes.length,
        })
        .map((counts) => Float64Array.from(counts)),
    }),
  );

/** Whole counts, so that sums are exact in any order. */
const histogram: fc.Arbitrary<Histogram> = fc
  .record({
    schema: fc.integer({ min: -2, max: 3 }),
    zeroThreshold: fc.constantFrom(0, 0.001, 0.5, 1, 1.5),
    zeroCount: fc.nat(10),
    sum: fc.integer({ min: -1000, max: 1000 }),
    positive: side,
    negative: side,
  })
  .map(({ positive, negative, ...rest }) => {
    // Buckets inside the zero bucket do not occur in what clients write.
    const outside = ({ spans, buckets }: typeof positive) => {
      const kept = indexesOf(spans).map(
        (index) => exponentialBound(index - 1, rest.schema) >= rest.zeroThreshold,
      );
      return {
        spans: spansOf(indexesOf(spans).filter((_, i) => kept[i])),
        buckets: buckets.filter((_, i) => kept[i]),
      };
    };
    const up = outside(positive);
    const down = outside(negative);
    const total = (counts: Float64Array) => counts.reduce((a, b) => a + b, 0);
    return {
      ...rest,
      isInteger: false,
      counterResetHint: "unknown" as const,
      count: rest.zeroCount + total(up.buckets) + total(down.buckets),
      sumIsStale: false,
      positiveSpans: up.spans,
      positiveBuckets: up.buckets,
      negativeSpans: down.spans,
      negativeBuckets: down.buckets,
      customValues: new Float64Array(0),
    };
  });

const observations = (h: Histogram) => allBuckets(h).reduce((n, { count }) => n + count, 0);

function custom(bounds: readonly number[], counts: readonly number[]): Histogram {
  return {
    isInteger: false,
    counterResetHint: "unknown",
    schema: CUSTOM_BUCKETS_SCHEMA,
    zeroThreshold: 0,
    zeroCount: 0,
    count: counts.reduce((a, b) => a + b, 0),
    sum: 0,
    sumIsStale: false,
    positiveSpans: [{ offset: 0, length: counts.length }],
    negativeSpans: [],
    positiveBuckets: Float64Array.from(counts),
    negativeBuckets: new Float64Array(0),
    customValues: Float64Array.from(bounds),
  };
}

describe("sums of histograms", () => {
  // A zero bucket that ends inside a bucket of the coarser schema only counts that one apart, as in Prometheus.
  test("addition is commutative where schema or zero threshold are the same", () => {
    fc.assert(
      fc.property(histogram, histogram, (a, b) => {
        fc.pre(a.schema === b.schema || a.zeroThreshold === b.zeroThreshold);
        const one = addHistograms(a, b, 1).histogram;
        const other = addHistograms(b, a, 1).histogram;
        expect(histogramsEqual(one, other)).toBe(true);
      }),
    );
  });

  test("at one schema and zero threshold no observation is lost, and subtraction takes an addition back", () => {
    fc.assert(
      fc.property(histogram, histogram, (a, given) => {
        fc.pre(given.zeroThreshold === a.zeroThreshold && given.schema === a.schema);
        const sum = addHistograms(a, given, 1).histogram;
        expect(observations(sum)).toBe(sum.count);
        const back = addHistograms(sum, given, -1).histogram;
        expect(back.count).toBe(a.count);
        expect(allBuckets(back).filter(({ count }) => count !== 0)).toEqual(allBuckets(a));
      }),
      { numRuns: 30 },
    );
  });

  test("a compensated sum of many small histograms keeps what a plain one rounds away", () => {
    const sum = new HistogramSum(custom([1], [1e16, 0]));
    for (let i = 0; i < 10; i++) sum.add(custom([1], [1, 0]), 1, true);
    expect(sum.result().count).toBe(1e16 + 10);
  });

  test("custom buckets meet at the bounds that both have", () => {
    const { histogram: sum, reconciled } = addHistograms(
      custom([1, 2, 4], [1, 2, 3, 4]),
      custom([2, 3, 4], [10, 20, 30, 40]),
      1,
    );
    expect(reconciled).toBe(true);
    expect([...sum.customValues]).toEqual([2, 4]);
    expect([...sum.positiveBuckets]).toEqual([13, 53, 44]);
  });

  test("exponential and custom buckets do not meet", () => {
    fc.assert(
      fc.property(histogram, (h) => {
        expect(() => addHistograms(h, custom([1], [1, 1]), 1)).toThrow(IncompatibleHistogramsError);
      }),
      { numRuns: 5 },
    );
  });

  test("a negative factor makes a gauge, and division by zero leaves no buckets", () => {
    expect(scaledHistogram(custom([1], [1, 1]), -1).counterResetHint).toBe("gauge");
    const divided = dividedHistogram(custom([1], [1, 1]), 0);
    expect(divided.count).toBe(Infinity);
    expect(divided.positiveBuckets).toHaveLength(0);
  });

  test("adding observations is no reset, taking some away is one", () => {
    fc.assert(
      fc.property(histogram, histogram, (a, b) => {
        const sum = addHistograms(a, b, 1).histogram;
        expect(isCounterReset({ ...a, count: a.count - 1 }, a)).toBe(true);
        fc.pre(a.schema <= b.schema && a.zeroThreshold >= b.zeroThreshold);
        expect(isCounterReset(sum, a)).toBe(false);
      }),
    );
  });
});

describe("bounds of buckets", () => {
  test("whole powers of two are exact at every schema, and the last bucket ends at the largest double", () => {
    for (let schema = -4; schema <= 8; schema++) {
      const index = schema < 0 ? 1 : 2 ** schema;
      expect(exponentialBound(index, schema)).toBe(schema < 0 ? 2 ** (2 ** -schema) : 2);
      expect(exponentialBound(0, schema)).toBe(1);
      expect(exponentialBound(1024 * 2 ** schema, schema)).toBe(Number.MAX_VALUE);
    }
    expect(exponentialBound(1, 1)).toBe(Math.SQRT2);
    expect(exponentialBound(-1074, 0)).toBe(Number.MIN_VALUE);
  });
});
