/**
 * A directory as a bucket: an object is a file, its name the path below the directory.
 * The layout is that of Thanos' FILESYSTEM type, so both can work on one directory.
 *
 * A put goes to a file in `<directory>/.torus-tmp/`, is synced, then renamed: a reader sees all of it or
 * nothing, also after a power cut. A folder without an object below it does not exist, as on S3.
 */

import { randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { copyFile, mkdir, open, readdir, rename, rmdir, stat, unlink } from "node:fs/promises";
import path from "node:path";
import type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";
import {
  checkObjectName,
  checkPrefix,
  compareNames,
  InvalidObjectNameError,
} from "./object-name.ts";

const STAGING = ".torus-tmp";

export class FilesystemBucket implements Bucket {
  readonly name: string;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = path.resolve(directory);
    this.name = `FILESYSTEM: ${this.#directory}`;
  }

  async *list(
    prefix: string,
    options: BucketCall & { recursive?: boolean } = {},
  ): AsyncIterable<string> {
    checkPrefix(prefix);
    yield* this.#walk(prefix, options.recursive === true, options.signal);
  }

  async get(name: string, call: BucketCall = {}): Promise<Uint8Array> {
    return await this.#withFile(name, call, async (file) => {
      const body = await file.readFile(call.signal === undefined ? {} : { signal: call.signal });
      return new Uint8Array(body.buffer, body.byteOffset, body.length);
    });
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    call: BucketCall = {},
  ): Promise<Uint8Array> {
    return await this.#withFile(name, call, async (file) => {
      const { size } = await file.stat();
      const body = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      let filled = 0;
      while (filled < body.length) {
        call.signal?.throwIfAborted();
        const { bytesRead } = await file.read(body, filled, body.length - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return body.subarray(0, filled);
    });
  }

  async put(name: string, body: Uint8Array, call: BucketCall = {}): Promise<void> {
    await this.#replace(name, call, async (staged) => {
      const file = await open(staged, "wx");
      try {
        await file.writeFile(body, call.signal === undefined ? {} : { signal: call.signal });
      } finally {
        await file.close();
      }
    });
  }

  async putFile(name: string, source: string, call: BucketCall = {}): Promise<void> {
    await this.#replace(name, call, async (staged) => await copyFile(source, staged));
  }

  async delete(name: string, call: BucketCall = {}): Promise<void> {
    const file = this.#pathOf(name);
    call.signal?.throwIfAborted();
    try {
      await unlink(file);
    } catch (error) {
      // A folder of that name is not an object.
      if (isMissing(error) || (error as NodeJS.ErrnoException).code === "EISDIR") return;
      throw error;
    }
    for (
      let parent = path.dirname(file);
      parent !== this.#directory;
      parent = path.dirname(parent)
    ) {
      try {
        await rmdir(parent);
      } catch {
        // Something is left below it, or another deletion was faster.
        break;
      }
    }
  }

  async exists(name: string, call: BucketCall = {}): Promise<boolean> {
    const file = this.#pathOf(name);
    call.signal?.throwIfAborted();
    try {
      return (await stat(file)).isFile();
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async attributes(name: string, call: BucketCall = {}): Promise<ObjectAttributes> {
    return await this.#withFile(name, call, async (file) => {
      const { size, mtimeMs } = await file.stat();
      return { sizeBytes: size, lastModifiedMs: Math.floor(mtimeMs) };
    });
  }

  async close(): Promise<void> {}

  #pathOf(name: string): string {
    checkObjectName(name);
    if (name === STAGING || name.startsWith(`${STAGING}/`)) {
      throw new InvalidObjectNameError(name, `${STAGING} is for files being written`);
    }
    return path.join(this.#directory, name);
  }

  async *#walk(
    prefix: string,
    recursive: boolean,
    signal: AbortSignal | undefined,
  ): AsyncIterable<string> {
    signal?.throwIfAborted();
    const names: string[] = [];
    for (const entry of await readFolder(path.join(this.#directory, prefix))) {
      if (prefix === "" && entry.name === STAGING) continue;
      if (entry.isFile()) names.push(prefix + entry.name);
      else if (entry.isDirectory()) names.push(`${prefix}${entry.name}/`);
    }
    // With the slash at its end a folder sorts where its objects do, so the walk is in byte order throughout.
    for (const name of names.sort(compareNames)) {
      if (!name.endsWith("/")) yield name;
      else if (recursive) yield* this.#walk(name, true, signal);
      else if (await this.#hasObject(name, signal)) yield name;
    }
  }

  async #hasObject(prefix: string, signal: AbortSignal | undefined): Promise<boolean> {
    for await (const _ of this.#walk(prefix, true, signal)) return true;
    return false;
  }

  async #withFile<T>(
    name: string,
    call: BucketCall,
    use: (file: FileHandle) => Promise<T>,
  ): Promise<T> {
    const target = this.#pathOf(name);
    call.signal?.throwIfAborted();
    let file: FileHandle;
    try {
      file = await open(target, "r");
    } catch (error) {
      if (isMissing(error)) throw new ObjectNotFoundError(name, error);
      throw error;
    }
    try {
      if (!(await file.stat()).isFile()) throw new ObjectNotFoundError(name);
      return await use(file);
    } finally {
      await file.close();
    }
  }

  async #replace(
    name: string,
    call: BucketCall,
    write: (staged: string) => Promise<void>,
  ): Promise<void> {
    const target = this.#pathOf(name);
    call.signal?.throwIfAborted();
    const staging = path.join(this.#directory, STAGING);
    await mkdir(staging, { recursive: true });
    const staged = path.join(staging, randomUUID());
    try {
      await write(staged);
      await syncPath(staged);
      call.signal?.throwIfAborted();
      await this.#renameInto(staged, target);
    } catch (error) {
      await unlink(staged).catch(() => undefined);
      throw error;
    }
    await this.#syncFolders(path.dirname(target));
  }

  /** A deletion may take the folder away between making it and the rename; then it is made again. */
  async #renameInto(staged: string, target: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      await mkdir(path.dirname(target), { recursive: true });
      try {
        await rename(staged, target);
        return;
      } catch (error) {
        if (!isMissing(error) || attempt === 5) throw error;
      }
    }
  }

  async #syncFolders(folder: string): Promise<void> {
    for (let at = folder; ; at = path.dirname(at)) {
      try {
        await syncPath(at);
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      if (at === this.#directory) return;
    }
  }
}

async function readFolder(folder: string) {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function syncPath(target: string): Promise<void> {
  const file = await open(target, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
}
