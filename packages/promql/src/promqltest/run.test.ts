import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Histogram, Queryable } from "@torus/model";
import { describe, expect, test } from "vitest";
import { ALL_FEATURES, parseExpr } from "../parse.ts";
import type { QueryResult, ResultSeries } from "../result.ts";
import { addHistograms, bucketMap, formatHistogram, parseHistogram } from "./histogram-notation.ts";
import { pinnedQueries, runScript } from "./run.ts";
import { parseScript } from "./script.ts";
import type { ScriptEngine } from "./script-engine.ts";
import { ScriptStorage } from "./script-storage.ts";
import { parseSeriesLine, parseStartTimestamps } from "./series-line.ts";
import { runTable } from "./table.ts";

/** Evaluates numbers and plain selectors with a lookback of five minutes; enough to try the runner. */
const smallEngine: ScriptEngine = {
  instant: (storage, query, timeMs) => evaluate(storage, query, [timeMs], "instant"),
  range: (storage, query, { startMs, endMs, stepMs }) => {
    const times: number[] = [];
    for (let t = startMs; t <= endMs; t += stepMs) times.push(t);
    return evaluate(storage, query, times, "range");
  },
};

async function evaluate(
  storage: Queryable,
  query: string,
  times: readonly number[],
  kind: "instant" | "range",
): Promise<QueryResult> {
  const rest = { warnings: [], infos: [], stats: { totalQueryableSamples: 0, peakSamples: 0 } };
  const expr = parseExpr(query, { enabledFeatures: ALL_FEATURES });
  if (expr.kind === "number") {
    if (kind === "instant") {
      return { type: "scalar", timestampMs: times[0] as number, value: expr.value, ...rest };
    }
    const values = new Float64Array(times.length).fill(expr.value);
    const series = [{ labels: [], timestamps: Float64Array.from(times), values, histograms: null }];
    return { type: "matrix", series, ...rest };
  }
  if (expr.kind !== "vectorSelector") throw new Error("only numbers and selectors");
  const signal = new AbortController().signal;
  const hints = { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false };
  const series: ResultSeries[] = [];
  const pinned = expr.at?.type === "time" ? expr.at.ms : null;
  const select = {
    mint: -1e15,
    maxt: 1e15,
    matchers: expr.matchers,
    skipChunks: false,
    limit: 0,
    signal,
    hints,
    onWarning: () => {},
  };
  for await (const batch of storage.select(select)) {
    for (const { labels, timestamps, values } of batch) {
      const found = times.flatMap((t) => {
        const i = timestamps.findLastIndex(
          (at) => at <= (pinned ?? t) && at > (pinned ?? t) - 300_000,
        );
        return i < 0 ? [] : [[t, values[i] as number] as const];
      });
      if (found.length === 0) continue;
      series.push({
        labels,
        timestamps: Float64Array.from(found, ([t]) => t),
        values: Float64Array.from(found, ([, value]) => value),
        histograms: null,
      });
    }
  }
  return { type: kind === "range" ? "matrix" : "vector", series, ...rest };
}

const script = `
load 1m
  up{job="a"} 0+1x10
  up{job="b"} 5 _x3 7

# case mine#1
eval instant at 4m up
  up{job="a"} 4
  up{job="b"} 7

eval range from 0 to 2m step 1m up{job="a"}
  up{job="a"} 0 1 2

eval instant at 1m 3
  3

eval instant at 1m rate(up[5m])
  expect fail msg: only numbers and selectors
`;

test("a script of true expectations passes", async () => {
  expect(await runScript(script, smallEngine)).toEqual({ passed: 4, failures: [] });
});

test.each([
  ["another value", 'up{job="b"} 7', 'up{job="b"} 8', /expected 8, got 7/],
  ["a series too many", '  up{job="b"} 7\n', "", /unexpected series up\{job="b"\}/],
  ["a missing series", '  up{job="b"} 7\n', '  up{job="b"} 7\n  down 1\n', /down is missing/],
  ["another error", "only numbers", "only letters", /expected the error only letters and/],
])("%s is a failure", async (_, from, to, difference) => {
  const report = await runScript(script.replace(from, to), smallEngine);
  expect(report.passed).toBe(3);
  expect(report.failures.map((failure) => failure.difference)).toEqual([
    expect.stringMatching(difference),
  ]);
});

test("a table's entries pass or fail one by one", async () => {
  const entry = {
    id: "mine#1",
    load: "load 1m\n  up 1 2",
    query: "up",
    kind: "instant",
    start_ms: 60_000,
    end_ms: 60_000,
    step_ms: 0,
    result_type: "vector",
    result: [{ metric: { __name__: "up" }, value_ms: [60_000, "2"] }],
  };
  const wrong = { ...entry, id: "mine#2", result: [] };
  const failing = {
    ...entry,
    query: "-up",
    result: undefined,
    error: "only numbers and selectors",
  };
  const report = await runTable(JSON.stringify([entry, wrong, failing]), smallEngine);
  expect(report.passed).toBe(2);
  expect(report.failures.map(({ name }) => name)).toEqual(["mine#2"]);
  await expect(runTable('[{"query": 1}]', smallEngine)).rejects.toThrow(
    "entry 1 of the table lacks",
  );
});

describe("the notation of points", () => {
  const floats = (text: string) =>
    parseSeriesLine(`x ${text}`).points.map((p) =>
      p?.kind === "float" ? p.value : (p?.kind ?? null),
    );
  test.each([
    [
      "1 -1e3 NaN Inf -Inf 0x1F",
      [1, -1000, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 31],
    ],
    ["_ _x2 stale", [null, null, null, "stale"]],
    ["1+2x3 1-1x1 7x2", [1, 3, 5, 7, 1, 0, 7, 7, 7]],
    ["0x8", Array.from({ length: 9 }, () => 0)],
  ])("%s", (text, points) => expect(floats(text)).toEqual(points));

  test("histograms grow bucket by bucket", () => {
    const { points } = parseSeriesLine(
      "x {{schema:1 count:2 buckets:[1 1]}}+{{schema:1 count:1 buckets:[0 1 1] offset:0}}x1",
    );
    const second = points[1] as { histogram: Histogram };
    expect(formatHistogram(second.histogram)).toBe(
      "{{schema:1 count:3 sum:0 buckets:{0:1 1:2 2:1}}}",
    );
  });

  test("adding at unequal resolutions merges buckets to the coarser one", () => {
    const fine = parseHistogram("schema:1 buckets:[1 2 4] offset:1").histogram;
    const coarse = parseHistogram("schema:0 buckets:[1] offset:1").histogram;
    const sum = addHistograms(fine, coarse, 1);
    expect([...bucketMap(sum.positiveSpans, sum.positiveBuckets)]).toEqual([
      [1, 4],
      [2, 4],
    ]);
  });

  test("start timestamps are relative to their samples", () => {
    expect(parseStartTimestamps("_ -30s -1mx1 -1m-1mx1")).toEqual([
      null,
      -30_000,
      -60_000,
      -60_000,
      -60_000,
      -120_000,
    ]);
  });
});

test("load_with_nhcb adds one histogram per classic one", async () => {
  const [load] = parseScript(
    'load_with_nhcb 1m\n h_bucket{le="1"} 2\n h_bucket{le="+Inf"} 5\n h_sum 9\n h_count 5',
  );
  const storage = new ScriptStorage();
  if (load?.kind !== "load") throw new Error("not a load");
  storage.load(load.series, load.intervalMs, load.withNhcb);
  const found: string[] = [];
  const query = {
    mint: 0,
    maxt: 0,
    matchers: [],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  const hints = { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false };
  for await (const batch of storage.select({ ...query, hints, onWarning: () => {} })) {
    for (const { labels, histograms } of batch) {
      const h = histograms?.[0];
      if (h !== undefined) found.push(`${labels.join()} ${formatHistogram(h)}`);
    }
  }
  expect(found).toEqual([
    "__name__,h {{schema:-53 count:5 sum:9 buckets:{0:2 1:3} custom_values:[1]}}",
  ]);
});

test("pinning puts the time on the outermost selectors and subqueries only", () => {
  expect(
    pinnedQueries("rate(a[5m]) + b offset 1m + sum_over_time(c[5m:1m])", 5_000)[0]?.[0].replaceAll(
      "  ",
      " ",
    ),
  ).toBe("rate(a[5m] @ 5.000 ) + b offset 1m @ 5.000 + sum_over_time(c[5m:1m] @ 5.000 )");
  expect(pinnedQueries("time()", 0)).toEqual([]);
});

const cases = new URL("../../../../../shared/promqltest/", import.meta.url);
test.skipIf(!existsSync(cases))("all given scripts can be read", () => {
  const files = readdirSync(cases).filter((name) => name.endsWith(".test"));
  const evals = files.flatMap((file) =>
    parseScript(readFileSync(new URL(file, cases), "utf8")).filter(({ kind }) => kind === "eval"),
  );
  expect(evals).toHaveLength(1_328);
});
