/** Brings a block from the bucket into a directory, or checks it where it is. */

import { createHash } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { Bucket, BucketCall } from "@torus/objstore";
import { ObjectNotFoundError } from "@torus/objstore";
import type { BlockFile, BlockMeta } from "./meta.ts";
import { META_FILE, parseBlockMeta } from "./meta.ts";

/** Files are moved in pieces of this size, so memory does not depend on the block. */
const PIECE_BYTES = 8 << 20;

export class BlockDamagedError extends Error {
  readonly ulid: string;
  readonly problems: readonly string[];
  constructor(ulid: string, problems: readonly string[]) {
    super(`block ${ulid}: ${problems.join("; ")}`);
    this.name = "BlockDamagedError";
    this.ulid = ulid;
    this.problems = problems;
  }
}

/** @throws {ObjectNotFoundError} when the block is partial. @throws {BlockMetaError} */
export async function readBlockMeta(
  bucket: Bucket,
  ulid: string,
  call: BucketCall = {},
): Promise<BlockMeta> {
  const meta = parseBlockMeta(await bucket.get(`${ulid}/${META_FILE}`, call));
  if (meta.ulid !== ulid) throw new BlockDamagedError(ulid, [`meta.json is that of ${meta.ulid}`]);
  return meta;
}

/**
 * Downloads into `<dir>/<ULID>`, under a temporary name until all of it is there.
 *
 * @throws {BlockDamagedError} when a file's size or hash is not what meta.json says.
 */
export async function downloadBlock(
  bucket: Bucket,
  ulid: string,
  dir: string,
  call: BucketCall = {},
): Promise<BlockMeta> {
  const meta = await readBlockMeta(bucket, ulid, call);
  const target = path.join(dir, ulid);
  const staged = `${target}.tmp-for-creation`;
  await rm(staged, { recursive: true, force: true });
  const problems: string[] = [];
  for (const file of await blockFiles(bucket, meta, call)) {
    const local = path.join(staged, ...file.rel_path.split("/"));
    await mkdir(path.dirname(local), { recursive: true });
    const handle = await open(local, "wx");
    try {
      const problem = await readPieces(bucket, ulid, file, call, async (piece) => {
        await handle.writeFile(piece);
      });
      if (problem !== undefined) problems.push(problem);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  if (problems.length > 0) {
    await rm(staged, { recursive: true, force: true });
    throw new BlockDamagedError(ulid, problems);
  }
  await rename(staged, target);
  return meta;
}

/** Compares every file of the block with what meta.json says about it; without hashes, by size. */
export async function verifyBlockFiles(
  bucket: Bucket,
  meta: BlockMeta,
  call: BucketCall = {},
): Promise<string[]> {
  const problems: string[] = [];
  for (const file of meta.thanos?.files ?? []) {
    if (file.rel_path === META_FILE) continue;
    try {
      const problem =
        file.hash?.hashFunc === "SHA256"
          ? await readPieces(bucket, meta.ulid, file, call, async () => undefined)
          : sizeProblem(
              file,
              (await bucket.attributes(`${meta.ulid}/${file.rel_path}`, call)).sizeBytes,
            );
      if (problem !== undefined) problems.push(problem);
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
      problems.push(`${file.rel_path} is missing`);
    }
  }
  return problems;
}

/** Blocks of old Thanos versions have no file list; then the bucket is asked. */
async function blockFiles(bucket: Bucket, meta: BlockMeta, call: BucketCall): Promise<BlockFile[]> {
  if (meta.thanos?.files !== undefined) return meta.thanos.files;
  const files: BlockFile[] = [];
  for await (const name of bucket.list(`${meta.ulid}/`, { ...call, recursive: true })) {
    files.push({ rel_path: name.slice(meta.ulid.length + 1) });
  }
  return files;
}

async function readPieces(
  bucket: Bucket,
  ulid: string,
  file: BlockFile,
  call: BucketCall,
  take: (piece: Uint8Array) => Promise<void>,
): Promise<string | undefined> {
  const hash = createHash("sha256");
  let size = 0;
  for (;;) {
    const piece = await bucket.getRange(`${ulid}/${file.rel_path}`, size, PIECE_BYTES, call);
    size += piece.length;
    hash.update(piece);
    await take(piece);
    if (piece.length < PIECE_BYTES) break;
  }
  if (file.hash?.hashFunc === "SHA256" && hash.digest("hex") !== file.hash.value) {
    return `${file.rel_path} has another SHA256 than meta.json says`;
  }
  return sizeProblem(file, size);
}

function sizeProblem(file: BlockFile, size: number): string | undefined {
  if (file.size_bytes === undefined || file.size_bytes === size) return undefined;
  return `${file.rel_path} has ${size} bytes, meta.json says ${file.size_bytes}`;
}
