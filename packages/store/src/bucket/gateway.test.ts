/** The gateway over blocks that real Prometheus and Thanos wrote (test/golden), whole, by matchers, and damaged. */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type ChunkSelect,
  type ChunkSeries,
  compareStrings,
  Matcher,
  type MatchType,
  newUlid,
} from "@torus/model";
import { type Bucket, type BucketCall, InMemoryBucket } from "@torus/objstore";
import fc from "fast-check";
import { Registry } from "prom-client";
import { afterAll, describe, expect, test } from "vitest";
import { FetchLimitError, ObjectTooShortError } from "./bucket-pages.ts";
import {
  BucketGateway,
  type GatewayEvent,
  type GatewayOptions,
  type ServedBlock,
} from "./gateway.ts";
import { createGatewayMetrics } from "./gateway-metrics.ts";
import { BlockFileDamagedError } from "./index-bytes.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden");
const scratch = mkdtempSync(path.join(tmpdir(), "torus-gateway-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const signal = new AbortController().signal;

type GoldenSeries = {
  labels: [name: string, value: string][];
  chunks?: {
    file: number;
    offset: number;
    encoding: string;
    n: number;
    min: number;
    max: number;
    bytes: number;
  }[];
};
type GoldenBlock = { ulid: string; dir: string; series: GoldenSeries[] };

const ENCODINGS: Record<string, number> = {
  XOR: 1,
  histogram: 2,
  floathistogram: 3,
  XOR2: 4,
  histogramST: 5,
  floathistogramST: 6,
};

const goldenBlocks: [name: string, block: GoldenBlock][] = readdirSync(
  path.join(GOLDEN, "tsdb/blocks"),
)
  .filter((name) => !name.endsWith(".json"))
  .flatMap((name) => {
    const dir = path.join(GOLDEN, "tsdb/blocks", name);
    const { blocks } = JSON.parse(readFileSync(`${dir}.json`, "utf8")) as {
      blocks: { ulid: string; content: { index_series: GoldenSeries[] } }[];
    };
    return blocks.map(({ ulid, content }): [string, GoldenBlock] => [
      `${name} ${ulid}`,
      { ulid, dir: path.join(dir, ulid), series: content.index_series },
    ]);
  });

async function putBlock(bucket: Bucket, dir: string, ulid: string): Promise<void> {
  for (const file of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
    if (file !== "chunks") await bucket.put(`${ulid}/${file}`, readFileSync(path.join(dir, file)));
  }
}

function open(bucket: Bucket, change: Partial<GatewayOptions> = {}) {
  const events: GatewayEvent[] = [];
  const gateway = new BucketGateway(bucket, {
    ignoreDeletionMarksDelayMs: 86_400_000,
    consistencyDelayMs: 0,
    timeRange: () => ({ mint: Number.MIN_SAFE_INTEGER, maxt: Number.MAX_SAFE_INTEGER }),
    concurrency: 4,
    dataDir: mkdtempSync(`${scratch}/data-`),
    pageCacheBytes: 64 << 20,
    headerCacheBytes: 64 << 20,
    fetchConcurrency: 8,
    fetchLimitBytes: 0,
    blockSyncConcurrency: 4,
    now: Date.now,
    onEvent: (event) => events.push(event),
    ...change,
  });
  return { gateway, events };
}

async function served(bucket: Bucket, change?: Partial<GatewayOptions>): Promise<ServedBlock> {
  const { gateway } = open(bucket, change);
  await gateway.sync(signal);
  const [block] = gateway.blocks();
  if (block === undefined) throw [...gateway.broken().values()][0] ?? new Error("no block");
  return block;
}

const EVERYTHING: ChunkSelect = {
  mint: Number.MIN_SAFE_INTEGER,
  maxt: Number.MAX_SAFE_INTEGER,
  matchers: [new Matcher("=~", "__name__", ".*")],
  skipChunks: false,
  limit: 0,
  signal,
};

async function select(
  block: ServedBlock,
  change: Partial<ChunkSelect> = {},
): Promise<ChunkSeries[]> {
  const out: ChunkSeries[] = [];
  for await (const batch of block.queryable.selectChunks({ ...EVERYTHING, ...change })) {
    out.push(...batch);
  }
  return out;
}

const flat = (series: GoldenSeries) => series.labels.flat();

describe.each(goldenBlocks)("%s", (_, golden) => {
  test("every series and chunk is what Prometheus' own reader found", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, golden.dir, golden.ulid);
    const series = await select(await served(bucket));
    expect(series.map(({ labels }) => labels)).toEqual(golden.series.map(flat));
    for (const [i, { chunks }] of series.entries()) {
      const expected = golden.series[i]?.chunks;
      // The dump of many-values leaves them out.
      if (expected === undefined) continue;
      expect(
        chunks.map(({ minTime, maxTime, encoding, data }) => [
          minTime,
          maxTime,
          encoding,
          data.length,
        ]),
      ).toEqual(
        expected.map(({ min, max, encoding, bytes }) => [min, max, ENCODINGS[encoding], bytes]),
      );
      for (const [k, { data }] of chunks.entries()) {
        const { file, offset, bytes } = expected[k] as (typeof expected)[number];
        const segment = readFileSync(
          path.join(golden.dir, "chunks", String(file).padStart(6, "0")),
        );
        const start = offset + (bytes < 128 ? 1 : 2) + 1;
        expect(Buffer.compare(data, segment.subarray(start, start + bytes))).toBe(0);
      }
    }
  });

  test("label names and values are those of the series", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, golden.dir, golden.ulid);
    const { queryable } = await served(bucket);
    const all = { ...EVERYTHING, matchers: [] };
    const names = [...new Set(golden.series.flatMap(({ labels }) => labels.map(([name]) => name)))];
    expect(await queryable.labelNames(all)).toEqual(names.sort(compareStrings));
    for (const name of names) {
      const values = golden.series.flatMap(({ labels }) =>
        labels.filter(([n]) => n === name).map(([, v]) => v),
      );
      const expected = [...new Set(values)].sort(compareStrings);
      expect(await queryable.labelValues(name, all)).toEqual(expected);
      // The same through the series, as a matcher makes it.
      const matchers = [new Matcher("!=", name, "")];
      expect(await queryable.labelValues(name, { ...all, matchers })).toEqual(expected);
      expect(await queryable.labelNames({ ...all, matchers })).toContain(name);
      expect(await queryable.labelValues(name, { ...all, limit: 1 })).toEqual(expected.slice(0, 1));
    }
    expect(await queryable.labelValues("no_such_label", all)).toEqual([]);
    expect(await queryable.labelValues("", all)).toEqual([]);
  });
});

test("the block that a real Thanos receiver uploaded is served with its external labels", async () => {
  const ulid = "01M82YC7QKENRYZN3NA7W8CVT8";
  const bucket = new InMemoryBucket();
  await putBlock(bucket, path.join(GOLDEN, "thanos/bucket", ulid), ulid);
  // Its deletion mark is young enough at this time.
  const block = await served(bucket, { now: () => 1795395315000 });
  expect(block).toMatchObject({
    ulid,
    labels: ["region", "eu", "replica", "r0", "tenant_id", "default-tenant"],
    mint: 1700000000000,
    maxt: 1700002235002,
    resolutionMs: 0,
  });
  const series = await select(block);
  expect(series).toHaveLength(6);
  expect(series.flatMap(({ chunks }) => chunks)).toHaveLength(11);
  const { gateway } = open(bucket, { now: () => 1795395315000 + 86_400_000 });
  await gateway.sync(signal);
  expect(gateway.blocks()).toEqual([]);
});

test.each(
  readdirSync(path.join(GOLDEN, "tsdb/downsample")).filter((name) => !name.endsWith(".json")),
)("downsampling block %s is read", async (name) => {
  const ulid = name.slice(-26);
  const bucket = new InMemoryBucket();
  const dir = path.join(GOLDEN, "tsdb/downsample", name);
  await putBlock(bucket, dir, ulid);
  const meta = JSON.parse(readFileSync(path.join(dir, "meta.json"), "utf8")) as {
    stats: { numSeries: number; numChunks: number };
    thanos?: { downsample: { resolution: number } };
  };
  const block = await served(bucket);
  expect(block.resolutionMs).toBe(meta.thanos?.downsample.resolution ?? 0);
  const series = await select(block);
  expect(series).toHaveLength(meta.stats.numSeries);
  const chunks = series.flatMap((one) => one.chunks);
  expect(chunks).toHaveLength(meta.stats.numChunks);
  if (block.resolutionMs > 0)
    expect(new Set(chunks.map((chunk) => chunk.encoding))).toEqual(new Set([255]));
});

const manyValues = goldenBlocks.find(([name]) =>
  name.startsWith("many-values"),
)?.[1] as GoldenBlock;
const floats = goldenBlocks.find(([name]) => name.startsWith("floats"))?.[1] as GoldenBlock;

describe("selection", () => {
  const names = [
    ...new Set(manyValues.series.flatMap(({ labels }) => labels.map(([name]) => name))),
    "none",
  ];
  const values = [
    ...new Set(manyValues.series.flatMap(({ labels }) => labels.map(([, value]) => value))),
  ];
  const value = fc.constantFrom("", "none", ...values);
  const pattern = fc.oneof(
    fc.constantFrom(".*", ".+", "", "a.*", ".*1", "[0-9]+", "(a|b).*"),
    fc.array(value, { minLength: 1, maxLength: 3 }).map((list) => list.map(escape).join("|")),
  );
  const matcher = fc.oneof(
    fc.tuple(fc.constantFrom<MatchType>("=", "!="), fc.constantFrom(...names), value),
    fc.tuple(fc.constantFrom<MatchType>("=~", "!~"), fc.constantFrom(...names), pattern),
  );
  function escape(text: string): string {
    return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  }

  test("by any matchers gives the series that match one by one", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, manyValues.dir, manyValues.ulid);
    const block = await served(bucket);
    await fc.assert(
      fc.asyncProperty(fc.array(matcher, { minLength: 1, maxLength: 4 }), async (specs) => {
        const matchers = specs.map(([type, name, text]) => new Matcher(type, name, text));
        const expected = manyValues.series.filter(({ labels }) =>
          matchers.every((one) =>
            one.matches(labels.find(([name]) => name === one.name)?.[1] ?? ""),
          ),
        );
        const found = await select(block, { matchers, skipChunks: true });
        expect(found.map(({ labels }) => labels)).toEqual(expected.map(flat));
        expect(found.every(({ chunks }) => chunks.length === 0)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  test("by time gives the chunks that overlap, and no series without one", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const block = await served(bucket);
    const time = fc.integer({ min: block.mint - 1000, max: block.maxt + 1000 });
    await fc.assert(
      fc.asyncProperty(time, time, fc.boolean(), async (a, b, skipChunks) => {
        const [mint, maxt] = [Math.min(a, b), Math.max(a, b)];
        const expected = floats.series
          .map(({ labels, chunks }) => ({
            labels: labels.flat(),
            chunks: (chunks ?? [])
              .filter(({ min, max }) => max >= mint && min <= maxt)
              .map(({ min }) => min),
          }))
          .filter(({ chunks }) => chunks.length > 0)
          .map(({ labels, chunks }) => ({ labels, chunks: skipChunks ? [] : chunks }));
        const found = await select(block, { mint, maxt, skipChunks });
        expect(
          found.map(({ labels, chunks }) => ({
            labels,
            chunks: chunks.map(({ minTime }) => minTime),
          })),
        ).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });

  test("stops at its limit", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, manyValues.dir, manyValues.ulid);
    const block = await served(bucket);
    for (const limit of [1, 64, 65, 179, 180, 181]) {
      expect(await select(block, { limit })).toHaveLength(
        Math.min(limit, manyValues.series.length),
      );
    }
  });

  test("refuses to fetch more than it may, before it fetches", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    await expect(
      served(bucket, { fetchLimitBytes: 1000 }).then((block) => select(block)),
    ).rejects.toThrow(FetchLimitError);
  });

  test("that is given up ends with the reason", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const block = await served(bucket);
    await expect(select(block, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });
});

/** Counts range requests. */
class CountingBucket extends InMemoryBucket {
  requests = 0;
  failing = false;
  override async getRange(
    name: string,
    offset: number,
    length: number,
    call?: BucketCall,
  ): Promise<Uint8Array> {
    this.requests++;
    if (this.failing) throw new Error("503 slow down");
    return await super.getRange(name, offset, length, call);
  }
}

describe("the cache", () => {
  test("answers the second query without the bucket, and queries at once with one request each", async () => {
    const bucket = new CountingBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const block = await served(bucket);
    bucket.requests = 0;
    await Promise.all([select(block), select(block), select(block)]);
    // Index and one segment: a page each.
    expect(bucket.requests).toBe(2);
    bucket.failing = true;
    expect(await select(block)).toHaveLength(floats.series.length);
  });

  test("lets a query go on that waited for another's request when that one is given up", async () => {
    const controller = new AbortController();
    let waiting: (() => void) | undefined;
    const bucket = new (class extends InMemoryBucket {
      blocked = false;
      override async getRange(name: string, offset: number, length: number, call: BucketCall = {}) {
        if (this.blocked) {
          this.blocked = false;
          await new Promise<void>((resolve) => {
            waiting = resolve;
          });
        }
        return await super.getRange(name, offset, length, call);
      }
    })();
    await putBlock(bucket, floats.dir, floats.ulid);
    const block = await served(bucket);
    bucket.blocked = true;
    const given = select(block, { signal: controller.signal }).catch((error: Error) => error.name);
    while (waiting === undefined) await new Promise((resolve) => setImmediate(resolve));
    const other = select(block);
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    waiting();
    expect(await given).toBe("AbortError");
    expect(await other).toHaveLength(floats.series.length);
  });

  test("that holds nothing gives the same answers", async () => {
    const bucket = new CountingBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const block = await served(bucket, { pageCacheBytes: 0, headerCacheBytes: 0 });
    expect(await select(block)).toHaveLength(floats.series.length);
    bucket.requests = 0;
    await select(block);
    expect(bucket.requests).toBeGreaterThan(2);
    bucket.failing = true;
    await expect(select(block)).rejects.toThrow(/503/);
  });

  test("of index headers on disk spares the bucket after a restart, and is made anew when damaged", async () => {
    const bucket = new CountingBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const dataDir = mkdtempSync(`${scratch}/data-`);
    await served(bucket, { dataDir });
    bucket.requests = 0;
    await served(bucket, { dataDir });
    expect(bucket.requests).toBe(0);
    const file = path.join(dataDir, floats.ulid, "index-header");
    const body = readFileSync(file);
    for (const at of [0, 5, 40, body.length - 30, body.length - 1]) {
      const damaged = Buffer.from(body);
      damaged[at] = (damaged[at] as number) ^ 0x10;
      writeFileSync(file, damaged);
      expect(await select(await served(bucket, { dataDir }))).toHaveLength(floats.series.length);
      expect(readFileSync(file)).toEqual(body);
    }
    writeFileSync(file, body.subarray(0, 20));
    expect(await select(await served(bucket, { dataDir }))).toHaveLength(floats.series.length);
  });
});

describe("the gateway", () => {
  test("follows the bucket: new blocks appear, deleted ones go with their headers", async () => {
    const bucket = new InMemoryBucket();
    const dataDir = mkdtempSync(`${scratch}/data-`);
    const { gateway, events } = open(bucket, { dataDir });
    await gateway.sync(signal);
    expect(gateway.blocks()).toEqual([]);
    await putBlock(bucket, floats.dir, floats.ulid);
    await gateway.sync(signal);
    await gateway.sync(signal);
    expect(gateway.blocks().map(({ ulid }) => ulid)).toEqual([floats.ulid]);
    expect(existsSync(path.join(dataDir, floats.ulid))).toBe(true);
    await bucket.delete(`${floats.ulid}/meta.json`);
    await gateway.sync(signal);
    expect(gateway.blocks()).toEqual([]);
    expect(readdirSync(dataDir)).toEqual([]);
    expect(events.map(({ kind }) => kind)).toEqual([
      "synced",
      "block-loaded",
      "synced",
      "synced",
      "block-dropped",
      "synced",
    ]);
  });

  test("sets broken blocks aside and serves the others", async () => {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    const noIndex = newUlid(Date.now());
    const noMeta = newUlid(Date.now());
    const text = readFileSync(path.join(floats.dir, "meta.json"), "utf8");
    await bucket.put(`${noIndex}/meta.json`, Buffer.from(text.replaceAll(floats.ulid, noIndex)));
    await bucket.put(`${noMeta}/meta.json`, Buffer.from("{}"));
    const { gateway, events } = open(bucket);
    await gateway.sync(signal);
    expect(gateway.blocks().map(({ ulid }) => ulid)).toEqual([floats.ulid]);
    expect([...gateway.broken().keys()].sort()).toEqual([noIndex, noMeta].sort());
    expect(events.filter(({ kind }) => kind === "block-broken")).toHaveLength(2);
    // It is tried again, and served once its index is there.
    await bucket.put(`${noIndex}/index`, readFileSync(path.join(floats.dir, "index")));
    await gateway.sync(signal);
    expect(gateway.blocks()).toHaveLength(2);
  });

  test("looks again until it is told to stop, and says when the first look succeeded", async () => {
    let looks = 0;
    const bucket = new (class extends InMemoryBucket {
      override async *list(prefix: string) {
        if (prefix === "" && ++looks === 1) throw new Error("503 slow down");
        yield* super.list(prefix);
      }
    })();
    const controller = new AbortController();
    const { gateway, events } = open(bucket);
    let first = 0;
    const running = gateway.keepSynced(1, controller.signal, () => first++);
    while (looks < 4) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await running;
    expect(first).toBe(1);
    expect(events.slice(0, 3).map(({ kind }) => kind)).toEqual(["sync-failed", "synced", "synced"]);
  });

  test("goes on serving what it has while the bucket does not answer", async () => {
    let failing = false;
    const bucket = new (class extends InMemoryBucket {
      override async *list(prefix: string) {
        if (failing) throw new Error("503 slow down");
        yield* super.list(prefix);
      }
    })();
    await putBlock(bucket, floats.dir, floats.ulid);
    const { gateway } = open(bucket);
    await gateway.sync(signal);
    failing = true;
    await expect(gateway.sync(signal)).rejects.toThrow(/503/);
    expect(gateway.blocks()).toHaveLength(1);
  });
});

test("metrics tell what is served, what is set aside, and what the cache does", async () => {
  const bucket = new InMemoryBucket();
  await putBlock(bucket, floats.dir, floats.ulid);
  await bucket.put(`${newUlid(Date.now())}/meta.json`, Buffer.from("{}"));
  const registry = new Registry();
  const metrics = createGatewayMetrics(registry, () => 5000);
  const { gateway } = open(bucket, { onEvent: (event) => metrics.observe(event) });
  metrics.watch(gateway);
  await gateway.sync(signal);
  await select(gateway.blocks()[0] as ServedBlock);
  await select(gateway.blocks()[0] as ServedBlock);
  const text = await registry.metrics();
  for (const line of [
    'thanos_blocks_meta_synced{state="loaded"} 1',
    'thanos_blocks_meta_synced{state="corrupted-meta-json"} 1',
    "thanos_blocks_meta_syncs_total 1",
    "thanos_blocks_meta_sync_failures_total 0",
    "thanos_bucket_store_blocks_loaded 1",
    "thanos_bucket_store_block_loads_total 1",
    "thanos_bucket_store_block_load_failures_total 1",
    "thanos_bucket_store_blocks_last_loaded_timestamp_seconds 5",
    "torus_store_blocks_broken 1",
    "torus_store_bucket_fetches_total 2",
  ]) {
    expect(text).toContain(`${line}\n`);
  }
  expect(text).toMatch(/torus_store_page_cache_hits_total [1-9]/);
});

describe("a damaged block", () => {
  const expected = floats.series.map(flat);
  const index = readFileSync(path.join(floats.dir, "index"));
  const segment = readFileSync(path.join(floats.dir, "chunks/000001"));

  async function tryWith(
    file: "index" | "chunks/000001",
    body: Uint8Array,
  ): Promise<ChunkSeries[] | Error> {
    const bucket = new InMemoryBucket();
    await putBlock(bucket, floats.dir, floats.ulid);
    await bucket.put(`${floats.ulid}/${file}`, body);
    try {
      return await select(await served(bucket));
    } catch (error) {
      return error as Error;
    }
  }

  function expectTruth(result: ChunkSeries[] | Error): void {
    if (result instanceof Error) {
      const isReported =
        result instanceof BlockFileDamagedError || result instanceof ObjectTooShortError;
      expect(isReported, result.stack).toBe(true);
    } else {
      expect(result.map(({ labels }) => labels)).toEqual(expected);
    }
  }

  test("by a flipped bit in its index is right or reported, never wrong", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(index.length - 1), fc.nat(7), async (at, bit) => {
        const body = Buffer.from(index);
        body[at] = (body[at] as number) ^ (1 << bit);
        const result = await tryWith("index", body);
        expectTruth(result);
      }),
      { numRuns: 300 },
    );
    expect(await tryWith("index", index)).toHaveLength(expected.length);
  });

  test("by a cut in its index is reported", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(index.length - 1), async (at) => {
        expect(await tryWith("index", index.subarray(0, at))).toBeInstanceOf(Error);
        expectTruth(await tryWith("index", index.subarray(0, at)));
      }),
      { numRuns: 100 },
    );
  });

  test("by a flipped bit or a cut in its chunks is reported", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 8, max: segment.length - 1 }),
        fc.nat(7),
        async (at, bit) => {
          const body = Buffer.from(segment);
          body[at] = (body[at] as number) ^ (1 << bit);
          for (const damaged of [body, segment.subarray(0, at)]) {
            const result = await tryWith("chunks/000001", damaged);
            expect(result).toBeInstanceOf(Error);
            expectTruth(result);
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
