/** A real block on its way into the bucket, found there, brought back, and deleted. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { newUlid } from "@torus/model";
import { InMemoryBucket, ObjectNotFoundError } from "@torus/objstore";
import { afterAll, describe, expect, test } from "vitest";
import { BlockDamagedError, downloadBlock, readBlockMeta, verifyBlockFiles } from "./download.ts";
import { BlockFetcher, type FetchRules, withoutDuplicates } from "./fetcher.ts";
import { writeMark } from "./marks.ts";
import { type BlockMeta, formatUploadedMeta, parseBlockMeta, type ThanosMeta } from "./meta.ts";
import { deleteBlock } from "./remove.ts";
import { BlockGoneError, uploadBlock } from "./upload.ts";

const ULID = "01M82YC7QKENRYZN3NA7W8CVT8";
const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/thanos");
const scratch = mkdtempSync(path.join(tmpdir(), "torus-block-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A TSDB directory that holds the golden block as the receiver had it before its upload. */
function localBlock(): string {
  const dir = mkdtempSync(`${scratch}/tsdb-`);
  for (const name of ["chunks", "index"]) {
    cpSync(path.join(GOLDEN, "bucket", ULID, name), path.join(dir, ULID, name), {
      recursive: true,
    });
  }
  cpSync(path.join(GOLDEN, "local-meta.json"), path.join(dir, ULID, "meta.json"));
  writeFileSync(path.join(dir, ULID, "tombstones"), "stays here");
  return dir;
}

const target = {
  labels: { tenant_id: "default-tenant", replica: "r0", region: "eu" },
  source: "receive" as const,
  hashFunc: "SHA256" as const,
  now: () => Date.UTC(2026, 10, 23, 0, 54, 57, 570),
};

async function all(names: AsyncIterable<string>): Promise<string[]> {
  const out: string[] = [];
  for await (const name of names) out.push(name);
  return out;
}

/** Remembers the order of puts, and fails from the nth on. */
class FailingBucket extends InMemoryBucket {
  readonly puts: string[] = [];
  readonly #failAt: number;
  constructor(failAt: number) {
    super();
    this.#failAt = failAt;
  }
  override async put(name: string, body: Uint8Array): Promise<void> {
    if (this.puts.length === this.#failAt) throw new Error(`no space for ${name}`);
    this.puts.push(name);
    await super.put(name, body);
  }
}

test("an upload gives the bytes that Thanos' own upload gave, but for the nanoseconds", async () => {
  const dir = localBlock();
  const bucket = new FailingBucket(-1);
  await uploadBlock(bucket, dir, ULID, target);
  expect(bucket.puts).toEqual([`${ULID}/chunks/000001`, `${ULID}/index`, `${ULID}/meta.json`]);
  const golden = readFileSync(path.join(GOLDEN, "bucket", ULID, "meta.json"), "utf8");
  const meta = new TextDecoder().decode(await bucket.get(`${ULID}/meta.json`));
  expect(meta).toBe(golden.replace(".570529726Z", ".57Z"));
  expect(await verifyBlockFiles(bucket, parseBlockMeta(meta))).toEqual([]);
});

test("an upload leaves the local block as it was, and no staging behind", async () => {
  const dir = localBlock();
  await uploadBlock(new InMemoryBucket(), dir, ULID, target);
  const local = readFileSync(path.join(GOLDEN, "local-meta.json"));
  expect(readFileSync(path.join(dir, ULID, "meta.json"))).toEqual(local);
  expect(readdirSync(path.join(dir, "thanos/upload"))).toEqual([]);
});

test.each([0, 1, 2])(
  "an upload that fails at object %d leaves no meta.json, and the next one succeeds",
  async (failAt) => {
    const dir = localBlock();
    const failing = new FailingBucket(failAt);
    await expect(uploadBlock(failing, dir, ULID, target)).rejects.toThrow(/no space/);
    expect(await failing.exists(`${ULID}/meta.json`)).toBe(false);
    expect(readdirSync(path.join(dir, "thanos/upload"))).toEqual([]);
  },
);

test("staging that a crash left behind is replaced", async () => {
  const dir = localBlock();
  cpSync(path.join(dir, ULID), path.join(dir, "thanos/upload", ULID), { recursive: true });
  writeFileSync(path.join(dir, "thanos/upload", ULID, "chunks/000009"), "not of this block");
  const bucket = new InMemoryBucket();
  const meta = await uploadBlock(bucket, dir, ULID, target);
  expect(meta.thanos?.segment_files).toEqual(["000001"]);
  expect(await bucket.exists(`${ULID}/chunks/000009`)).toBe(false);
});

test("a block that was deleted locally is told apart from a broken one", async () => {
  const dir = localBlock();
  rmSync(path.join(dir, ULID, "index"));
  await expect(uploadBlock(new InMemoryBucket(), dir, ULID, target)).rejects.toThrow(/ENOENT/);
  rmSync(path.join(dir, ULID), { recursive: true });
  await expect(uploadBlock(new InMemoryBucket(), dir, ULID, target)).rejects.toThrow(
    BlockGoneError,
  );
});

test("without external labels nothing is uploaded", async () => {
  const bucket = new InMemoryBucket();
  const labels = {};
  await expect(uploadBlock(bucket, localBlock(), ULID, { ...target, labels })).rejects.toThrow(
    /empty external labels/,
  );
  expect(await all(bucket.list(""))).toEqual([]);
});

test("a download is the block that was uploaded", async () => {
  const bucket = new InMemoryBucket();
  const dir = localBlock();
  await uploadBlock(bucket, dir, ULID, target);
  const out = mkdtempSync(`${scratch}/download-`);
  await downloadBlock(bucket, ULID, out);
  expect(readdirSync(out)).toEqual([ULID]);
  for (const name of ["index", "chunks/000001"]) {
    expect(readFileSync(path.join(out, ULID, name))).toEqual(
      readFileSync(path.join(dir, ULID, name)),
    );
  }
});

test("a download of damaged files is refused and leaves nothing", async () => {
  const bucket = new InMemoryBucket();
  await uploadBlock(bucket, localBlock(), ULID, target);
  const index = await bucket.get(`${ULID}/index`);
  index[100] = (index[100] as number) ^ 1;
  await bucket.put(`${ULID}/index`, index);
  const out = mkdtempSync(`${scratch}/download-`);
  await expect(downloadBlock(bucket, ULID, out)).rejects.toThrow(BlockDamagedError);
  expect(readdirSync(out)).toEqual([]);
  expect(await verifyBlockFiles(bucket, await readBlockMeta(bucket, ULID))).toEqual([
    "index has another SHA256 than meta.json says",
  ]);
  await bucket.delete(`${ULID}/chunks/000001`);
  expect(await verifyBlockFiles(bucket, await readBlockMeta(bucket, ULID))).toContain(
    "chunks/000001 is missing",
  );
});

test("a deletion takes meta.json first and the mark last", async () => {
  const deletes: string[] = [];
  const bucket = new (class extends InMemoryBucket {
    override async delete(name: string): Promise<void> {
      deletes.push(name.slice(ULID.length + 1));
      await super.delete(name);
    }
  })();
  await uploadBlock(bucket, localBlock(), ULID, target);
  await writeMark(bucket, "deletion", { id: ULID, details: "", reason: "", timeSeconds: 1 });
  await deleteBlock(bucket, ULID);
  expect(deletes).toEqual(["meta.json", "chunks/000001", "index", "deletion-mark.json"]);
  expect(await all(bucket.list(""))).toEqual([]);
  await expect(readBlockMeta(bucket, ULID)).rejects.toThrow(ObjectNotFoundError);
});

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 5, 1);
const rules: FetchRules = {
  ignoreDeletionMarksDelayMs: DAY,
  consistencyDelayMs: 0,
  timeRange: () => ({ mint: Number.MIN_SAFE_INTEGER, maxt: Number.MAX_SAFE_INTEGER }),
  concurrency: 4,
};

function meta(
  change: Partial<Omit<BlockMeta, "thanos">> & { thanos?: Partial<ThanosMeta> } = {},
): BlockMeta & { thanos: ThanosMeta } {
  const ulid = change.ulid ?? newUlid(NOW - DAY);
  return {
    ulid,
    minTime: 0,
    maxTime: 7_200_000,
    stats: { numSamples: 1 },
    compaction: { level: 1, sources: [ulid] },
    version: 1,
    ...change,
    thanos: {
      labels: { a: "b" },
      downsample: { resolution: 0 },
      source: "receive",
      index_stats: {},
      upload_time: "2026-05-01T00:00:00Z",
      ...change.thanos,
    },
  };
}

async function putMeta(bucket: InMemoryBucket, ...metas: (BlockMeta & { thanos: ThanosMeta })[]) {
  for (const one of metas) {
    await bucket.put(`${one.ulid}/meta.json`, new TextEncoder().encode(formatUploadedMeta(one)));
  }
}

describe("the fetcher", () => {
  test("finds whole blocks, and counts why others are left out", async () => {
    const bucket = new InMemoryBucket();
    const [whole, old, marked, soon] = [meta(), meta({ minTime: -10, maxTime: 5 }), meta(), meta()];
    await putMeta(bucket, whole, old, marked, soon);
    const mark = { details: "", reason: "" };
    await writeMark(bucket, "deletion", {
      ...mark,
      id: marked.ulid,
      timeSeconds: (NOW - DAY) / 1000,
    });
    await writeMark(bucket, "deletion", { ...mark, id: soon.ulid, timeSeconds: NOW / 1000 });
    const partial = newUlid(NOW);
    await bucket.put(`${partial}/index`, new Uint8Array(1));
    const broken = newUlid(NOW);
    await bucket.put(`${broken}/meta.json`, new Uint8Array(1));
    const stranger = newUlid(NOW);
    await bucket.put(`${stranger}/meta.json`, await bucket.get(`${whole.ulid}/meta.json`));
    await bucket.put("debug/metas/x.json", new Uint8Array(1));
    const found = await new BlockFetcher(
      bucket,
      { ...rules, timeRange: () => ({ mint: 5, maxt: 10 }) },
      () => NOW,
    ).fetch();
    expect(found.blocks.map((block) => block.ulid)).toEqual([whole.ulid, soon.ulid].sort());
    expect(found.partial).toEqual([partial]);
    expect([...found.broken.keys()].sort()).toEqual([broken, stranger].sort());
    expect(found.counts).toEqual({
      loaded: 2,
      "no-meta-json": 1,
      "corrupted-meta-json": 2,
      failed: 0,
      "time-excluded": 1,
      "too-fresh": 0,
      "marked-for-deletion": 1,
      duplicate: 0,
    });
  });

  test("keeps a block whose deletion mark cannot be read", async () => {
    const bucket = new InMemoryBucket();
    const one = meta();
    await putMeta(bucket, one);
    await bucket.put(`${one.ulid}/deletion-mark.json`, new Uint8Array([1]));
    const found = await new BlockFetcher(bucket, rules, () => NOW).fetch();
    expect(found.blocks).toHaveLength(1);
    expect(found.broken.get(one.ulid)?.message).toMatch(/deletion-mark\.json/);
  });

  test("holds back fresh blocks by their upload time, but not a compactor's", async () => {
    const bucket = new InMemoryBucket();
    const upload_time = new Date(NOW - 1000).toISOString();
    const fresh = meta({ thanos: { upload_time } });
    const made = meta({ thanos: { upload_time, source: "compactor" } });
    await putMeta(bucket, fresh, made);
    let now = NOW;
    const fetcher = new BlockFetcher(bucket, { ...rules, consistencyDelayMs: 60_000 }, () => now);
    expect((await fetcher.fetch()).blocks.map((block) => block.ulid)).toEqual([made.ulid]);
    now += 60_000;
    expect((await fetcher.fetch()).blocks).toHaveLength(2);
  });

  test("reads a meta.json once, and forgets it when the block is gone", async () => {
    let reads = 0;
    const bucket = new (class extends InMemoryBucket {
      override async get(name: string): Promise<Uint8Array> {
        reads++;
        return await super.get(name);
      }
    })();
    const one = meta();
    await putMeta(bucket, one);
    const fetcher = new BlockFetcher(bucket, rules, () => NOW);
    await fetcher.fetch();
    await fetcher.fetch();
    expect(reads).toBe(1);
    await deleteBlock(bucket, one.ulid);
    expect((await fetcher.fetch()).blocks).toEqual([]);
  });

  test("goes on with what it knows when the bucket fails for one block, not when it fails whole", async () => {
    let failing = "";
    const bucket = new (class extends InMemoryBucket {
      override async *list(prefix: string) {
        if (failing !== "" && (failing === "all" || prefix === failing)) throw new Error("503");
        yield* super.list(prefix);
      }
    })();
    const [one, two] = [meta(), meta()];
    await putMeta(bucket, one, two);
    const fetcher = new BlockFetcher(bucket, rules, () => NOW);
    await fetcher.fetch();
    failing = `${one.ulid}/`;
    expect((await fetcher.fetch()).blocks).toHaveLength(2);
    const other = await new BlockFetcher(bucket, rules, () => NOW).fetch();
    expect(other.blocks.map((block) => block.ulid)).toEqual([two.ulid]);
    expect(other.counts.failed).toBe(1);
    failing = "all";
    await expect(fetcher.fetch()).rejects.toThrow(/503/);
  });

  test("leaves out blocks that another of the same labels and resolution covers", () => {
    const [a, b, c] = [meta(), meta(), meta()];
    const compacted = meta({ compaction: { level: 2, sources: [a.ulid, b.ulid] } });
    const again = meta({ compaction: { level: 3, sources: [a.ulid, b.ulid] } });
    const coarse = meta({
      compaction: { level: 2, sources: [a.ulid, b.ulid] },
      thanos: { downsample: { resolution: 300_000 } },
    });
    const elsewhere = meta({ compaction: a.compaction, thanos: { labels: { a: "c" } } });
    const ulids = (list: BlockMeta[]) => list.map((one) => one.ulid).sort();
    expect(ulids(withoutDuplicates([a, b, c, compacted, again, coarse, elsewhere]))).toEqual(
      ulids([c, again, coarse, elsewhere]),
    );
  });
});
