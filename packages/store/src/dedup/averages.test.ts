/** Against what a real `thanos store` answers for downsampled blocks (test/golden/wire/store.json). */

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { ChunkEncoding, Matcher } from "@torus/model";
import { decodeSeriesResponse, type WireChunk } from "@torus/protocol";
import { BlockReader } from "@torus/tsdb";
import { expect, test } from "vitest";
import { splitAggregates } from "../bucket/aggregates.ts";
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

/** Sum and count chunks of native histograms, out of a block that Thanos downsampled. */
function histogramPairs(): WireChunk[][] {
  const folder = path.join(import.meta.dirname, "../../../../test/golden/tsdb/downsample");
  const name = readdirSync(folder).find((each) => each.startsWith("histograms-5m-")) ?? "";
  const pairs: WireChunk[][] = [];
  const all = [new Matcher("=~", "__name__", ".*")];
  for (const { chunks: stored } of new BlockReader(path.join(folder, name)).rawSeries(
    all,
    ...ALL,
  )) {
    for (const { minTime, maxTime, encoding, data } of stored) {
      if (encoding !== ChunkEncoding.AGGREGATE) continue;
      const { count, sum } = splitAggregates(data);
      if (count === undefined || sum === undefined || sum.encoding === ChunkEncoding.XOR) continue;
      const times = { minTime, maxTime, hash: 0n };
      pairs.push([
        { ...times, ...count, aggregate: "count" },
        { ...times, ...sum, aggregate: "sum" },
      ]);
    }
  }
  return pairs;
}

test("sums of native histograms are divided by their counts, bucket by bucket", () => {
  const pairs = histogramPairs();
  expect(pairs.length).toBeGreaterThan(2);
  for (const pair of pairs) {
    const [count, sum] = pair as [WireChunk, WireChunk];
    const whole = decodeChunks([sum]);
    const many = decodeChunks([count]).values;
    const means = mergeCopies(pair, ...ALL);
    expect([...means.timestamps]).toEqual([...whole.timestamps]);
    means.histograms?.forEach((mean, i) => {
      const from = whole.histograms?.[i];
      const n = many[i] as number;
      expect(mean?.count).toBe((from?.count as number) / n);
      expect(mean?.sum).toBe((from?.sum as number) / n);
      expect([...(mean?.positiveBuckets ?? [])]).toEqual(
        [...(from?.positiveBuckets ?? [])].map((each) => each / n),
      );
    });
    expect(means.histograms?.length).toBe(whole.timestamps.length);
    expect(Math.max(...many)).toBeGreaterThan(1);
  }
});
