/**
 * The shipper of one TSDB directory: puts its finished blocks into the bucket, oldest first, and remembers
 * them in thanos.shipper.json.
 *
 * Any crash leaves a state from which the next sync goes on: whether a block is in the bucket is decided by its
 * meta.json there alone, and everything before that may be sent again.
 */

import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import type { BlockMeta, BlockSource } from "@torus/block";
import {
  BlockGoneError,
  META_FILE,
  parseBlockMeta,
  UPLOAD_STAGING,
  uploadBlock,
} from "@torus/block";
import { isUlid } from "@torus/model";
import type { Bucket } from "@torus/objstore";
import type { DirectoryLock } from "./directory-lock.ts";
import { lockDirectory } from "./directory-lock.ts";
import { hasShipper, readShipped, writeShipped } from "./shipper-file.ts";

export type ShipperOptions = {
  /** Asked at every sync, since a ring's external labels may change. Without any nothing is uploaded. */
  labels: () => Readonly<Record<string, string>>;
  source: BlockSource;
  hashFunc: "" | "SHA256";
  /** Also blocks of a higher compaction level than 1. */
  uploadCompacted: boolean;
  /** Go on with younger blocks after one failed. */
  allowOutOfOrderUploads: boolean;
  now: () => number;
  onEvent: (event: ShipperEvent) => void;
};

/** What metrics and log are made of. */
export type ShipperEvent =
  /** `compacted`: every block is in the bucket, those of higher compaction levels too. */
  | { kind: "synced"; failed: boolean; compacted: boolean }
  | { kind: "uploaded"; ulid: string; meta: BlockMeta }
  | { kind: "upload-failed"; ulid: string; error: Error }
  | { kind: "block-gone"; ulid: string }
  | { kind: "block-unreadable"; ulid: string; error: Error };

export class NoExternalLabelsError extends Error {
  constructor(dir: string) {
    super(
      `no external labels for the blocks of ${dir}: without them replicas and tenants cannot be told apart; give --label`,
    );
    this.name = "NoExternalLabelsError";
  }
}

export class LockLostError extends Error {
  constructor(dir: string) {
    super(`another uploader took over ${dir}`);
    this.name = "LockLostError";
  }
}

export class Shipper {
  readonly dir: string;
  readonly #bucket: Bucket;
  readonly #options: ShipperOptions;
  #lock: DirectoryLock | undefined;
  #shipped: Set<string>;
  #running: Promise<number> | undefined;

  /** @param dir A TSDB directory: the folder that holds blocks and WAL. */
  constructor(bucket: Bucket, dir: string, options: ShipperOptions) {
    this.dir = dir;
    this.#bucket = bucket;
    this.#options = options;
    this.#shipped = readShipped(dir);
  }

  /** True for a block that is in the bucket, so that retention may delete it here. */
  isShipped(ulid: string): boolean {
    return this.#shipped.has(ulid);
  }

  /**
   * Uploads what is missing; returns the number of uploaded blocks. Calls while one is running share its result.
   *
   * @throws {DirectoryLockedError} when another process ships this directory.
   * @throws {NoExternalLabelsError}
   */
  sync(signal?: AbortSignal): Promise<number> {
    this.#running ??= this.#sync(signal).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Ends the running sync's lock too; not to be called before the sync's signal was aborted or it ended. */
  async close(): Promise<void> {
    await this.#running?.catch(() => undefined);
    this.#lock?.release();
    this.#lock = undefined;
  }

  async #sync(signal: AbortSignal | undefined): Promise<number> {
    let failed = true;
    try {
      if (this.#lock === undefined) {
        this.#lock = lockDirectory(this.dir, this.#options.now);
        // What a shipper before us was staging when it was killed.
        await rm(path.join(this.dir, UPLOAD_STAGING), { recursive: true, force: true });
        // From now on retention waits for us.
        if (!hasShipper(this.dir)) await writeShipped(this.dir, []);
      }
      this.#holdLock();
      const uploaded = await this.#upload(signal);
      failed = false;
      return uploaded;
    } finally {
      const compacted = !failed && this.#options.uploadCompacted;
      this.#options.onEvent({ kind: "synced", failed, compacted });
    }
  }

  #holdLock(): void {
    if (this.#lock?.renew() !== false) return;
    this.#lock = undefined;
    throw new LockLostError(this.dir);
  }

  async #upload(signal: AbortSignal | undefined): Promise<number> {
    const { labels, onEvent, allowOutOfOrderUploads } = this.#options;
    const blocks = await this.#localBlocks();
    const known = readShipped(this.dir);
    const shipped: string[] = [];
    let uploaded = 0;
    let firstError: Error | undefined;
    for (const meta of blocks) {
      signal?.throwIfAborted();
      const { ulid } = meta;
      if (known.has(ulid)) {
        shipped.push(ulid);
        continue;
      }
      if (!this.#isWanted(meta) || (firstError !== undefined && !allowOutOfOrderUploads)) continue;
      try {
        this.#holdLock();
        if (!(await this.#isInBucket(ulid, signal))) {
          const external = labels();
          if (Object.keys(external).length === 0) throw new NoExternalLabelsError(this.dir);
          const { source, hashFunc, now } = this.#options;
          const call = signal === undefined ? {} : { signal };
          const target = { labels: external, source, hashFunc, now };
          const done = await uploadBlock(this.#bucket, this.dir, ulid, target, call);
          uploaded++;
          onEvent({ kind: "uploaded", ulid, meta: done });
        }
        shipped.push(ulid);
        // After each block: a crash then costs one question to the bucket, and retention need not wait.
        await this.#remember(shipped, blocks, known);
      } catch (error) {
        if (error instanceof BlockGoneError) {
          onEvent({ kind: "block-gone", ulid });
          continue;
        }
        signal?.throwIfAborted();
        if (error instanceof LockLostError || error instanceof NoExternalLabelsError) throw error;
        firstError ??= error as Error;
        onEvent({ kind: "upload-failed", ulid, error: error as Error });
      }
    }
    await this.#remember(shipped, blocks, known);
    if (firstError !== undefined) throw firstError;
    return uploaded;
  }

  /** The file lists what is local and in the bucket; blocks not reached yet in this round stay listed. */
  async #remember(
    shipped: readonly string[],
    blocks: readonly BlockMeta[],
    known: ReadonlySet<string>,
  ): Promise<void> {
    const done = new Set(shipped);
    const list = blocks
      .map((meta) => meta.ulid)
      .filter((ulid) => done.has(ulid) || known.has(ulid));
    const before = [...readShipped(this.dir)];
    const isSame = before.length === list.length && before.every((ulid, i) => ulid === list[i]);
    if (!isSame) await writeShipped(this.dir, list);
    this.#shipped = new Set(list);
  }

  #isWanted(meta: BlockMeta): boolean {
    if ((meta.stats.numSamples ?? 0) === 0) return false;
    return meta.compaction.level <= 1 || this.#options.uploadCompacted;
  }

  async #isInBucket(ulid: string, signal: AbortSignal | undefined): Promise<boolean> {
    return await this.#bucket.exists(
      `${ulid}/${META_FILE}`,
      signal === undefined ? {} : { signal },
    );
  }

  /** By minTime, then ULID. Temporary folders have longer names and are no ULIDs. */
  async #localBlocks(): Promise<BlockMeta[]> {
    const blocks: BlockMeta[] = [];
    for (const name of await readdir(this.dir)) {
      if (!isUlid(name)) continue;
      try {
        const meta = parseBlockMeta(await readFile(path.join(this.dir, name, META_FILE)));
        if (meta.ulid !== name) throw new Error(`meta.json is that of ${meta.ulid}`);
        blocks.push(meta);
      } catch (error) {
        // Deleted since the folder was listed.
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        this.#options.onEvent({ kind: "block-unreadable", ulid: name, error: error as Error });
      }
    }
    return blocks.sort((a, b) => a.minTime - b.minTime || (a.ulid < b.ulid ? -1 : 1));
  }
}
