/** A bucket in memory: the small true implementation that tests of everything above the bucket run on. */

import { readFile } from "node:fs/promises";
import type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";
import { checkObjectName, checkPrefix, compareNames } from "./object-name.ts";

type StoredObject = { body: Uint8Array; lastModifiedMs: number };

export class InMemoryBucket implements Bucket {
  readonly name: string;
  readonly #objects = new Map<string, StoredObject>();
  readonly #now: () => number;

  constructor(name = "in-memory", now: () => number = Date.now) {
    this.name = `MEMORY: ${name}`;
    this.#now = now;
  }

  async *list(
    prefix: string,
    options: BucketCall & { recursive?: boolean } = {},
  ): AsyncIterable<string> {
    checkPrefix(prefix);
    options.signal?.throwIfAborted();
    const found = new Set<string>();
    for (const name of this.#objects.keys()) {
      if (!name.startsWith(prefix)) continue;
      const slash = options.recursive === true ? -1 : name.indexOf("/", prefix.length);
      found.add(slash < 0 ? name : name.slice(0, slash + 1));
    }
    for (const name of [...found].sort(compareNames)) yield name;
  }

  async get(name: string, call: BucketCall = {}): Promise<Uint8Array> {
    return this.#find(name, call).body.slice();
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    call: BucketCall = {},
  ): Promise<Uint8Array> {
    return this.#find(name, call).body.slice(offset, offset + length);
  }

  async put(name: string, body: Uint8Array, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    call.signal?.throwIfAborted();
    this.#objects.set(name, { body: body.slice(), lastModifiedMs: this.#now() });
  }

  async putFile(name: string, path: string, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    await this.put(name, await readFile(path), call);
  }

  async delete(name: string, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    call.signal?.throwIfAborted();
    this.#objects.delete(name);
  }

  async exists(name: string, call: BucketCall = {}): Promise<boolean> {
    checkObjectName(name);
    call.signal?.throwIfAborted();
    return this.#objects.has(name);
  }

  async attributes(name: string, call: BucketCall = {}): Promise<ObjectAttributes> {
    const { body, lastModifiedMs } = this.#find(name, call);
    return { sizeBytes: body.length, lastModifiedMs };
  }

  async close(): Promise<void> {}

  #find(name: string, call: BucketCall): StoredObject {
    checkObjectName(name);
    call.signal?.throwIfAborted();
    const object = this.#objects.get(name);
    if (object === undefined) throw new ObjectNotFoundError(name);
    return object;
  }
}
