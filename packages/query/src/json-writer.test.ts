import { readFileSync } from "node:fs";
import path from "node:path";
import { valueText } from "@torus/kernels";
import { labelsFromObject } from "@torus/model";
import type { QueryResult, ResultSeries } from "@torus/promql";
import fc from "fast-check";
import { expect, test } from "vitest";
import { goString, queryAnswer } from "./json-writer.ts";

const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../test/golden/number-texts.json"), "utf8"),
) as {
  values: [bits: string, vector: string, scalar: string][];
  times: [ms: string, vector: string, scalar: string][];
};

const REST = { warnings: [], infos: [], stats: { totalQueryableSamples: 0, peakSamples: 0 } };
const EXTRAS = { stats: null, analysis: null, warnings: [], infos: [] };

function written(result: QueryResult): string {
  return Buffer.concat([...queryAnswer(result, EXTRAS)]).toString();
}

function ofType(type: "vector" | "matrix", series: ResultSeries[]): string {
  return written({ type, series, ...REST });
}

function floatOf(bits: string): Float64Array {
  return new Float64Array(BigUint64Array.of(BigInt(`0x${bits}`)).buffer);
}

test("values have the texts that Prometheus gives them, in vectors, matrices and scalars", () => {
  const labels = labelsFromObject({});
  const timestamps = Float64Array.of(0);
  for (const [bits, inVector, inScalar] of golden.values) {
    const values = floatOf(bits);
    const series = [{ labels, timestamps, values, histograms: null }];
    expect(ofType("vector", series)).toContain(`"value":[0,"${inVector}"]}`);
    expect(ofType("matrix", series)).toContain(`"values":[[0,"${inVector}"]]}`);
    const value = values[0] as number;
    expect(written({ type: "scalar", timestampMs: 0, value, ...REST })).toContain(
      `"result":[0,"${inScalar}"]}`,
    );
  }
});

test("times have the texts that Prometheus gives them", () => {
  const labels = labelsFromObject({});
  const values = Float64Array.of(1);
  for (const [ms, inVector, inScalar] of golden.times) {
    const timestamps = Float64Array.of(Number(ms));
    const series = [{ labels, timestamps, values, histograms: null }];
    expect(ofType("vector", series)).toContain(`"value":[${inVector},"1"]}`);
    expect(ofType("matrix", series)).toContain(`"values":[[${inVector},"1"]]}`);
    const scalar = { type: "scalar" as const, timestampMs: Number(ms), value: 1, ...REST };
    expect(written(scalar)).toContain(`"result":[${inScalar},"1"]}`);
  }
});

test("matrices of any size are whole, however their bytes fall into parts", () =>
  fc.assert(
    fc.property(
      fc.array(fc.record({ label: fc.string({ unit: "binary" }), points: fc.nat(3000) }), {
        maxLength: 6,
      }),
      (shapes) => {
        const series = shapes.map(({ label, points }, i) => ({
          labels: ["a", label, "b", String(i)],
          timestamps: Float64Array.from({ length: points }, (_, at) => at * 15_001),
          values: Float64Array.from({ length: points }, (_, at) => at / 7),
          histograms: null,
        }));
        const parsed: unknown = JSON.parse(ofType("matrix", series));
        expect(parsed).toEqual({
          status: "success",
          data: {
            resultType: "matrix",
            result: series.map(({ labels, timestamps, values }) => ({
              metric: { a: labels[1], b: labels[3] },
              values: [...timestamps].map((ms, at) => [ms / 1000, valueText(values[at] as number)]),
            })),
          },
        });
      },
    ),
    { numRuns: 30 },
  ));

test("no part is much larger than 64 KiB, so that an answer of any size needs little memory", () => {
  const points = 11_000;
  const series = Array.from({ length: 20 }, (_, i) => ({
    labels: ["i", String(i)],
    timestamps: Float64Array.from({ length: points }, (_unused, at) => at),
    values: new Float64Array(points).fill(1 / 3),
    histograms: null,
  }));
  const parts = [...queryAnswer({ type: "matrix", series, ...REST }, EXTRAS)];
  expect(parts.length).toBeGreaterThan(100);
  expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(65_536);
});

test("strings are escaped as Go escapes them", () => {
  expect(goString('<&>"\\\b\f\n\u0001\u2028é')).toBe(
    '"\\u003c\\u0026\\u003e\\"\\\\\\u0008\\u000c\\n\\u0001\\u2028é"',
  );
  const labels = ["a", '<&>"\\\b\f\n\u0001\u2028é'];
  const [timestamps, values] = [Float64Array.of(0), Float64Array.of(1)];
  expect(ofType("vector", [{ labels, timestamps, values, histograms: null }])).toContain(
    '{"metric":{"a":"<&>\\"\\\\\\u0008\\u000c\\n\\u0001\u2028é"}',
  );
});
