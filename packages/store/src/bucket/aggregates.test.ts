/** Golden: the chunks of blocks that Thanos' own downsampling wrote (test/golden/tsdb/downsample). */

import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { AGGREGATE_ORDER, splitAggregates } from "./aggregates.ts";
import { BlockFileDamagedError } from "./index-bytes.ts";

type Level = {
  series: {
    chunks: {
      hex: string;
      aggregates: Record<string, { encoding_byte: number; samples: unknown[] } | string>;
    }[];
  }[];
};

describe.each(["floats", "histograms", "long"])("%s", (name) => {
  const file = path.join(
    import.meta.dirname,
    `../../../../test/golden/tsdb/downsample/${name}.json`,
  );
  const golden = JSON.parse(readFileSync(file, "utf8")) as Record<string, Level>;
  const levels = ["res_300000", "res_3600000"].map((key) => golden[key] as Level);
  const chunks = levels.flatMap(({ series }) => series.flatMap((one) => one.chunks));

  test("every chunk has the aggregates that Thanos reads from it", () => {
    expect(chunks.length).toBeGreaterThan(0);
    for (const { hex, aggregates } of chunks) {
      const found = splitAggregates(Buffer.from(hex, "hex"));
      const summary = AGGREGATE_ORDER.flatMap((aggregate) => {
        const chunk = found[aggregate];
        if (chunk === undefined) return [];
        // Every plain encoding begins with its number of samples; histograms keep flags in the byte after it.
        const count = Buffer.from(chunk.data).readUInt16BE(0);
        return [[aggregate, chunk.encoding, count]];
      });
      const expected = AGGREGATE_ORDER.flatMap((aggregate) => {
        const one = aggregates[aggregate];
        // Where there is none the dump says so in words.
        return one === undefined || typeof one === "string"
          ? []
          : [[aggregate, one.encoding_byte, one.samples.length]];
      });
      expect(summary).toEqual(expected);
    }
  });

  test("every cut of a chunk is reported", () => {
    const data = Buffer.from((chunks[0] as { hex: string }).hex, "hex");
    for (let at = 0; at < data.length; at++) {
      expect(() => splitAggregates(data.subarray(0, at))).toThrow(BlockFileDamagedError);
    }
  });
});
