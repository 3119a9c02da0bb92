/** Decoding a chunk of 120 samples into the columns of a query, by encoding; and writing it. */

import { type Chunk, ChunkEncoding } from "@torus/model";
import { bench, describe } from "vitest";
import { decodeChunk, withoutStartTimes } from "./chunk-samples.ts";
import { encodeSamples } from "./encode-samples.ts";
import { bitsOf, type StoredSamples } from "./samples.ts";
import type { StoredHistogram } from "./stored-histogram.ts";

const SAMPLES = 120;
const BUCKETS = 20;

const times = BigInt64Array.from({ length: SAMPLES }, (_, i) =>
  BigInt(1_700_000_000_000 + 15_000 * i),
);
const startTimes = new BigInt64Array(SAMPLES).fill(1_699_999_000_000n);

/** A counter that rises by something else each time. */
function floats(): StoredSamples {
  let total = 0;
  const values = BigUint64Array.from({ length: SAMPLES }, (_, i) => {
    total += ((i * 48_271) % 977) / 8;
    return bitsOf(total);
  });
  return { times, startTimes, values, histograms: null };
}

function histograms(float: boolean): StoredSamples {
  const layout = {
    schema: 3,
    zeroThreshold: 2 ** -128,
    positiveSpans: [{ offset: 0, length: BUCKETS }],
    negativeSpans: [],
    customValues: new Float64Array(0),
  };
  const out: StoredHistogram[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const counts = Array.from(
      { length: BUCKETS },
      (_, k) => i * (k % 7) + Math.floor(((i * k * 31) % 97) / 97) + k,
    );
    const number = (value: number) => (float ? bitsOf(value) : BigInt(value));
    const positive = BigInt64Array.from(counts, (count, k) =>
      float ? BigInt.asIntN(64, bitsOf(count)) : BigInt(count - (counts[k - 1] ?? 0)),
    );
    const count = counts.reduce((sum, one) => sum + one, 0);
    const negative = new BigInt64Array(0);
    const sum = bitsOf(count * 1.5);
    out.push({
      float,
      hint: "unknown",
      layout,
      zeroCount: number(0),
      count: number(count),
      sum,
      positive,
      negative,
    });
  }
  return { times, startTimes, values: BigUint64Array.from(out, ({ sum }) => sum), histograms: out };
}

const cases: readonly [name: string, samples: StoredSamples, startTimes: boolean][] = [
  ["XOR", floats(), false],
  ["XOR2 with start timestamps", floats(), true],
  ["integer histograms of 20 buckets", histograms(false), false],
  ["float histograms of 20 buckets", histograms(true), false],
];

describe.each(cases)("%s, 120 samples", (_, samples, withStartTimes) => {
  const [chunk] = encodeSamples(samples, withStartTimes) as [Chunk];

  bench("decode into columns", () => {
    decodeChunk(chunk, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
  });

  bench("encode", () => {
    encodeSamples(samples, withStartTimes);
  });

  if (chunk.encoding === ChunkEncoding.XOR2) {
    bench("write again without start timestamps", () => {
      withoutStartTimes(chunk);
    });
  }
});
