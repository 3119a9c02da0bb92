/** The fan-out over real gRPC on loopback: series in memory behind StoreAPI, columns out. */

import { readFileSync } from "node:fs";
import path from "node:path";
import {
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
  compareLabels,
  compareStrings,
  type LabelSelect,
  type Labels,
  labelValue,
  Matcher,
} from "@torus/model";
import { createGrpcJsClient, createLogger, GrpcServer } from "@torus/server";
import { Registry } from "prom-client";
import { afterEach, describe, expect, test } from "vitest";
import { storeMethods } from "../store-service.ts";
import { EndpointSet } from "./endpoints.ts";
import { spareReplicas } from "./missing.ts";
import { ProxyQueryable, type ProxyQueryOptions } from "./proxy-queryable.ts";

type GoldenSamples = [ms: number, value: number | string][];
type GoldenChunk = { min_time: number; max_time: number; xor_base64: string };
type ChunkCase = {
  id: string;
  mint: number;
  maxt: number;
  stores: GoldenChunk[][];
  penalty_default: GoldenSamples;
};

const { chunk_level: cases } = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../test/golden/dedup.json"), "utf8"),
) as { chunk_level: ChunkCase[] };

class InMemorySeries implements ChunkQueryable {
  readonly #series: readonly ChunkSeries[];

  constructor(series: readonly ChunkSeries[]) {
    this.#series = [...series].sort((a, b) => compareLabels(a.labels, b.labels));
  }

  #matching({ mint, maxt, matchers }: LabelSelect | ChunkSelect): ChunkSeries[] {
    return this.#series.flatMap(({ labels, chunks }) => {
      const inRange = chunks.filter((chunk) => chunk.minTime <= maxt && chunk.maxTime >= mint);
      const isWanted = matchers.every((each) => each.matches(labelValue(labels, each.name)));
      return isWanted && inRange.length > 0 ? [{ labels, chunks: inRange }] : [];
    });
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    const found = this.#matching(select);
    const limited = select.limit > 0 ? found.slice(0, select.limit) : found;
    yield limited.map(({ labels, chunks }) => ({
      labels,
      chunks: select.skipChunks ? [] : chunks,
    }));
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    const names = this.#matching(select).flatMap(({ labels }) =>
      labels.filter((_, i) => i % 2 === 0),
    );
    return [...new Set(names)].sort(compareStrings);
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = this.#matching(select).map(({ labels }) => labelValue(labels, name));
    return [...new Set(values)].filter((value) => value !== "").sort(compareStrings);
  }
}

const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const running: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop();
});

type Store = { external: Labels; series: readonly ChunkSeries[] };

/** The external labels are read anew for every call. */
async function serve(store: Store): Promise<{ address: string; stop: () => Promise<void> }> {
  const { series } = store;
  const server = new GrpcServer({ log, metrics: new Registry(), maxMessageBytes: 1 << 24 });
  const chunks = series.flatMap((each) => each.chunks);
  server.add(
    storeMethods({
      componentType: "receive",
      sources: () => [
        {
          labels: store.external,
          mint: Math.min(...chunks.map((chunk) => chunk.minTime)),
          maxt: Math.max(...chunks.map((chunk) => chunk.maxTime)),
          queryable: new InMemorySeries(series),
        },
      ],
      ready: () => true,
      openEnded: true,
    }),
  );
  const address = await server.listen("127.0.0.1:0");
  const stop = () => server.stop(0);
  running.push(stop);
  return { address, stop };
}

async function watch(
  addresses: readonly string[],
  { strict = false, now = Date.now }: { strict?: boolean; now?: () => number } = {},
): Promise<EndpointSet> {
  const set = endpointSet(now);
  set.set(addresses.map((address) => ({ address, strict, tls: null })));
  await set.start();
  return set;
}

function endpointSet(now: () => number): EndpointSet {
  const set = new EndpointSet({
    connect: ({ address }) => createGrpcJsClient(address, { maxMessageBytes: 1 << 24 }),
    infoIntervalMs: 3_600_000,
    infoTimeoutMs: 5000,
    unhealthyTimeoutMs: 300_000,
    now,
    log,
  });
  running.push(async () => set.stop());
  return set;
}

async function proxy(
  set: EndpointSet,
  options: Partial<ProxyQueryOptions>,
): Promise<ProxyQueryable> {
  return new ProxyQueryable({
    endpoints: await set.stores(),
    spareReplicas: 0,
    dedup: true,
    ringReplicaLabels: [],
    replicaLabels: [],
    algorithm: "penalty",
    partialResponse: true,
    responseTimeoutMs: 0,
    maxResolutionMs: 0,
    tenant: "default-tenant",
    ...options,
  });
}

type Read = { labels: Labels; samples: GoldenSamples }[];

async function read(
  from: ProxyQueryable,
  mint: number,
  maxt: number,
  warnings: string[] = [],
): Promise<Read> {
  const out: Read = [];
  const batches = from.select({
    mint,
    maxt,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
    hints: { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false },
    onWarning: (text) => warnings.push(text),
  });
  for await (const batch of batches) {
    for (const { labels, timestamps, values } of batch) {
      out.push({ labels, samples: [...timestamps].map((t, i) => [t, values[i] as number]) });
    }
  }
  return out;
}

const chunksOf = (chunks: readonly GoldenChunk[]) =>
  chunks.map(({ min_time, max_time, xor_base64 }) => ({
    minTime: min_time,
    maxTime: max_time,
    encoding: ChunkEncoding.XOR,
    data: new Uint8Array(Buffer.from(xor_base64, "base64")),
  }));

/** Of plain numbers only: the special values have their tests beside dedup. */
const plain = cases.filter(
  ({ stores, penalty_default: samples }) =>
    stores.every((chunks) => chunks.length > 0) &&
    samples.every(([, value]) => typeof value === "number"),
);
const firstCase = plain.find(({ stores }) => stores.length === 2) as ChunkCase;
const UP: Labels = ["__name__", "up"];

test("there are cases to run", () => expect(plain.length).toBeGreaterThan(10));

test.each(plain.map((one) => [one.id, one] as const))(
  "replicas of %s behind one endpoint become one series with Thanos' samples",
  async (_, { stores, mint, maxt, penalty_default: expected }) => {
    const series = stores.map((chunks, i) => ({
      labels: [...UP, "replica", String(i)],
      chunks: chunksOf(chunks),
    }));
    const { address } = await serve({ external: [], series });
    const set = await watch([address]);
    const got = await read(await proxy(set, { replicaLabels: ["replica"] }), mint, maxt);
    expect(got).toEqual([{ labels: UP, samples: expected }]);
  },
);

test.each(plain.map((one) => [one.id, one] as const))(
  "replicas of %s, an endpoint each, become one series with Thanos' samples",
  async (_, { stores, mint, maxt, penalty_default: expected }) => {
    const served = await Promise.all(
      stores.map((chunks, i) =>
        serve({
          external: ["replica", String(i)],
          series: [{ labels: UP, chunks: chunksOf(chunks) }],
        }),
      ),
    );
    const set = await watch(served.map(({ address }) => address));
    const got = await read(await proxy(set, { replicaLabels: ["replica"] }), mint, maxt);
    expect(got).toEqual([{ labels: UP, samples: expected }]);
  },
);

test("copies of the ring are one series, and without dedup each is its own", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const served = await Promise.all(
    ["a", "b", "c"].map((name) => serve({ external: ["receive_replica", name], series })),
  );
  const set = await watch(served.map(({ address }) => address));
  const [one] = await read(await proxy(set, { dedup: false }), mint, maxt);
  const joined = await read(
    await proxy(set, { ringReplicaLabels: ["receive_replica"] }),
    mint,
    maxt,
  );
  expect(joined).toEqual([{ labels: UP, samples: one?.samples }]);
  const apart = await read(await proxy(set, { dedup: false }), mint, maxt);
  expect(apart.map(({ labels }) => labelValue(labels, "receive_replica"))).toEqual(["a", "b", "c"]);
});

test("an endpoint that is gone is a warning with partial response, else the end", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const stays = await serve({ external: ["receive_replica", "a"], series });
  const goes = await serve({ external: ["receive_replica", "b"], series });
  const set = await watch([stays.address, goes.address]);
  await goes.stop();
  const warnings: string[] = [];
  const options = { ringReplicaLabels: ["receive_replica"] };
  const got = await read(await proxy(set, options), mint, maxt, warnings);
  expect(got).toHaveLength(1);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain(goes.address);
  await expect(
    read(await proxy(set, { ...options, partialResponse: false }), mint, maxt),
  ).rejects.toThrow(`receive series from ${goes.address}`);
});

test("an endpoint known to be silent is missed until the unhealthy timeout has passed", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const stays = await serve({ external: ["receive_replica", "a"], series });
  const goes = await serve({ external: ["receive_replica", "b"], series });
  let ms = 1_000_000;
  const set = await watch([stays.address, goes.address], { now: () => ms });
  await goes.stop();
  ms += 5000;
  await set.check();
  const options = { ringReplicaLabels: ["receive_replica"] };
  const warnings: string[] = [];
  expect(await read(await proxy(set, options), mint, maxt, warnings)).toHaveLength(1);
  expect(warnings).toEqual([
    expect.stringContaining(`endpoint ${goes.address} does not answer: `) as string,
  ]);
  const whole = await proxy(set, { ...options, partialResponse: false });
  await expect(read(whole, mint, maxt)).rejects.toThrow(`${goes.address} does not answer`);
  await expect(
    whole.labelNames({
      mint,
      maxt,
      matchers: [],
      limit: 0,
      signal: new AbortController().signal,
      onWarning: () => {},
    }),
  ).rejects.toThrow(`${goes.address} does not answer`);

  ms += 300_000;
  await set.check();
  const later: string[] = [];
  expect(await read(await proxy(set, options), mint, maxt, later)).toHaveLength(1);
  expect(later).toEqual([]);
});

test.each([true, false])(
  "an endpoint that never answered, strict %s, is missed until the unhealthy timeout, a strict one always",
  async (strict) => {
    const { stores, mint, maxt } = firstCase;
    const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
    const gone = await serve({ external: [], series });
    await gone.stop();
    let ms = 1_000_000;
    const set = await watch([gone.address], { strict, now: () => ms });
    const warnings: string[] = [];
    expect(await read(await proxy(set, {}), mint, maxt, warnings)).toEqual([]);
    expect(warnings).toHaveLength(1);
    const whole = read(await proxy(set, { partialResponse: false }), mint, maxt);
    await expect(whole).rejects.toThrow(`${gone.address} does not answer`);
    ms += 300_000;
    const later: string[] = [];
    expect(await read(await proxy(set, {}), mint, maxt, later)).toEqual([]);
    expect(later).toHaveLength(strict ? 1 : 0);
  },
);

test("nothing is asked before the first round of Infos is over", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const { address } = await serve({ external: [], series });
  const set = endpointSet(Date.now);
  set.set([{ address, strict: false, tls: null }]);
  const started = set.start();
  const warnings: string[] = [];
  expect(await read(await proxy(set, {}), mint, maxt, warnings)).toHaveLength(1);
  expect(warnings).toEqual([]);
  await started;
});

test("an endpoint named later is asked at once, and one no longer named is not asked", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const [a, b] = [
    await serve({ external: ["replica", "a"], series }),
    await serve({ external: ["replica", "b"], series }),
  ];
  const set = await watch([a.address]);
  set.set([{ address: b.address, strict: false, tls: null }]);
  expect(set.listed().map(({ address }) => address)).toEqual([b.address]);
  while (set.listed().some(({ info }) => info === null)) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const got = await read(await proxy(set, {}), mint, maxt);
  expect(got.map(({ labels }) => labelValue(labels, "replica"))).toEqual(["b"]);
});

test("a node that takes samples is asked for a tenant that its last Info did not know", async () => {
  const { stores, mint, maxt } = firstCase;
  const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
  const store: Store = { external: ["tenant_id", "a"], series };
  const { address } = await serve(store);
  const set = await watch([address]);
  store.external = ["tenant_id", "b"];
  const found = (await proxy(set, {})).select({
    mint,
    maxt,
    matchers: [new Matcher("=", "tenant_id", "b"), new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
    hints: { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false },
    onWarning: () => {},
  });
  let count = 0;
  for await (const batch of found) count += batch.length;
  expect(count).toBe(1);
});

describe("a ring of three nodes with replication factor 3", () => {
  const options = {
    ringReplicaLabels: ["receive_replica"],
    spareReplicas: spareReplicas(3),
    partialResponse: false,
  };
  const ring = async () => {
    const { stores } = firstCase;
    const series = [{ labels: UP, chunks: chunksOf(stores[0] as GoldenChunk[]) }];
    const nodes = await Promise.all(
      ["a", "b", "c"].map((name) => serve({ external: ["receive_replica", name], series })),
    );
    return { nodes, set: await watch(nodes.map(({ address }) => address)) };
  };
  const { mint, maxt } = firstCase;

  test.each([false, true])("is whole without one, whose silence is known: %s", async (isKnown) => {
    const { nodes, set } = await ring();
    await nodes[1]?.stop();
    if (isKnown) await set.check();
    const warnings: string[] = [];
    expect(await read(await proxy(set, options), mint, maxt, warnings)).toHaveLength(1);
    expect(warnings).toEqual([]);
    const names = await (await proxy(set, options)).labelNames({
      mint,
      maxt,
      matchers: [],
      limit: 0,
      signal: new AbortController().signal,
      onWarning: (text) => warnings.push(text),
    });
    expect([names, warnings]).toEqual([["__name__"], []]);
  });

  test.each([false, true])(
    "is not whole without two, whose silence is known: %s, and both are told",
    async (isKnown) => {
      const { nodes, set } = await ring();
      await nodes[1]?.stop();
      await nodes[2]?.stop();
      if (isKnown) await set.check();
      await expect(read(await proxy(set, options), mint, maxt)).rejects.toThrow("127.0.0.1");
      const warnings: string[] = [];
      const partial = await proxy(set, { ...options, partialResponse: true });
      expect(await read(partial, mint, maxt, warnings)).toHaveLength(1);
      expect(warnings).toHaveLength(2);
      for (const node of [1, 2]) expect(warnings.join()).toContain(nodes[node]?.address);
    },
  );

  test("is not whole without an endpoint that is not of the ring", async () => {
    const { set } = await ring();
    const other = await serve({
      external: ["cluster", "x"],
      series: [{ labels: UP, chunks: chunksOf(firstCase.stores[0] as GoldenChunk[]) }],
    });
    set.set([
      ...set.listed().map(({ address }) => ({ address, strict: false, tls: null })),
      { address: other.address, strict: false, tls: null },
    ]);
    await set.check();
    await other.stop();
    await expect(read(await proxy(set, options), mint, maxt)).rejects.toThrow(other.address);
  });
});

test.each([
  [1, 0],
  [2, 0],
  [3, 1],
  [4, 2],
  [5, 2],
])("of replication factor %i a ring can spare %i nodes", (factor, spare) =>
  expect(spareReplicas(factor)).toBe(spare),
);
