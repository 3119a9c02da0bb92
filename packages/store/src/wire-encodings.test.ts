/** Blocks with every chunk encoding behind StoreAPI: what goes out has a number there, and is queried back whole. */

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { ChunkEncoding, labelValue, Matcher } from "@torus/model";
import {
  decodeSeriesResponse,
  emptySeriesRequest,
  encodeSeriesRequest,
  type WireSeries,
} from "@torus/protocol";
import type { GrpcCall } from "@torus/server";
import { BlockReader, decodeSamples } from "@torus/tsdb";
import { expect, test } from "vitest";
import { mergeCopies } from "./dedup/dedup.ts";
import { unionColumns } from "./dedup/union.ts";
import { START_TIMES_HEADER, StartTimes } from "./start-times-header.ts";
import { storeMethods } from "./store-service.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../test/golden/tsdb/blocks");

type Histogram = { count: string; hint: string };
type Sample =
  | [time: number, value: string, startTime?: number]
  | { t: number; h?: Histogram; fh?: Histogram; st?: number };
type Golden = {
  blocks: {
    ulid: string;
    content: { series: { labels: [string, string][]; samples: Sample[] }[] };
  }[];
};

const call: GrpcCall = { metadata: new Map(), signal: new AbortController().signal, peer: "test" };

async function seriesOf(dir: string, header = ""): Promise<WireSeries[]> {
  const queryable = new BlockReader(dir);
  const { minTime: mint, maxTime: maxt } = queryable;
  const methods = storeMethods({
    componentType: "store",
    sources: () => [{ labels: ["replica", "a"], mint, maxt, queryable }],
    ready: () => true,
    openEnded: false,
  });
  const method = methods["/thanos.Store/Series"];
  if (method?.kind !== "serverStream") throw new Error("Series is no stream");
  const request = encodeSeriesRequest({
    ...emptySeriesRequest(),
    minTime: mint,
    maxTime: maxt,
    matchers: [new Matcher("!=", "__name__", "")],
  });
  const out: WireSeries[] = [];
  const metadata = new Map(header === "" ? [] : [[START_TIMES_HEADER, header]]);
  for await (const frame of method.handler(request, { ...call, metadata })) {
    const { series, warnings } = decodeSeriesResponse(frame);
    expect(warnings).toEqual([]);
    out.push(...series);
  }
  return out;
}

test.each([
  "xor2-and-start-timestamps",
  "xor2-without-start-timestamps",
  "histograms",
  "tombstones",
])("block %s", async (name) => {
  const golden = JSON.parse(readFileSync(path.join(root, `${name}.json`), "utf8")) as Golden;
  for (const ulid of readdirSync(path.join(root, name))) {
    const want = golden.blocks.find((block) => block.ulid === ulid)?.content.series ?? [];
    const got = await seriesOf(path.join(root, name, ulid));
    expect(got.map(({ labels }) => labelValue(labels, "__name__"))).toEqual(
      want.map(({ labels }) => labels[0]?.[1]),
    );
    for (const [i, { samples }] of want.entries()) {
      const chunks = got[i]?.chunks ?? [];
      for (const chunk of chunks) {
        expect(chunk.encoding).toBeLessThanOrEqual(ChunkEncoding.FLOAT_HISTOGRAM);
        expect(decodeSamples(chunk).startTimes).toBeNull();
      }
      const columns = mergeCopies(chunks, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
      const times = samples.map((sample) => (Array.isArray(sample) ? sample[0] : sample.t));
      expect([...columns.timestamps]).toEqual(times);
      for (const [k, sample] of samples.entries()) {
        const histogram = columns.histograms?.[k];
        if (Array.isArray(sample)) {
          expect(histogram).toBeUndefined();
          if (!sample[1].startsWith("NaN")) expect(columns.values[k]).toBe(Number(sample[1]));
        } else {
          const { count, hint } = sample.h ?? sample.fh ?? { count: "", hint: "" };
          expect([histogram?.count, histogram?.counterResetHint]).toEqual([Number(count), hint]);
        }
      }
    }
  }
});

test("who asks for start timestamps gets those of floats and native histograms", async () => {
  const name = "xor2-and-start-timestamps";
  const golden = JSON.parse(readFileSync(path.join(root, `${name}.json`), "utf8")) as Golden;
  const encodings = new Set<number>();
  for (const ulid of readdirSync(path.join(root, name))) {
    const want = golden.blocks.find((block) => block.ulid === ulid)?.content.series ?? [];
    const got = await seriesOf(path.join(root, name, ulid), StartTimes.WANTED);
    const stored = await seriesOf(path.join(root, name, ulid), StartTimes.STORED);
    for (const [i, { samples }] of want.entries()) {
      const chunks = got[i]?.chunks ?? [];
      for (const { encoding } of chunks) encodings.add(encoding);
      expect(stored[i]?.chunks).toEqual(chunks);
      const columns = mergeCopies(chunks, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
      const starts = samples.map((sample) => (Array.isArray(sample) ? sample[2] : sample.st) ?? 0);
      const none = starts.map(() => 0);
      expect([...(columns.startTimestamps ?? none)]).toEqual(starts);
      // A copy that was stored without them takes nothing away, whichever comes first.
      const bare = { ...columns, startTimestamps: null };
      for (const pair of [
        [columns, bare],
        [bare, columns],
      ]) {
        expect([...(unionColumns(pair).startTimestamps ?? none)]).toEqual(starts);
      }
    }
  }
  expect([...encodings].some((encoding) => encoding === ChunkEncoding.XOR2)).toBe(true);
});
