/** The answers of `/federate` beside those of a real Prometheus over the same samples (test/golden/federate.json). */

import { readFileSync } from "node:fs";
import path from "node:path";
import { ByteReader } from "@torus/encoding";
import {
  CUSTOM_BUCKETS_SCHEMA,
  compareLabels,
  compareStrings,
  type Histogram,
  type Labels,
  labelsFromObject,
  labelValue,
  type Queryable,
  type SeriesColumns,
  setStale,
} from "@torus/model";
import { parseMetricSelector } from "@torus/promql";
import { readFields, WireType } from "@torus/protocol";
import { expect, test } from "vitest";
import { federate } from "./federate.ts";
import { contentTypeOf, federateFormat } from "./federate-format.ts";
import { goFloat } from "./federate-text.ts";

type Case = {
  match: string[];
  accept: string;
  status: number;
  content_type: string;
  body?: string;
  body_hex?: string;
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

/** One more in the second bucket of each side, and in the bucket of zero. */
function exponential(each: number, sum: number, count: number): Histogram {
  const spans = [
    { offset: 0, length: 2 },
    { offset: 1, length: 2 },
  ];
  const buckets = Float64Array.of(each, each + 1, each, each);
  return {
    ...BOUNDS,
    counterResetHint: each === 3 ? "gauge" : "unknown",
    schema: 1,
    zeroThreshold: 0.001,
    zeroCount: each + 1,
    count,
    sum,
    positiveSpans: spans,
    negativeSpans: spans,
    positiveBuckets: buckets,
    negativeBuckets: buckets,
    customValues: new Float64Array(0),
  };
}

const histogram = (name: string, value: Histogram, timeMs: number, job = "api"): SeriesColumns => ({
  ...float({ __name__: name, job }, timeMs, 0),
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
  histogram("lat_nhcb", BOUNDS, 1795395004000),
  histogram("lat_gauge", exponential(3, 55.199999999999996, 30), 1795395004000),
  histogram("lat_seconds", exponential(56, 1030.3999999999999, 507), 1795395274000),
  histogram("lat_seconds", exponential(56, 1030.3999999999999, 507), 1795395274000, "fapi"),
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

async function federated(match: readonly string[], accept: string): Promise<Buffer> {
  const parts = await federate(match.map(parseMetricSelector), {
    data: over(match.join().includes("lat_.*") ? LATER : ALL),
    nowMs: 0,
    lookbackMs: 0,
    format: federateFormat(accept),
    signal: new AbortController().signal,
    onWarning: () => undefined,
    charge: () => undefined,
  });
  return Buffer.concat([...parts]);
}

test.each(texts.map((each) => [each.match.join(" "), each.accept, each] as const))(
  "%s for a client that accepts %j has Prometheus' text",
  async (_, accept, { match, content_type: type, body }) => {
    const got = (await federated(match, accept)).toString();
    expect(got.split("\n").map(sortedLine)).toEqual((body ?? "").split("\n").map(sortedLine));
    expect(contentTypeOf(federateFormat(accept))).toBe(type);
  },
);

const families = golden.cases.filter((each) => each.content_type.includes("encoding=delimited"));

test("there are families to compare", () => expect(families.length).toBeGreaterThan(2));

/** The fields of each message in their order, as [number, value], but labels by their bytes: they stand sorted here. */
function fieldsOf(message: Uint8Array, depth: number): unknown[] {
  const out: [number: number, value: unknown][] = [];
  const labels: string[] = [];
  readFields("family", message, (number, wire, reader) => {
    if (wire === WireType.VARINT) out.push([number, reader.uvarint()]);
    else if (wire === WireType.FIXED64) out.push([number, reader.u64Big()]);
    else {
      const bytes = Buffer.from(reader.lengthPrefixed());
      if (depth === 1 && number === 1) labels.push(bytes.toString("latin1"));
      else if (depth === 0 && number === 1) out.push([number, bytes.toString()]);
      else out.push([number, fieldsOf(bytes, depth + 1)]);
    }
    return true;
  });
  return [...labels.sort(compareStrings), ...out];
}

function familiesOf(body: Uint8Array): unknown[] {
  const out: unknown[] = [];
  const reader = new ByteReader(body);
  while (reader.remaining > 0) out.push(fieldsOf(reader.lengthPrefixed(), 0));
  return out;
}

test.each(families.map((each) => [each.match.join(" "), each] as const))(
  "%s in protobuf has Prometheus' fields, in its order",
  async (_, { match, accept, content_type: type, body_hex: hex }) => {
    const theirs = familiesOf(Buffer.from(hex ?? "", "hex"));
    expect(theirs.length).toBeGreaterThan(0);
    expect(familiesOf(await federated(match, accept))).toEqual(theirs);
    expect(contentTypeOf(federateFormat(accept))).toBe(type);
  },
);

const PROTOBUF =
  "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

test.each<[accept: string, kind: string, escaping: string]>([
  [
    // Prometheus 2.42 with native histograms.
    `${PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1`,
    "protobuf",
    "underscores",
  ],
  [
    // Prometheus 3 with native histograms.
    `${PROTOBUF};escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1`,
    "protobuf",
    "allow-utf-8",
  ],
  [`text/plain;q=0.9,${PROTOBUF};q=0.8`, "text", "underscores"],
  [`${PROTOBUF};q=0.8,text/plain;version=0.0.4`, "text", "underscores"],
  [`text/plain;version=0.0.4;q=0.3,${PROTOBUF};escaping=dots;q=0.4`, "protobuf", "dots"],
  [`${PROTOBUF};q=0,text/plain;q=0.1`, "text", "underscores"],
  [PROTOBUF.replace("delimited", "compact-text"), "text", "underscores"],
  [PROTOBUF.replace("MetricFamily", "Other"), "text", "underscores"],
  ["*/*", "text", "underscores"],
])("a client that accepts %s gets %s, with %s", (accept, kind, escaping) =>
  expect(federateFormat(accept)).toEqual({ kind, escaping }),
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
