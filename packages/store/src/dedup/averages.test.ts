/** Against what a real `thanos store` answers for downsampled blocks (test/golden/wire/store.json). */

import { readFileSync } from "node:fs";
import path from "node:path";
import { decodeSeriesResponse, type WireChunk } from "@torus/protocol";
import { expect, test } from "vitest";
import { AggregatesUnequalError } from "./averages.ts";
import { decodeChunks } from "./columns.ts";
import { dedupReplicas, mergeCopies } from "./dedup.ts";

const { calls } = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../test/golden/wire/store.json"), "utf8"),
) as { calls: { name: string; responses: { hex: string }[] | null }[] };

const [series] = (calls.find(({ name }) => name === "downsampled-count-sum")?.responses ?? [])
  .map(({ hex }) => decodeSeriesResponse(new Uint8Array(Buffer.from(hex, "hex"))))
  .flatMap((frame) => frame.series);
const chunks = series?.chunks ?? [];
const of = (aggregate: string) => chunks.filter((chunk) => chunk.aggregate === aggregate);
const ALL = [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER] as const;

const sums = decodeChunks(of("sum"));
const counts = decodeChunks(of("count"));
const means = [...sums.values].map((sum, i) => sum / (counts.values[i] as number));

test("the capture has sums and counts that differ from their means", () => {
  expect(sums.values.length).toBeGreaterThan(10);
  expect(means).not.toEqual([...sums.values]);
  expect(means).not.toEqual([...counts.values]);
});

test("sums and counts together are read as means, at their timestamps", () => {
  const merged = mergeCopies(chunks, ...ALL);
  expect([...merged.timestamps]).toEqual([...sums.timestamps]);
  expect([...merged.values]).toEqual(means);
});

test("the same from two stores, merged and deduplicated, is still the means", () => {
  const twice = [...chunks, ...chunks];
  expect([...mergeCopies(twice, ...ALL).values]).toEqual(means);
  expect([...dedupReplicas(twice, ...ALL, "penalty", "").values]).toEqual(means);
});

test.each(["sum", "count"])("a %s alone is read as it is", (aggregate) => {
  const alone = mergeCopies(of(aggregate), ...ALL);
  expect([...alone.values]).toEqual([...decodeChunks(of(aggregate)).values]);
});

test("a sum with the very bytes of its count, as of samples that are all 1, is 1 everywhere", () => {
  const [count] = of("count") as [WireChunk];
  const pair = [count, { ...count, aggregate: "sum" as const }];
  const merged = mergeCopies(pair, ...ALL);
  expect([...merged.timestamps]).toEqual([...decodeChunks([count]).timestamps]);
  expect(new Set(merged.values)).toEqual(new Set([1]));
});

test("a count of other samples is reported", () => {
  const all = JSON.stringify(calls.find(({ name }) => name === "downsampled-all-aggregates"));
  const { responses } = JSON.parse(all) as { responses: { hex: string }[] };
  const [other] = responses
    .flatMap(({ hex }) => decodeSeriesResponse(new Uint8Array(Buffer.from(hex, "hex"))).series)
    .flatMap((each) => each.chunks)
    .filter(({ aggregate }) => aggregate === "count") as [WireChunk];
  const [sum] = of("sum") as [WireChunk];
  const forged = [{ ...other, minTime: sum.minTime, maxTime: sum.maxTime }, sum];
  expect(() => mergeCopies(forged, ...ALL)).toThrow(AggregatesUnequalError);
});
