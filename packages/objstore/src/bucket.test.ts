/** What every bucket must do, tried on each of them. S3 is a real server. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { S3Server } from "@torus/testkit/s3-server";
import { findS3Server, S3_SERVER_MISSING, startS3Server } from "@torus/testkit/s3-server";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Bucket } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";
import { openBucket, parseBucketConfig } from "./bucket-config.ts";
import { FilesystemBucket } from "./filesystem.ts";
import { InMemoryBucket } from "./memory.ts";
import { InvalidObjectNameError } from "./object-name.ts";
import type { BucketOutcome } from "./observed.ts";
import { ObservedBucket } from "./observed.ts";
import { PrefixedBucket } from "./prefixed.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "torus-objstore-"));
const weed = findS3Server();
let s3: S3Server | undefined;
beforeAll(async () => {
  if (weed !== undefined) s3 = await startS3Server(weed);
});
afterAll(async () => {
  await s3?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

let made = 0;
function openS3(extra = ""): Promise<Bucket> {
  const config = `${s3?.bucketConfig(`bucket-${made++}`)}  part_size: 5242880\n${extra}`;
  return openBucket(parseBucketConfig(config));
}

type Opening = [name: string, open: () => Promise<Bucket>];
const whyNot = weed === undefined ? ` (skipped: ${S3_SERVER_MISSING})` : "";
const local: Opening[] = [
  ["memory", async () => new InMemoryBucket()],
  ["filesystem", async () => new FilesystemBucket(mkdtempSync(`${scratch}/fs-`))],
  ["below a prefix", async () => new PrefixedBucket(new InMemoryBucket(), "/a/b/")],
  ["observed", async () => new ObservedBucket(new InMemoryBucket(), () => undefined)],
];
const OLD_SERVER =
  "  list_objects_version: v1\n  send_content_md5: true\n  checksum_mode: when_required\n";
const remote: Opening[] = [
  [`S3${whyNot}`, () => openS3()],
  [`S3 with v1 lists, MD5, no newer checksums${whyNot}`, () => openS3(OLD_SERVER)],
  [`S3 below a prefix${whyNot}`, () => openS3("prefix: some/where\n")],
];

async function all(names: AsyncIterable<string>): Promise<string[]> {
  const out: string[] = [];
  for await (const name of names) out.push(name);
  return out;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (body: Uint8Array) => new TextDecoder().decode(body);

describe.each(local)("%s", (_, open) => {
  acceptance(open);
});
describe.skipIf(weed === undefined).each(remote)("%s", (_, open) => {
  acceptance(open);
});

function acceptance(open: () => Promise<Bucket>): void {
  test("what was put is read back, whole and by ranges", async () => {
    const bucket = await open();
    await bucket.put("a/b/c", bytes("0123456789"));
    expect(text(await bucket.get("a/b/c"))).toBe("0123456789");
    expect(text(await bucket.getRange("a/b/c", 0, 4))).toBe("0123");
    expect(text(await bucket.getRange("a/b/c", 7, 100))).toBe("789");
    expect(text(await bucket.getRange("a/b/c", 10, 1))).toBe("");
    expect(text(await bucket.getRange("a/b/c", 99, 1))).toBe("");
    expect(text(await bucket.getRange("a/b/c", 3, 0))).toBe("");
    await bucket.put("empty", new Uint8Array(0));
    expect((await bucket.get("empty")).length).toBe(0);
    await bucket.close();
  });

  test("a put replaces the object, and has a size", async () => {
    const bucket = await open();
    await bucket.put("x", bytes("old and long"));
    await bucket.put("x", bytes("new"));
    expect(text(await bucket.get("x"))).toBe("new");
    const { sizeBytes, lastModifiedMs } = await bucket.attributes("x");
    expect(sizeBytes).toBe(3);
    // Within a day of our clock: right unit, right zone.
    expect(Math.abs(lastModifiedMs - Date.now())).toBeLessThan(86_400_000);
    await bucket.close();
  });

  test("what is not there is told apart from a failure", async () => {
    const bucket = await open();
    await bucket.put("there/x", bytes("x"));
    for (const name of ["missing", "there", "there/x/below", "there/y"]) {
      await expect(bucket.get(name)).rejects.toThrow(ObjectNotFoundError);
      await expect(bucket.getRange(name, 0, 1)).rejects.toThrow(ObjectNotFoundError);
      await expect(bucket.getRange(name, 0, 0)).rejects.toThrow(ObjectNotFoundError);
      await expect(bucket.attributes(name)).rejects.toMatchObject({ objectName: name });
      expect(await bucket.exists(name)).toBe(false);
      await bucket.delete(name);
    }
    expect(await bucket.exists("there/x")).toBe(true);
    await bucket.close();
  });

  test("lists are in byte order, by folder or whole", async () => {
    const bucket = await open();
    const names = ["a", "a.b", "a0", "d/1", "d/2/x", "d/2/y", "d.1", "d0/z", "\uff5e", "\u{10000}"];
    for (const name of names) await bucket.put(name, bytes(name));
    expect(await all(bucket.list(""))).toEqual([
      "a",
      "a.b",
      "a0",
      "d.1",
      "d/",
      "d0/",
      "\uff5e",
      "\u{10000}",
    ]);
    expect(await all(bucket.list("", { recursive: true }))).toEqual([
      "a",
      "a.b",
      "a0",
      "d.1",
      "d/1",
      "d/2/x",
      "d/2/y",
      "d0/z",
      "\uff5e",
      "\u{10000}",
    ]);
    expect(await all(bucket.list("d/"))).toEqual(["d/1", "d/2/"]);
    expect(await all(bucket.list("d/", { recursive: true }))).toEqual(["d/1", "d/2/x", "d/2/y"]);
    expect(await all(bucket.list("nothing/"))).toEqual([]);
    await bucket.close();
  });

  test("a folder is gone with its last object", async () => {
    const bucket = await open();
    await bucket.put("d/e/f", bytes("1"));
    await bucket.put("g", bytes("1"));
    await bucket.delete("d/e/f");
    await bucket.delete("d/e/f");
    // SeaweedFS goes on naming an empty folder for a while, so only whole lists are compared here.
    expect(await all(bucket.list("", { recursive: true }))).toEqual(["g"]);
    expect(await all(bucket.list("d/", { recursive: true }))).toEqual([]);
    await bucket.close();
  });

  test("a file is put whole, also in several parts", async () => {
    const bucket = await open();
    for (const size of [0, 10, 5 << 20, (11 << 20) + 7]) {
      const file = path.join(scratch, `file-${size}`);
      const body = new Uint8Array(size);
      for (let i = 0; i < size; i += 1009) body[i] = i;
      writeFileSync(file, body);
      await bucket.putFile(`files/${size}`, file);
      const read = await bucket.get(`files/${size}`);
      expect(Buffer.compare(read, body)).toBe(0);
      const tail = await bucket.getRange(`files/${size}`, Math.max(0, size - 5), 99);
      expect(Buffer.compare(tail, body.subarray(Math.max(0, size - 5)))).toBe(0);
    }
    await expect(bucket.putFile("x", path.join(scratch, "none"))).rejects.toThrow(/ENOENT/);
    expect(await bucket.exists("x")).toBe(false);
    await bucket.close();
  });

  test("names that could leave the bucket are refused", async () => {
    const bucket = await open();
    for (const name of [
      "",
      "/x",
      "x/",
      "a//b",
      "..",
      "../x",
      "a/../../x",
      ".",
      "a/./b",
      "a\0b",
      "a".repeat(1025),
    ]) {
      await expect(bucket.put(name, bytes("x"))).rejects.toThrow(InvalidObjectNameError);
      await expect(bucket.get(name)).rejects.toThrow(InvalidObjectNameError);
      await expect(bucket.delete(name)).rejects.toThrow(InvalidObjectNameError);
      await expect(bucket.exists(name)).rejects.toThrow(InvalidObjectNameError);
    }
    for (const prefix of ["x", "../", "/"]) {
      await expect(all(bucket.list(prefix))).rejects.toThrow(InvalidObjectNameError);
    }
    await bucket.close();
  });

  test("a call that was given up ends with the reason", async () => {
    const bucket = await open();
    await bucket.put("x", bytes("x"));
    const signal = AbortSignal.abort();
    await expect(bucket.get("x", { signal })).rejects.toThrow(/abort/i);
    await expect(bucket.put("y", bytes("y"), { signal })).rejects.toThrow(/abort/i);
    await expect(all(bucket.list("", { signal }))).rejects.toThrow(/abort/i);
    expect(await bucket.exists("y")).toBe(false);
    await bucket.close();
  });

  test("any sequence of puts and deletes lists as a sorted set does", async () => {
    const bucket = await open();
    const name = fc.array(fc.constantFrom("a", "b", "a.", "é"), { minLength: 1, maxLength: 3 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(name, fc.boolean()), { maxLength: 12 }), async (steps) => {
        const folder = `round-${round++}/`;
        const expected = new Set<string>();
        for (const [parts, put] of steps) {
          // A directory cannot hold a file and a folder of one name, so depth decides which it is.
          const object = `${folder}${parts.map((part, i) => part + (i === parts.length - 1 ? "f" : "d")).join("/")}`;
          if (put) await bucket.put(object, bytes(object));
          else await bucket.delete(object);
          if (put) expected.add(object);
          else expected.delete(object);
        }
        const sorted = [...expected].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(await all(bucket.list(folder, { recursive: true }))).toEqual(sorted);
      }),
      { numRuns: 15 },
    );
    await bucket.close();
  });
}

test("a directory bucket shows no file that is still being written, no empty folder, no symbolic link", async () => {
  const directory = mkdtempSync(`${scratch}/fs-`);
  const bucket = new FilesystemBucket(directory);
  await bucket.put("x", bytes("x"));
  await bucket.put("d/e/f", bytes("f"));
  await bucket.delete("d/e/f");
  mkdirSync(path.join(directory, "left/behind"), { recursive: true });
  writeFileSync(path.join(directory, ".torus-tmp", "half"), "ha");
  symlinkSync("/etc", path.join(directory, "link"));
  expect(await all(bucket.list(""))).toEqual(["x"]);
  expect(await all(bucket.list("", { recursive: true }))).toEqual(["x"]);
  await expect(bucket.get(".torus-tmp/half")).rejects.toThrow(InvalidObjectNameError);
  await expect(bucket.putFile("y", path.join(scratch, "none"))).rejects.toThrow(/ENOENT/);
  expect(readdirSync(path.join(directory, ".torus-tmp"))).toEqual(["half"]);
});

test.skipIf(weed === undefined)(`a list of more than a page is whole${whyNot}`, async () => {
  const bucket = await openS3();
  const names = Array.from({ length: 1100 }, (_, i) => `p/${String(i).padStart(5, "0")}`);
  for (let i = 0; i < names.length; i += 50) {
    await Promise.all(names.slice(i, i + 50).map((name) => bucket.put(name, bytes("x"))));
  }
  expect(await all(bucket.list("p/"))).toEqual(names);
  await bucket.close();
});

test.skipIf(weed === undefined)(
  `a wrong secret and a missing bucket are errors, not missing objects${whyNot}`,
  async () => {
    const config = (secret: string) =>
      `type: S3\nconfig: {bucket: nowhere, endpoint: "${s3?.endpoint}", insecure: true, access_key: ${s3?.accessKey}, secret_key: ${secret}}`;
    const wrong = await openBucket(parseBucketConfig(config("wrong-secret")));
    await expect(wrong.get("x")).rejects.toMatchObject({ name: "SignatureDoesNotMatch" });
    await wrong.close();
    const missing = await openBucket(parseBucketConfig(config(String(s3?.secretKey))));
    await expect(missing.get("x")).rejects.toMatchObject({ name: "NoSuchBucket" });
    await expect(all(missing.list(""))).rejects.toMatchObject({ name: "NoSuchBucket" });
    await missing.close();
  },
);

test("an S3 bucket can be opened while its server is away, and says so when it is used", async () => {
  const bucket = await openBucket(
    parseBucketConfig(
      "{type: S3, config: {bucket: b, endpoint: '127.0.0.1:1', insecure: true, access_key: a, secret_key: b, create_bucket: true, max_retries: 1}}",
    ),
  );
  await expect(bucket.get("x")).rejects.toThrow(/ECONNREFUSED/);
  await expect(bucket.exists("x")).rejects.toThrow(/ECONNREFUSED/);
  await bucket.close();
});

test("an observer hears of every operation with its bytes and its outcome", async () => {
  const heard: BucketOutcome[] = [];
  const bucket = new ObservedBucket(new InMemoryBucket(), (outcome) => heard.push(outcome));
  await bucket.put("x", bytes("xyz"));
  await bucket.getRange("x", 1, 2);
  await expect(bucket.get("missing")).rejects.toThrow(/does not exist/);
  await expect(bucket.get("../x")).rejects.toThrow(/has the part/);
  await all(bucket.list(""));
  expect(heard.map(({ operation, bytes, failed }) => [operation, bytes, failed])).toEqual([
    ["upload", 3, false],
    ["get_range", 2, false],
    ["get", 0, false],
    ["get", 0, true],
    ["iter", 0, false],
  ]);
});
