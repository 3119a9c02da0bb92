import { expect, test } from "vitest";
import { histogramFromNotation, histogramNotation, type WrittenHistogram } from "./notation.ts";
import { inKnownSchema } from "./reduce-schema.ts";

const fine: WrittenHistogram = {
  schema: 10,
  zero_threshold: "0.001",
  zero_count: "1",
  count: "16",
  sum: "5",
  hint: "unknown",
  // Buckets 1 2 3 4 | 5, and -3 | 8 of a schema in which four make one of schema 8.
  pos_spans: [[1, 5]],
  neg_spans: [
    [-3, 1],
    [10, 1],
  ],
  pos_deltas: ["1", "1", "0", "1", "-1"],
  neg_deltas: ["3", "-1"],
};

test("integer buckets of a finer schema become those of schema 8", () => {
  const got = inKnownSchema(histogramFromNotation(fine));
  expect(got && histogramNotation(got)).toEqual({
    ...fine,
    schema: 8,
    pos_spans: [[1, 2]],
    pos_deltas: ["8", "-6"],
    neg_spans: [
      [0, 1],
      [1, 1],
    ],
    neg_deltas: ["3", "-1"],
  });
});

test("float buckets too", () => {
  const { pos_deltas: _, neg_deltas: __, ...rest } = fine;
  const got = inKnownSchema(
    histogramFromNotation({
      ...rest,
      pos_counts: ["0.5", "1", "1", "1", "2"],
      neg_counts: ["1", "2"],
    }),
  );
  expect(got && histogramNotation(got)).toMatchObject({
    schema: 8,
    pos_spans: [[1, 2]],
    pos_counts: ["3.5", "2"],
    neg_counts: ["1", "2"],
  });
});

test.each<[string, Partial<WrittenHistogram>]>([
  ["a schema that nobody knows", { schema: 53 }],
  ["too coarse a schema", { schema: -5 }],
  ["more spans than buckets", { pos_spans: [[1, 6]] }],
])("%s is not taken", (_, change) => {
  expect(inKnownSchema(histogramFromNotation({ ...fine, ...change }))).toBeNull();
});

test("a known schema is taken as it is", () => {
  const known = histogramFromNotation({ ...fine, schema: 8 });
  expect(inKnownSchema(known)).toBe(known);
});
