import { readFileSync } from "node:fs";
import path from "node:path";
import { ChunkEncoding, isStale, setStale, wordsOf } from "@torus/model";
import type { WireChunk } from "@torus/protocol";
import { describe, expect, test } from "vitest";
import type { Columns } from "./columns.ts";
import { dedupReplicas, mergeCopies } from "./dedup.ts";
import { penaltyDedup } from "./penalty.ts";
import { unionColumns } from "./union.ts";

type Value = number | "NaN" | "stale" | "+Inf" | "-Inf";
type Samples = [ms: number, value: Value][];
type SeriesCase = {
  id: string;
  category: string;
  replicas: Samples[];
  penalty_gauge: Samples;
  penalty_counter?: Samples;
  chain?: Samples;
};
type GoldenChunk = { min_time: number; max_time: number; xor_base64: string; samples: Samples };
type ChunkCase = {
  id: string;
  category: string;
  mint: number;
  maxt: number;
  stores: GoldenChunk[][];
  penalty_default: Samples;
  penalty_rate: Samples;
  nodedup_rate_first_store_only: Samples;
};

const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../test/golden/dedup.json"), "utf8"),
) as { series_level: SeriesCase[]; chunk_level: ChunkCase[] };

function columns(samples: Samples): Columns {
  const timestamps = Float64Array.from(samples, ([t]) => t);
  const values = new Float64Array(samples.length);
  samples.forEach(([, value], i) => {
    if (value === "stale") setStale(values, i);
    else values[i] = value === "+Inf" ? Infinity : value === "-Inf" ? -Infinity : Number(value);
  });
  return { timestamps, values, histograms: null, startTimestamps: null };
}

function samples({ timestamps, values }: Columns): Samples {
  // A view may begin in the middle of a buffer; a copy has its words at its start.
  const own = values.slice();
  const words = wordsOf(own);
  return [...timestamps].map((t, i) => {
    const value = own[i] as number;
    if (isStale(words, i)) return [t, "stale"];
    if (Number.isNaN(value)) return [t, "NaN"];
    if (!Number.isFinite(value)) return [t, value > 0 ? "+Inf" : "-Inf"];
    return [t, value];
  });
}

function chunks(stores: GoldenChunk[][]): WireChunk[] {
  return stores.flat().map(({ min_time, max_time, xor_base64 }) => ({
    minTime: min_time,
    maxTime: max_time,
    encoding: ChunkEncoding.XOR,
    data: new Uint8Array(Buffer.from(xor_base64, "base64")),
    hash: 0n,
    aggregate: "raw",
  }));
}

describe.each(golden.series_level)("$id $category", (one) => {
  const replicas = one.replicas.map(columns);

  test("penalty on a gauge", () => {
    expect(samples(penaltyDedup(replicas, false))).toEqual(one.penalty_gauge);
  });
});

// Absent where the input has NaNs.
test.each(golden.series_level.filter(({ penalty_counter }) => penalty_counter))(
  "$id $category: penalty on a counter",
  ({ replicas, penalty_counter }) => {
    expect(samples(penaltyDedup(replicas.map(columns), true))).toEqual(penalty_counter);
  },
);

// Absent where equal timestamps carry different values.
test.each(golden.series_level.filter(({ chain }) => chain))(
  "$id $category: chain",
  ({ replicas, chain }) => {
    expect(samples(unionColumns(replicas.map(columns)))).toEqual(chain);
  },
);

describe.each(golden.chunk_level)("$id $category", (one) => {
  const all = chunks(one.stores);

  test("penalty without a function", () => {
    expect(samples(dedupReplicas(all, one.mint, one.maxt, "penalty", ""))).toEqual(
      one.penalty_default,
    );
  });

  test("penalty under rate", () => {
    expect(samples(dedupReplicas(all, one.mint, one.maxt, "penalty", "rate"))).toEqual(
      one.penalty_rate,
    );
  });

  test("the counter-reset pass on one store alone", () => {
    const first = chunks([one.stores[0] as GoldenChunk[]]);
    expect(samples(dedupReplicas(first, one.mint, one.maxt, "penalty", "rate"))).toEqual(
      one.nodedup_rate_first_store_only,
    );
  });
});

test("copies of a ring come together without a gap, values untouched", () => {
  for (const one of golden.chunk_level) {
    const merged = samples(mergeCopies(chunks(one.stores), one.mint, one.maxt));
    const expected = new Map<number, Value[]>();
    for (const { samples: own } of one.stores.flat()) {
      for (const [t, value] of own) {
        if (t >= one.mint && t <= one.maxt) expected.set(t, [...(expected.get(t) ?? []), value]);
      }
    }
    expect(merged.map(([t]) => t)).toEqual([...expected.keys()].sort((a, b) => a - b));
    for (const [t, value] of merged) expect(expected.get(t)).toContainEqual(value);
  }
});

describe("native histograms", () => {
  type HistogramCase = {
    name: string;
    encoding_byte: ChunkEncoding;
    samples: { t: string; h: { count: string } }[];
    chunks: { hex: string; n: number }[];
  };
  const { cases } = JSON.parse(
    readFileSync(
      path.join(import.meta.dirname, "../../../../test/golden/tsdb/chunks-histogram.json"),
      "utf8",
    ),
  ) as { cases: HistogramCase[] };
  const regular = cases.find(({ name }) => name === "histogram/regular-20") as HistogramCase;
  const [golden] = regular.chunks;
  const times = regular.samples.map(({ t }) => Number(t));
  const chunk: WireChunk = {
    minTime: times[0] as number,
    maxTime: times.at(-1) as number,
    encoding: regular.encoding_byte,
    data: new Uint8Array(Buffer.from(golden?.hex ?? "", "hex")),
    hash: 0n,
    aggregate: "raw",
  };
  const counts = regular.samples.map(({ h }) => Number(h.count));

  test.each(["rate", "sum", ""])("come through every algorithm as they are, under %s", (func) => {
    for (const algorithm of ["penalty", "chain"] as const) {
      const got = dedupReplicas([chunk, { ...chunk, hash: 1n }], 0, 2 ** 50, algorithm, func);
      expect([...got.timestamps]).toEqual(times);
      expect(got.histograms?.map((histogram) => histogram?.count)).toEqual(counts);
    }
  });

  test("are cut to the range beside floats of the same series", () => {
    const after = columns([[(times.at(-1) as number) + 1000, 7]]);
    const merged = unionColumns([mergeCopies([chunk], times[5] as number, 2 ** 50), after]);
    expect([...merged.timestamps]).toEqual([...times.slice(5), ...after.timestamps]);
    expect(merged.histograms?.map((histogram) => histogram?.count)).toEqual([
      ...counts.slice(5),
      undefined,
    ]);
    expect(merged.values.at(-1)).toBe(7);
  });
});
