import type { Queryable, SeriesSelect } from "@torus/model";
import { expect, test } from "vitest";
import { Engine } from "../engine.ts";
import { ScriptStorage } from "../promqltest/script-storage.ts";
import { parseSeriesLine } from "../promqltest/series-line.ts";
import { type AnalysisNode, formatPlan } from "./explain.ts";

const engine = new Engine({ timeoutMs: 60_000, now: () => 0 });
const HOUR = { startMs: 3_600_000, endMs: 7_200_000, stepMs: 60_000 };

const explained = (query: string) => formatPlan(engine.explain(query, HOUR));

test("a plan shows operators, times, labels that matter and matchers that follow", () => {
  expect(
    explained(
      'sum by (job) (rate(a{x="1"}[5m] offset 1m)) / on (job) group_left max by (job) (b @ 60)',
    ),
  ).toBe(
    [
      "[binary] / on (job) group_left ()",
      "  [aggregate] sum by (job)",
      "    [function] rate",
      '      [matrixSelector] a{x="1"}[5m] offset 1m from 1970-01-01T00:54:00.001Z to 1970-01-01T01:59:00.000Z labels (job)',
      "  [aggregate] max by (job)",
      "    [vectorSelector] b @ 60.000 from 1969-12-31T23:56:00.001Z to 1970-01-01T00:01:00.000Z labels (job)",
      "",
    ].join("\n"),
  );
  expect(explained('a * on (pod) b{pod="p",zone="z"}')).toContain('a implied {pod="p"}');
  expect(explained("sum(a) / (sum(a) + 1)")).toContain(
    "[aggregate] sum, evaluated once for 2 places",
  );
  expect(explained("max_over_time(sum by (le) (rate(h[1m]))[10m:30s])")).toBe(
    [
      "[function] max_over_time",
      "  [subquery] [10m:30s]",
      "    [aggregate] sum by (le)",
      "      [function] rate",
      "        [matrixSelector] h[1m] from 1970-01-01T00:49:30.001Z to 1970-01-01T02:00:00.000Z labels (le)",
      "",
    ].join("\n"),
  );
});

/** From each query to the selectors that get matchers of the other side, as they are then. */
test.each<[query: string, implied: string[]]>([
  ['a * on (x) b{x="1"}', ['a implied {x="1"}']],
  ['a{x="1"} * on (x) b', []],
  ['a{x="1"} * on (x) group_right b', ['b implied {x="1"}']],
  ['a * on (x) group_left b{x=~"1|2",y="3"}', ['a implied {x=~"1|2"}']],
  ['a > ignoring (y) b{x="1",y="2"}', ['a implied {x="1"}']],
  ['a and b{x="1"}', ['a implied {x="1"}']],
  ['a{x="1"} and b', ['b implied {x="1"}']],
  ['a{x="1"} unless b', ['b implied {x="1"}']],
  ['a unless b{x="1"}', []],
  ['a or b{x="1"}', []],
  ['a{x="1"} * on (x) b{x="1"}', []],
  ['rate(a[5m]) * on (x) b{x="1"}', []],
])("%s", (query, implied) => {
  const lines = explained(query)
    .split("\n")
    .filter((line) => line.includes("implied"));
  expect(lines.map((line) => line.replace(/^.*Selector] (.*) from .*$/, "$1"))).toEqual(implied);
});

/** Remembers what was asked of storage. */
class Asked implements Queryable {
  readonly selects: SeriesSelect[] = [];
  readonly #data: Queryable;
  constructor(data: Queryable) {
    this.#data = data;
  }
  select(select: SeriesSelect) {
    this.selects.push(select);
    return this.#data.select(select);
  }
  labelNames(...args: Parameters<Queryable["labelNames"]>) {
    return this.#data.labelNames(...args);
  }
  labelValues(...args: Parameters<Queryable["labelValues"]>) {
    return this.#data.labelValues(...args);
  }
}

function storage(): ScriptStorage {
  const data = new ScriptStorage();
  const lines = ["1", "2", "3"].flatMap((x) =>
    ["a", "b"].map((name) => ({
      line: parseSeriesLine(`${name}{x="${x}"} 0+${x}x240`),
      startTimestamps: null,
    })),
  );
  data.load(lines, 30_000, false);
  return data;
}

test.each([
  "sum(rate(a[5m] offset 3m))",
  "a @ end() - b offset 10m",
  "max_over_time(a[20m:7m] offset 90s)",
  "sum_over_time(rate(a[1m] @ 4000)[10m:1m])",
  "min_over_time(avg_over_time(a[3m:45s])[15m:4m])",
  "timestamp(a @ 5000 offset 2m)",
  'count(a{x="1"}) + last_over_time(b[30m] offset -1m)',
])("storage is asked for the times that the plan of %s says", async (query) => {
  const asked = new Asked(storage());
  await engine.range(asked, query, HOUR.startMs, HOUR.endMs, HOUR.stepMs);
  const ranges = [...explained(query).matchAll(/ from (\S+) to (\S+)/g)].map(
    ([, from = "", to = ""]) => [Date.parse(from), Date.parse(to)],
  );
  expect(asked.selects.map(({ mint, maxt }) => [mint, maxt])).toEqual(ranges);
});

test("storage is told the function or aggregation around a selector and its grouping", async () => {
  const asked = new Asked(storage());
  await engine.instant(
    asked,
    "min by (x) (a) + max without (x) ((a)) + on () group_left sum(rate(b[5m])) + -b",
    5_000_000,
  );
  expect(asked.selects.map(({ hints }) => [hints.func, hints.grouping, hints.by])).toEqual([
    ["min", ["x"], true],
    ["max", [], false],
    ["rate", [], false],
    ["", [], false],
  ]);
});

test("matchers that follow change what is read and not the answer", async () => {
  for (const query of [
    'a * on (x) b{x="2"}',
    'a{x=~"1|2"} and b',
    'a unless b{x="1"}',
    'a{x="1"} unless b{x="2"}',
    'a{x!="1"} * on (x) group_right b',
  ]) {
    const asked = new Asked(storage());
    const got = await engine.instant(asked, query, 5_000_000);
    // With a function around, nothing is implied.
    const plain = query.replace(/\b([ab]\b(\{[^}]*\})?)/g, "abs($1)");
    const want = await engine.instant(storage(), plain, 5_000_000);
    const values = (result: typeof got) =>
      result.type === "vector" ? result.series.map(({ values: [value] }) => value) : [];
    expect(values(want).length, query).toBeGreaterThan(0);
    expect(values(got), query).toEqual(values(want));
    expect(
      asked.selects.some(({ matchers }) => matchers.some(({ name }) => name === "x")),
      query,
    ).toBe(true);
  }
});

test("an analysis has each operator's samples and a time that holds those below", async () => {
  let tick = 0;
  const timed = new Engine({ timeoutMs: 60_000, now: () => 0, clock: () => tick++ });
  const { startMs, endMs, stepMs } = HOUR;
  const result = await timed.range(storage(), "sum(rate(a[5m])) * 2", startMs, endMs, stepMs, {
    analyze: true,
  });
  const { analysis } = result;
  const names: [string, number][] = [];
  const walk = (node: AnalysisNode) => {
    names.push([node.name.replace(/ from .*/, ""), node.samples]);
    for (const child of node.children) {
      if (!child.name.startsWith("[literal]")) expect(node.timeMs).toBeGreaterThan(child.timeMs);
      walk(child);
    }
  };
  walk(analysis as AnalysisNode);
  expect(names).toEqual([
    ["[binary] *", 61],
    ["[aggregate] sum", 61],
    ["[function] rate", 3 * 61],
    ["[matrixSelector] a[5m]", 3 * 130],
    ["[literal] 2", 61],
  ]);
  const without = await timed.range(storage(), "sum(rate(a[5m])) * 2", startMs, endMs, stepMs);
  expect(without.analysis).toBeUndefined();
});
