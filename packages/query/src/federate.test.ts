/** The text of `/federate` beside that of a real Prometheus over the same samples (test/golden/federate.json). */

import { readFileSync } from "node:fs";
import path from "node:path";
import {
  CUSTOM_BUCKETS_SCHEMA,
  compareLabels,
  type Histogram,
  type Labels,
  labelsFromObject,
  labelValue,
  type Queryable,
  type SeriesColumns,
  setStale,
} from "@torus/model";
import { parseMetricSelector } from "@torus/promql";
import { expect, test } from "vitest";
import { federate, goFloat, nameEscaping } from "./federate.ts";

type Case = {
  match: string[];
  accept: string;
  status: number;
  content_type: string;
  body?: string;
};
const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../test/golden/federate.json"), "utf8"),
) as { cases: Case[] };

/** What the captured Prometheus adds to each series; here they are labels of the series. */
const EXTERNAL = { cluster: "eu", replica: "p0" };

/** The labels of a line stand in the order of the text: the external ones last. Here they are sorted. */
function sortedLine(line: string): string {
  const match = /^([^{]*)\{(.*)\} (.*)$/.exec(line);
  if (match === null) return line;
  const [, name = "", labels = "", rest = ""] = match;
  return `${name}{${(labels.match(/"?[^=",]+"?="(?:[^"\\]|\\.)*"|"[^"]+"/g) ?? []).sort().join(",")}} ${rest}`;
}

function float(labels: Record<string, string>, timeMs: number, value: number): SeriesColumns {
  return {
    labels: labelsFromObject({ ...labels, ...EXTERNAL }),
    timestamps: Float64Array.of(timeMs - 15_000, timeMs),
    values: Float64Array.of(42, value),
    histograms: null,
    startTimestamps: null,
  };
}

const BOUNDS: Histogram = {
  isInteger: false,
  counterResetHint: "unknown",
  schema: CUSTOM_BUCKETS_SCHEMA,
  zeroThreshold: 0,
  zeroCount: 0,
  count: 13,
  sum: 55.199999999999996,
  sumIsStale: false,
  positiveSpans: [
    { offset: 0, length: 2 },
    { offset: 1, length: 2 },
  ],
  negativeSpans: [],
  positiveBuckets: Float64Array.of(3, 4, 3, 3),
  negativeBuckets: new Float64Array(0),
  customValues: Float64Array.of(0, 1, 2, 3, 4),
};

const histogram = (name: string, value: Histogram): SeriesColumns => ({
  ...float({ __name__: name, job: "api" }, 1795395004000, 0),
  histograms: [undefined, value],
});

const down = { instance: "127.0.0.1:24999", job: "down", zone: "a" };
const alert = { alertname: "TargetDown", ...down, severity: "page" };
const stale = float({ __name__: "up", instance: "gone", job: "down" }, 1795395178294, 0);
setStale(stale.values, 1);

const ALL: SeriesColumns[] = [
  stale,
  float({ __name__: "ALERTS", alertstate: "firing", ...alert }, 1795395175957, 1),
  float({ __name__: "ALERTS_FOR_STATE", ...alert }, 1795395175957, 1795394955),
  float({ __name__: "job:up:sum", job: "down", kind: "rec" }, 1795395175957, 0),
  float({ __name__: "up", ...down }, 1795395178294, 0),
  float({ __name__: "scrape_duration_seconds", ...down }, 1795395178294, 0.000672732),
  float({ __name__: "scrape_samples_scraped", ...down }, 1795395178294, 0),
  float({ __name__: "scrape_samples_post_metric_relabeling", ...down }, 1795395178294, 0),
  float({ __name__: "scrape_series_added", ...down }, 1795395178294, 0),
  float(
    { __name__: "http_requests_total", instance: "host-0:9100", job: "api" },
    1795395154000,
    449,
  ),
  float(
    { __name__: "http_requests_total", instance: "host-1:9100", job: "api" },
    1795395154002,
    453,
  ),
  float({ __name__: "up", instance: "host-0:9100", job: "nöde" }, 1795395154001, 451),
  float({ __name__: "up", instance: "host-1:9100", job: "nöde" }, 1795395154003, 448),
];

/** The captured Prometheus got these after the other answers. */
const LATER: SeriesColumns[] = [
  float({ __name__: "dotted.name", "label-x": "v" }, 1795395004000, 2),
  float({ __name__: "lat_seconds", job: "gapi" }, 1795395004000, 2),
  histogram("lat_nhcb", BOUNDS),
  histogram("lat_gauge", { ...BOUNDS, schema: 1, customValues: new Float64Array(0) }),
];

const matches = (
  labels: Labels,
  matchers: readonly { name: string; matches(value: string): boolean }[],
) => matchers.every((matcher) => matcher.matches(labelValue(labels, matcher.name)));

const over = (all: readonly SeriesColumns[]): Queryable => ({
  async *select({ matchers }) {
    yield all
      .filter(({ labels }) => matches(labels, matchers))
      .sort((a, b) => compareLabels(a.labels, b.labels));
  },
  labelNames: () => Promise.resolve([]),
  labelValues: () => Promise.resolve([]),
});

const texts = golden.cases.filter(
  ({ status, body, content_type: type }) =>
    status === 200 && body !== undefined && type.startsWith("text/plain"),
);

test("there are cases to run", () => expect(texts.length).toBeGreaterThan(10));

test.each(texts.map((each) => [each.match.join(" "), each.accept, each] as const))(
  "%s for a client that accepts %j has Prometheus' text",
  async (_, accept, { match, content_type: type, body }) => {
    const escaping = nameEscaping(accept);
    const parts = await federate(match.map(parseMetricSelector), {
      data: over(match.join().includes("lat_.*") ? LATER : ALL),
      nowMs: 0,
      lookbackMs: 0,
      escaping,
      signal: new AbortController().signal,
      onWarning: () => undefined,
      charge: () => undefined,
    });
    const got = Buffer.concat([...parts]).toString();
    expect(got.split("\n").map(sortedLine)).toEqual((body ?? "").split("\n").map(sortedLine));
    expect(`text/plain; version=0.0.4; charset=utf-8; escaping=${escaping}`).toBe(type);
  },
);

test.each<[value: number, text: string]>([
  [1e6, "1e+06"],
  [123456, "123456"],
  [1234567, "1.234567e+06"],
  [0.0001, "0.0001"],
  [0.00001, "1e-05"],
  [1e100, "1e+100"],
  [-0, "-0"],
  [Number.NaN, "NaN"],
  [Number.NEGATIVE_INFINITY, "-Inf"],
])("%d is written as %s", (value, text) => expect(goFloat(value)).toBe(text));
