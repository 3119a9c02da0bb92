/** Sources whose chunks come written already, and are good until the next batch only. */

import {
  type Chunk,
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSeries,
  compareLabels,
  type EncodedSeries,
  type Labels,
  Matcher,
} from "@torus/model";
import {
  decodeSeriesFrame,
  decodeSeriesResponse,
  emptySeriesRequest,
  LabelTable,
  SeriesMessage,
  type SeriesRequest,
  type WireSeries,
} from "@torus/protocol";
import type { GrpcCall } from "@torus/server";
import fc from "fast-check";
import { expect, test } from "vitest";
import { seriesAnswer } from "./series-answer.ts";
import type { StoreSource } from "./source.ts";

function chunkOf(time: number, samples: number): Chunk {
  // Nobody on the way looks into it.
  const data = Uint8Array.from({ length: 5 + time }, (_, i) => time + i);
  return { minTime: time, maxTime: time + samples - 1, encoding: ChunkEncoding.XOR, data };
}

function runOf(chunks: readonly Chunk[]): Uint8Array {
  const message = new SeriesMessage(false);
  message.add([], chunks);
  const { series } = decodeSeriesFrame(message.take(), new LabelTable(0));
  return series[0]?.chunks[0] ?? new Uint8Array(0);
}

/** Gives its series in batches; those that are written lie in one buffer, which the next batch is written over. */
class Reusing implements ChunkQueryable {
  readonly #series: readonly ChunkSeries[];
  readonly #batch: number;
  readonly selectEncoded?: () => AsyncIterable<readonly EncodedSeries[]>;

  constructor(series: readonly ChunkSeries[], batch: number, isEncoded: boolean) {
    this.#series = series;
    this.#batch = batch;
    if (isEncoded) this.selectEncoded = () => this.#encoded();
  }

  async *selectChunks(): AsyncGenerator<readonly ChunkSeries[]> {
    for (let i = 0; i < this.#series.length; i += this.#batch) {
      yield this.#series.slice(i, i + this.#batch);
    }
  }

  async *#encoded(): AsyncGenerator<readonly EncodedSeries[]> {
    const buffer = new Uint8Array(1 << 16);
    for (let i = 0; i < this.#series.length; i += this.#batch) {
      buffer.fill(0xff);
      let at = 0;
      yield this.#series.slice(i, i + this.#batch).map(({ labels, chunks }) => {
        const run = runOf(chunks);
        buffer.set(run, at);
        at += run.length;
        return { labels, chunks: [buffer.subarray(at - run.length, at)] };
      });
    }
  }

  labelNames(): Promise<string[]> {
    const names = new Set(
      this.#series.flatMap(({ labels }) => labels.filter((_, i) => i % 2 === 0)),
    );
    return Promise.resolve([...names].sort());
  }

  labelValues(): Promise<string[]> {
    return Promise.resolve([]);
  }
}

const call: GrpcCall = { metadata: new Map(), signal: new AbortController().signal, peer: "test" };

async function answer(
  given: readonly { external: Labels; series: readonly ChunkSeries[]; batch: number }[],
  isEncoded: boolean,
  request: Partial<SeriesRequest>,
): Promise<WireSeries[]> {
  const sources = given.map(
    ({ external, series, batch }): StoreSource => ({
      labels: external,
      mint: 0,
      maxt: 1000,
      queryable: new Reusing(series, batch, isEncoded),
    }),
  );
  const asked = {
    ...emptySeriesRequest(),
    minTime: 0,
    maxTime: 1000,
    matchers: [new Matcher("!=", "__name__", "")],
    ...request,
  };
  const out: WireSeries[] = [];
  for await (const frame of seriesAnswer(sources, asked, call)) {
    // What comes next may be written over this one.
    out.push(...decodeSeriesResponse(Uint8Array.from(frame)).series);
  }
  return out;
}

const name = fc.constantFrom("a", "b", "rep", "z");
const value = fc.constantFrom("1", "2");
const anySeries = fc.array(
  fc.tuple(
    fc.uniqueArray(fc.tuple(name, value), { maxLength: 3, selector: ([label]) => label }),
    fc.uniqueArray(fc.nat(90), { minLength: 1, maxLength: 3 }),
  ),
  { minLength: 1, maxLength: 12 },
);
const anySource = fc.record({
  series: anySeries,
  batch: fc.integer({ min: 1, max: 4 }),
  external: fc.constantFrom<Labels>(["rep", "x"], ["m", "1", "rep", "y"], []),
});

/** Sorted, label sets once, chunks in time order. */
function sorted(series: typeof anySeries extends fc.Arbitrary<infer T> ? T : never): ChunkSeries[] {
  const byKey = new Map<string, ChunkSeries>();
  for (const [pairs, places] of series) {
    const labels = ["__name__", "up", ...pairs.sort((a, b) => (a[0] < b[0] ? -1 : 1)).flat()];
    const chunks = places.sort((a, b) => a - b).map((place) => chunkOf(1 + place * 10, 10));
    byKey.set(JSON.stringify(labels), { labels, chunks });
  }
  return [...byKey.values()].sort((a, b) => compareLabels(a.labels, b.labels));
}

test("the answer is that of sources that give chunks, however labels come and go", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anySource, { minLength: 1, maxLength: 3 }),
      fc.constantFrom<string[]>([], ["rep"], ["a", "rep"]),
      fc.constantFrom(0, 3),
      fc.constantFrom(0, 2),
      async (all, withoutReplicaLabels, responseBatchSize, limit) => {
        const given = all.map((each) => ({ ...each, series: sorted(each.series) }));
        const request = { withoutReplicaLabels, responseBatchSize, limit };
        const want = await answer(given, false, request);
        expect(want.length).toBeGreaterThan(0);
        expect(await answer(given, true, request)).toEqual(want);
      },
    ),
    { numRuns: 300 },
  );
});
