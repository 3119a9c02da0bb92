/**
 * Puts a finished local block into the bucket.
 *
 * 1. chunks/*, index and meta.json are hard-linked into `<tsdb dir>/thanos/upload/<ULID>/`, so that the owner of
 *    the directory may delete the block meanwhile;
 * 2. meta.json is replaced there by one with the `thanos` part (a new file: the block's own is never touched);
 * 3. objects go up as chunks/*, index, and meta.json last, whose presence is what makes the block exist.
 *
 * The tombstones file stays behind, as in Thanos. A failure leaves what was sent; the next try writes it again.
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { copyFile, link, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Bucket, BucketCall } from "@torus/objstore";
import type { BlockFile, BlockMeta, BlockSource, ThanosMeta } from "./meta.ts";
import {
  CHUNKS_DIR,
  formatUploadedMeta,
  formatUploadTime,
  INDEX_FILE,
  META_FILE,
  parseBlockMeta,
} from "./meta.ts";

/** The block was deleted locally before all of it was linked; there is nothing left to upload. */
export class BlockGoneError extends Error {
  readonly ulid: string;
  constructor(ulid: string, cause: unknown) {
    super(`block ${ulid} was deleted before it could be staged for upload`, { cause });
    this.name = "BlockGoneError";
    this.ulid = ulid;
  }
}

export type UploadTarget = {
  /** External labels; at least one. */
  labels: Readonly<Record<string, string>>;
  source: BlockSource;
  /** With SHA256 the files' hashes are written into meta.json. */
  hashFunc: "" | "SHA256";
  now: () => number;
};

/** Below the TSDB directory; Thanos' own place, so that either cleans up after the other. */
export const UPLOAD_STAGING = path.join("thanos", "upload");

/** @throws {BlockGoneError} */
export async function uploadBlock(
  bucket: Bucket,
  tsdbDir: string,
  ulid: string,
  target: UploadTarget,
  call: BucketCall = {},
): Promise<BlockMeta> {
  if (Object.keys(target.labels).length === 0) {
    throw new Error(`upload block ${ulid}: empty external labels are not allowed`);
  }
  const staging = path.join(tsdbDir, UPLOAD_STAGING, ulid);
  await rm(staging, { recursive: true, force: true });
  try {
    const segments = await stage(path.join(tsdbDir, ulid), staging, ulid);
    const meta = parseBlockMeta(await readFile(path.join(staging, META_FILE)));
    const thanos: ThanosMeta = {
      labels: { ...target.labels },
      downsample: { resolution: 0 },
      source: target.source,
      segment_files: segments,
      files: await describeFiles(staging, segments, target.hashFunc),
      index_stats: {},
      upload_time: formatUploadTime(target.now()),
    };
    const uploaded = { ...meta, thanos };
    // Removed first: writing through the hard link would change the block's own meta.json.
    await rm(path.join(staging, META_FILE));
    await writeFile(path.join(staging, META_FILE), formatUploadedMeta(uploaded));
    for (const segment of segments) {
      const name = `${CHUNKS_DIR}/${segment}`;
      await bucket.putFile(`${ulid}/${name}`, path.join(staging, CHUNKS_DIR, segment), call);
    }
    await bucket.putFile(`${ulid}/${INDEX_FILE}`, path.join(staging, INDEX_FILE), call);
    await bucket.putFile(`${ulid}/${META_FILE}`, path.join(staging, META_FILE), call);
    return uploaded;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Links the files and returns the names in chunks/, sorted. */
async function stage(block: string, staging: string, ulid: string): Promise<string[]> {
  await mkdir(path.join(staging, CHUNKS_DIR), { recursive: true });
  try {
    const segments = (await readdir(path.join(block, CHUNKS_DIR))).sort();
    for (const segment of segments) {
      const name = path.join(CHUNKS_DIR, segment);
      await linkOrCopy(path.join(block, name), path.join(staging, name));
    }
    await linkOrCopy(path.join(block, INDEX_FILE), path.join(staging, INDEX_FILE));
    await linkOrCopy(path.join(block, META_FILE), path.join(staging, META_FILE));
    return segments;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" && !(await isThere(block))) {
      throw new BlockGoneError(ulid, error);
    }
    throw error;
  }
}

/** A block being deleted is first renamed, so its folder is gone before any of its files is. */
async function isThere(block: string): Promise<boolean> {
  return await stat(block).then(
    () => true,
    () => false,
  );
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    // Some network file systems have no hard links.
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (!["EPERM", "EXDEV", "ENOTSUP", "EOPNOTSUPP", "EMLINK"].includes(code)) throw error;
    await copyFile(from, to);
  }
}

async function describeFiles(
  staging: string,
  segments: readonly string[],
  hashFunc: UploadTarget["hashFunc"],
): Promise<BlockFile[]> {
  const files: BlockFile[] = [];
  for (const name of [...segments.map((segment) => `${CHUNKS_DIR}/${segment}`), INDEX_FILE]) {
    const file = path.join(staging, name);
    const { size } = await stat(file);
    const entry: BlockFile = { rel_path: name, size_bytes: size };
    if (hashFunc === "SHA256") entry.hash = { hashFunc, value: await sha256(file) };
    files.push(entry);
  }
  files.push({ rel_path: META_FILE });
  return files;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
