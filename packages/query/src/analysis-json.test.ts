import { expect, test } from "vitest";
import { analysisJson, goDuration, planJson } from "./analysis-json.ts";

test.each([
  [0, "0s"],
  [0.012, "12µs"],
  [1.5, "1.5ms"],
  [999.9994, "999.999ms"],
  [1000, "1s"],
  [62_250, "1m2.25s"],
  [3_600_000, "1h0m0s"],
])("%d ms are %s", (ms, text) => expect(goDuration(ms)).toBe(text));

test("trees have no children where there are none", () => {
  const leaf = { name: 'up{a="<"}', children: [] };
  expect(planJson({ name: "sum", children: [leaf] })).toBe(
    '{"name":"sum","children":[{"name":"up{a=\\"\\u003c\\"}"}]}',
  );
  const cost = { timeMs: 1.5, samples: 3, peakSamples: 2 };
  expect(JSON.parse(analysisJson({ name: "up", ...cost, children: [] }))).toEqual({
    name: "up",
    executionTime: "1.5ms",
    peakSamples: 2,
    totalSamples: 3,
  });
});
