import { expect, test } from "vitest";
import { SeriesStatistics } from "./series-statistics.ts";

test("metrics, labels and pairs are counted, the largest first", () => {
  let bytes = 0;
  const found = new SeriesStatistics((more) => (bytes += more));
  for (const instance of ["a", "bb", "ccc"]) {
    found.add(["__name__", "up", "instance", instance, "job", "api"]);
  }
  found.add(["__name__", "one", "job", "api"]);
  expect(JSON.parse(found.json(2, 1, 9))).toEqual({
    headStats: { numSeries: 4, numLabelPairs: 6, chunkCount: 0, minTime: 1, maxTime: 9 },
    seriesCountByMetricName: [
      { name: "up", value: 3 },
      { name: "one", value: 1 },
    ],
    labelValueCountByLabelName: [
      { name: "instance", value: 3 },
      { name: "__name__", value: 2 },
    ],
    memoryInBytesByLabelName: [
      { name: "instance", value: 6 },
      { name: "__name__", value: 5 },
    ],
    seriesCountByLabelValuePair: [
      { name: "job=api", value: 4 },
      { name: "__name__=up", value: 3 },
    ],
  });
  expect(bytes).toBeGreaterThan(0);
});
