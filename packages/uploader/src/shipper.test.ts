/** The shipper on real blocks: order, choice, memory, and what a kill at any step leaves behind. */

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { readBlockMeta, verifyBlockFiles } from "@torus/block";
import { FilesystemBucket, InMemoryBucket } from "@torus/objstore";
import { afterAll, describe, expect, test } from "vitest";
import { DirectoryLockedError, lockDirectory, SHIPPER_LOCK_FILE } from "./directory-lock.ts";
import { writeExternalLabels } from "./external-labels.ts";
import {
  NoExternalLabelsError,
  Shipper,
  type ShipperEvent,
  type ShipperOptions,
} from "./shipper.ts";
import { hasShipper, readShipped, SHIPPER_FILE, writeShipped } from "./shipper-file.ts";
import { Uploader } from "./uploader.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden");
/** Of tsdb/blocks/floats, in the order of their minTime. */
const [FIRST, SECOND] = floatBlocks();
const scratch = mkdtempSync(path.join(tmpdir(), "torus-uploader-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function floatBlocks(): [string, string] {
  const dir = path.join(GOLDEN, "tsdb/blocks/floats");
  const minTime = (ulid: string) => metaOf(dir, ulid).minTime;
  const ulids = readdirSync(dir).sort((a, b) => minTime(a) - minTime(b));
  return [ulids[0] as string, ulids[1] as string];
}

function metaOf(dir: string, ulid: string) {
  return JSON.parse(readFileSync(path.join(dir, ulid, "meta.json"), "utf8")) as {
    minTime: number;
    stats: { numSamples?: number };
    compaction: { level: number };
  };
}

function changeMeta(dir: string, ulid: string, change: (meta: ReturnType<typeof metaOf>) => void) {
  const meta = metaOf(dir, ulid);
  change(meta);
  writeFileSync(path.join(dir, ulid, "meta.json"), JSON.stringify(meta));
}

function tsdbDir(): string {
  const dir = mkdtempSync(`${scratch}/tsdb-`);
  cpSync(path.join(GOLDEN, "tsdb/blocks/floats"), dir, { recursive: true });
  mkdirSync(path.join(dir, "wal"));
  return dir;
}

function options(
  change: Partial<ShipperOptions> = {},
): ShipperOptions & { events: ShipperEvent[] } {
  const events: ShipperEvent[] = [];
  return {
    labels: () => ({ replica: "a", tenant_id: "t" }),
    source: "receive",
    hashFunc: "SHA256",
    uploadCompacted: false,
    allowOutOfOrderUploads: false,
    now: Date.now,
    onEvent: (event) => events.push(event),
    events,
    ...change,
  };
}

class CountingBucket extends InMemoryBucket {
  readonly puts: string[] = [];
  readonly asked: string[] = [];
  fail: (name: string) => boolean = () => false;
  override async put(name: string, body: Uint8Array): Promise<void> {
    if (this.fail(name)) throw new Error(`503 for ${name}`);
    this.puts.push(name);
    await super.put(name, body);
  }
  override async exists(name: string): Promise<boolean> {
    this.asked.push(name);
    return await super.exists(name);
  }
}

describe("the shipper", () => {
  test("uploads oldest first, remembers it as Thanos does, and asks no more", async () => {
    const dir = tsdbDir();
    const bucket = new CountingBucket();
    const given = options();
    const shipper = new Shipper(bucket, dir, given);
    expect(shipper.isShipped(FIRST)).toBe(false);
    expect(await shipper.sync()).toBe(2);
    expect(bucket.puts.filter((name) => name.endsWith("meta.json"))).toEqual([
      `${FIRST}/meta.json`,
      `${SECOND}/meta.json`,
    ]);
    expect(given.events.map((event) => event.kind)).toEqual(["uploaded", "uploaded", "synced"]);
    expect(readFileSync(path.join(dir, SHIPPER_FILE), "utf8")).toBe(
      `{\n\t"version": 1,\n\t"uploaded": [\n\t\t"${FIRST}",\n\t\t"${SECOND}"\n\t]\n}\n`,
    );
    expect([shipper.isShipped(FIRST), shipper.isShipped(SECOND)]).toEqual([true, true]);
    bucket.asked.length = 0;
    expect(await shipper.sync()).toBe(0);
    expect(bucket.asked).toEqual([]);
    for (const ulid of [FIRST, SECOND]) {
      const meta = await readBlockMeta(bucket, ulid);
      expect(meta.thanos?.labels).toEqual({ replica: "a", tenant_id: "t" });
      expect(await verifyBlockFiles(bucket, meta)).toEqual([]);
    }
    await shipper.close();
    expect(readdirSync(dir).sort()).toEqual([FIRST, SECOND, "thanos", SHIPPER_FILE, "wal"].sort());
  });

  test("writes the golden file of a real receiver", async () => {
    const dir = mkdtempSync(`${scratch}/file-`);
    const golden = readFileSync(path.join(GOLDEN, "thanos/thanos.shipper.json"), "utf8");
    await writeShipped(dir, ["01M82YC7QKENRYZN3NA7W8CVT8"]);
    expect(readFileSync(path.join(dir, SHIPPER_FILE), "utf8")).toBe(golden);
    expect([...readShipped(dir)]).toEqual(["01M82YC7QKENRYZN3NA7W8CVT8"]);
  });

  test.each([
    ["missing", undefined],
    ["torn", '{"version": 1, "upl'],
    ["of another version", '{"version":2,"uploaded":[]}'],
  ])(
    "rebuilds a file that is %s by asking the bucket, and uploads nothing twice",
    async (_, content) => {
      const dir = tsdbDir();
      const bucket = new CountingBucket();
      const before = new Shipper(bucket, dir, options());
      await before.sync();
      await before.close();
      if (content === undefined) rmSync(path.join(dir, SHIPPER_FILE));
      else writeFileSync(path.join(dir, SHIPPER_FILE), content);
      bucket.puts.length = 0;
      const after = new Shipper(bucket, dir, options());
      expect(after.isShipped(FIRST)).toBe(false);
      expect(await after.sync()).toBe(0);
      expect(bucket.puts).toEqual([]);
      expect(readShipped(dir)).toEqual(new Set([FIRST, SECOND]));
      await after.close();
    },
  );

  test("leaves out empty, compacted and unfinished blocks", async () => {
    const dir = tsdbDir();
    cpSync(path.join(dir, FIRST), path.join(dir, `${FIRST}.tmp-for-creation`), { recursive: true });
    mkdirSync(path.join(dir, "01M82Z2RMCEWG9KN0YJ68MMADZ"));
    changeMeta(dir, FIRST, (meta) => {
      meta.stats = {};
    });
    changeMeta(dir, SECOND, (meta) => {
      meta.compaction.level = 2;
    });
    const bucket = new CountingBucket();
    const shipper = new Shipper(bucket, dir, options());
    expect(await shipper.sync()).toBe(0);
    await shipper.close();
    const compacted = new Shipper(bucket, dir, options({ uploadCompacted: true }));
    expect(await compacted.sync()).toBe(1);
    expect(readShipped(dir)).toEqual(new Set([SECOND]));
    await compacted.close();
  });

  test("sets an unreadable block aside, says so, and ships the others", async () => {
    const dir = tsdbDir();
    writeFileSync(path.join(dir, FIRST, "meta.json"), "{");
    const given = options();
    const shipper = new Shipper(new CountingBucket(), dir, given);
    expect(await shipper.sync()).toBe(1);
    expect(given.events[0]).toMatchObject({ kind: "block-unreadable", ulid: FIRST });
    await shipper.close();
  });

  test("stops at a block that fails, unless order does not matter", async () => {
    const dir = tsdbDir();
    const bucket = new CountingBucket();
    bucket.fail = (name) => name === `${FIRST}/index`;
    const strict = new Shipper(bucket, dir, options());
    await expect(strict.sync()).rejects.toThrow(/503/);
    expect(bucket.puts).toEqual([`${FIRST}/chunks/000001`]);
    expect(strict.isShipped(FIRST)).toBe(false);
    await strict.close();
    const loose = new Shipper(bucket, dir, options({ allowOutOfOrderUploads: true }));
    await expect(loose.sync()).rejects.toThrow(/503/);
    expect([loose.isShipped(FIRST), loose.isShipped(SECOND)]).toEqual([false, true]);
    bucket.fail = () => false;
    expect(await loose.sync()).toBe(1);
    await loose.close();
  });

  test("forgets blocks that are no longer here, and takes a deletion under way as no error", async () => {
    const dir = tsdbDir();
    const bucket = new CountingBucket();
    const given = options({
      labels: () => {
        // Between the choice of the block and its staging, as a receiver's retention would.
        rmSync(path.join(dir, SECOND), { recursive: true, force: true });
        return { replica: "a" };
      },
    });
    const shipper = new Shipper(bucket, dir, given);
    await writeShipped(dir, ["01M82YC7QKENRYZN3NA7W8CVT8"]);
    expect(await shipper.sync()).toBe(1);
    expect(given.events.map((event) => event.kind)).toEqual(["uploaded", "block-gone", "synced"]);
    expect(await shipper.sync()).toBe(0);
    expect(readShipped(dir)).toEqual(new Set([FIRST]));
    await shipper.close();
  });

  test("is known to retention from its first look, before anything is shipped", async () => {
    const dir = tsdbDir();
    expect(hasShipper(dir)).toBe(false);
    const shipper = new Shipper(new CountingBucket(), dir, options({ labels: () => ({}) }));
    await expect(shipper.sync()).rejects.toThrow(NoExternalLabelsError);
    expect(hasShipper(dir)).toBe(true);
    expect(readShipped(dir)).toEqual(new Set());
    await shipper.close();
  });

  test("refuses to upload without external labels", async () => {
    const bucket = new CountingBucket();
    const shipper = new Shipper(bucket, tsdbDir(), options({ labels: () => ({}) }));
    await expect(shipper.sync()).rejects.toThrow(NoExternalLabelsError);
    expect(bucket.puts).toEqual([]);
    await shipper.close();
  });

  test("runs once however often it is called", async () => {
    const bucket = new CountingBucket();
    const shipper = new Shipper(bucket, tsdbDir(), options());
    expect(await Promise.all([shipper.sync(), shipper.sync()])).toEqual([2, 2]);
    expect(bucket.puts).toHaveLength(6);
    await shipper.close();
  });
});

describe("the lock", () => {
  test("lets one shipper work on a directory, and the next one after it closed", async () => {
    const dir = tsdbDir();
    const first = new Shipper(new InMemoryBucket(), dir, options());
    const second = new Shipper(new InMemoryBucket(), dir, options());
    await first.sync();
    await expect(second.sync()).rejects.toThrow(DirectoryLockedError);
    await first.close();
    expect(existsSync(path.join(dir, SHIPPER_LOCK_FILE))).toBe(false);
    await second.sync();
    await second.close();
  });

  test("is taken over from a process that is gone, or whose id another has now", () => {
    const dir = mkdtempSync(`${scratch}/lock-`);
    const file = path.join(dir, SHIPPER_LOCK_FILE);
    const dead = spawnSync(process.execPath, ["-e", "console.log(process.pid)"]);
    const mine = lockDirectory(dir, Date.now);
    const self = JSON.parse(readFileSync(file, "utf8").split("\n")[0] ?? "") as Record<
      string,
      unknown
    >;
    mine.release();
    for (const stale of [
      JSON.stringify({ ...self, pid: Number(dead.stdout.toString()) }),
      JSON.stringify({ ...self, started: "1" }),
      "not JSON",
    ]) {
      writeFileSync(file, stale);
      lockDirectory(dir, Date.now).release();
    }
    writeFileSync(file, JSON.stringify(self));
    expect(() => lockDirectory(dir, Date.now)).toThrow(DirectoryLockedError);
    expect(readdirSync(dir)).toEqual([SHIPPER_LOCK_FILE]);
  });

  test("of another host is stale when it was not renewed for five minutes", () => {
    const dir = mkdtempSync(`${scratch}/lock-`);
    const file = path.join(dir, SHIPPER_LOCK_FILE);
    writeFileSync(file, JSON.stringify({ host: "elsewhere", pid: process.pid, started: "1" }));
    const now = 1_800_000_000_000;
    utimesSync(file, now / 1000, now / 1000);
    expect(() => lockDirectory(dir, () => now + 299_000)).toThrow(DirectoryLockedError);
    lockDirectory(dir, () => now + 301_000).release();
  });

  test("tells its holder when it was lost", async () => {
    const dir = tsdbDir();
    const shipper = new Shipper(new InMemoryBucket(), dir, options());
    await shipper.sync();
    const other = { host: "elsewhere", pid: 1, started: "1" };
    writeFileSync(path.join(dir, SHIPPER_LOCK_FILE), JSON.stringify(other));
    await expect(shipper.sync()).rejects.toThrow(/another uploader took over/);
    await shipper.close();
    expect(existsSync(path.join(dir, SHIPPER_LOCK_FILE))).toBe(true);
  });
});

/** Operations on the bucket for two blocks: exists, chunks, index, meta.json of each. */
test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
  "after a kill -9 at operation %d the next shipper completes the work",
  async (step) => {
    const dir = tsdbDir();
    const store = mkdtempSync(`${scratch}/bucket-`);
    const child = spawnSync(
      process.execPath,
      ["--import", "tsx", "--input-type=module", "-e", CRASHING, dir, store, String(step)],
      { cwd: import.meta.dirname, encoding: "utf8" },
    );
    expect(child.signal, child.stderr).toBe("SIGKILL");
    expect(existsSync(path.join(dir, SHIPPER_LOCK_FILE))).toBe(true);
    const bucket = new FilesystemBucket(store);
    // Nothing is visible that is not whole, and nothing is remembered that is not in the bucket.
    for (const ulid of [FIRST, SECOND]) {
      const isVisible = await bucket.exists(`${ulid}/meta.json`);
      if (isVisible)
        expect(await verifyBlockFiles(bucket, await readBlockMeta(bucket, ulid))).toEqual([]);
      if (readShipped(dir).has(ulid)) expect(isVisible).toBe(true);
    }
    const shipper = new Shipper(bucket, dir, options());
    await shipper.sync();
    for (const ulid of [FIRST, SECOND]) {
      expect(await verifyBlockFiles(bucket, await readBlockMeta(bucket, ulid))).toEqual([]);
      expect(shipper.isShipped(ulid)).toBe(true);
    }
    const staging = path.join(dir, "thanos/upload");
    expect(existsSync(staging) ? readdirSync(staging) : []).toEqual([]);
    await shipper.close();
  },
);

/** A shipper whose process kills itself after the given number of bucket operations. */
const CRASHING = `
import { FilesystemBucket } from "@torus/objstore";
import { Shipper } from ${JSON.stringify(path.join(import.meta.dirname, "shipper.ts"))};
const [dir, store, step] = process.argv.slice(-3);
let done = 0;
class CrashingBucket extends FilesystemBucket {
  async exists(name) { return await this.count(super.exists(name)); }
  async putFile(name, file) { return await this.count(super.putFile(name, file)); }
  async count(operation) {
    if (Number(step) === 0) process.kill(process.pid, "SIGKILL");
    const result = await operation;
    if (++done === Number(step)) process.kill(process.pid, "SIGKILL");
    return result;
  }
}
await new Shipper(new CrashingBucket(store), dir, {
  labels: () => ({ replica: "a" }), source: "receive", hashFunc: "SHA256", uploadCompacted: false,
  allowOutOfOrderUploads: false, now: Date.now, onEvent: () => undefined,
}).sync();
`;

describe("the uploader", () => {
  const given = {
    labels: {},
    tenantLabelName: "tenant_id",
    hashFunc: "" as const,
    uploadCompacted: false,
    allowOutOfOrderUploads: false,
    now: Date.now,
    onEvent: () => undefined,
  };

  test("ships every tenant of a receiver with the labels that it wrote", async () => {
    const root = mkdtempSync(`${scratch}/root-`);
    for (const tenant of ["t1", "t2"])
      cpSync(tsdbDir(), path.join(root, tenant), { recursive: true });
    rmSync(path.join(root, "t1", FIRST), { recursive: true });
    rmSync(path.join(root, "t2", SECOND), { recursive: true });
    mkdirSync(path.join(root, "lost+found/wal"), { recursive: true });
    await writeExternalLabels(root, { labels: { replica: "r" }, tenantLabelName: "team" });
    const bucket = new InMemoryBucket();
    const uploader = new Uploader(bucket, { ...given, paths: [root, path.join(scratch, "none")] });
    expect(await uploader.sync()).toEqual({ uploaded: 2, directories: 2, errors: new Map() });
    expect((await readBlockMeta(bucket, SECOND)).thanos).toMatchObject({
      labels: { replica: "r", team: "t1" },
      source: "receive",
    });
    // A tenant that appears is found in the next round; one that goes away is forgotten.
    rmSync(path.join(root, "t1"), { recursive: true });
    cpSync(tsdbDir(), path.join(root, "t3"), { recursive: true });
    expect(await uploader.sync()).toMatchObject({ uploaded: 0, directories: 2 });
    expect(readShipped(path.join(root, "t3"))).toEqual(new Set([FIRST, SECOND]));
    await uploader.close();
    expect(existsSync(path.join(root, "t2", SHIPPER_LOCK_FILE))).toBe(false);
  });

  test("ships a Prometheus directory with the labels of its flags", async () => {
    const bucket = new InMemoryBucket();
    const labels = { cluster: "c" };
    const uploader = new Uploader(bucket, { ...given, labels, paths: [tsdbDir()] });
    expect((await uploader.sync()).uploaded).toBe(2);
    expect((await readBlockMeta(bucket, FIRST)).thanos).toMatchObject({
      labels,
      source: "sidecar",
    });
    await uploader.close();
  });

  test("goes on with the other directories when one has no labels or is locked", async () => {
    const [locked, free] = [tsdbDir(), tsdbDir()];
    const lock = lockDirectory(locked, Date.now);
    const bucket = new InMemoryBucket();
    const uploader = new Uploader(bucket, { ...given, labels: { a: "b" }, paths: [locked, free] });
    const result = await uploader.sync();
    expect(result.uploaded).toBe(2);
    expect(result.errors.get(locked)).toBeInstanceOf(DirectoryLockedError);
    lock.release();
    await uploader.close();
    const bare = new Uploader(new InMemoryBucket(), { ...given, paths: [free, tsdbDir()] });
    const errors = [...(await bare.sync()).errors.values()];
    expect(errors.some((error) => error instanceof NoExternalLabelsError)).toBe(true);
    await bare.close();
  });
});
