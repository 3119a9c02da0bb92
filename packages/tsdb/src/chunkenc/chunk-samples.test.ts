import { readFileSync } from "node:fs";
import { type Chunk, ChunkEncoding } from "@torus/model";
import { expect, test } from "vitest";
import { decodeChunk, decodeSamples, keepSamples, withoutStartTimes } from "./chunk-samples.ts";
import { sampleNotation } from "./notation.ts";
import { ChunkMalformedError } from "./xor-window.ts";

/** Every chunk that Prometheus' tsdb/chunkenc wrote; see test/golden/tsdb/README.md. */
function goldenChunks(): [name: string, chunk: Chunk][] {
  const out: [string, Chunk][] = [];
  for (const file of ["chunks-float", "chunks-histogram"]) {
    const url = new URL(`../../../../test/golden/tsdb/${file}.json`, import.meta.url);
    const { cases } = JSON.parse(readFileSync(url, "utf8")) as {
      cases: {
        name: string;
        encoding_byte: ChunkEncoding;
        hex?: string;
        chunks?: { hex: string }[];
      }[];
    };
    for (const { name, encoding_byte: encoding, hex, chunks } of cases) {
      for (const [i, text] of (chunks ?? [{ hex: hex as string }]).entries()) {
        const data = new Uint8Array(Buffer.from(text.hex, "hex"));
        const { times } = decodeSamples({ encoding, data });
        const minTime = Number(times[0]);
        out.push([`${name}#${i}`, { encoding, data, minTime, maxTime: Number(times.at(-1)) }]);
      }
    }
  }
  return out;
}

const chunks = goldenChunks();

function shown(chunk: Chunk, withStartTimes: boolean): unknown[] {
  const samples = decodeSamples(chunk);
  return Array.from(samples.times, (_, i) => sampleNotation(samples, i, withStartTimes));
}

test.each(chunks)("%s keeps its samples without start timestamps, hints included", (_, chunk) => {
  const plain = withoutStartTimes(chunk);
  expect(plain.encoding).toBeLessThanOrEqual(ChunkEncoding.FLOAT_HISTOGRAM);
  expect(shown(plain, false)).toEqual(shown(chunk, false));
});

// An appender made by reading a chunk may use a window that a new one has not.
const written = chunks.filter(([name]) => !/reopened|empty/.test(name));

test.each(written)("%s, written again from its samples, has the same bytes", (_, chunk) => {
  expect(keepSamples(chunk, () => true)).toEqual(chunk);
});

test.each(chunks)("%s in columns is what the exact samples say", (_, chunk) => {
  const columns = decodeChunk(chunk, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
  const { times, values, histograms, startTimes } = decodeSamples(chunk);
  expect([...columns.timestamps]).toEqual(Array.from(times, Number));
  expect(new Uint8Array(columns.values.slice().buffer)).toEqual(new Uint8Array(values.buffer));
  expect(columns.startTimestamps === null).toBe(startTimes === null);
  for (const [i, histogram] of (histograms ?? []).entries()) {
    const got = columns.histograms?.[i];
    expect(got?.count).toBe(
      histogram.float
        ? new Float64Array(BigUint64Array.of(histogram.count).buffer)[0]
        : Number(histogram.count),
    );
    expect(got?.positiveBuckets.length).toBe(histogram.positive.length);
    expect(got?.counterResetHint).toBe(histogram.hint);
  }
});

test.each(chunks)("%s with its middle taken out has the samples around it", (_, chunk) => {
  const samples = shown(chunk, true);
  const from = decodeSamples(chunk).times.at(samples.length >> 2) ?? 0n;
  const to = decodeSamples(chunk).times.at((samples.length * 3) >> 2) ?? 0n;
  const left = keepSamples(chunk, (t) => t < Number(from) || t > Number(to));
  const want = decodeSamples(chunk).times.filter(
    (t) => Number(t) < Number(from) || Number(t) > Number(to),
  );
  if (left === null) expect(want.length).toBe(0);
  else {
    expect(decodeSamples(left).times).toEqual(want);
    expect([left.minTime, left.maxTime]).toEqual([Number(want[0]), Number(want.at(-1))]);
  }
});

test("an encoding that is not known is an error with its number", () => {
  const data = Uint8Array.of(0, 1, 2, 3);
  expect(() => decodeSamples({ encoding: 9 as ChunkEncoding, data })).toThrow(ChunkMalformedError);
});
