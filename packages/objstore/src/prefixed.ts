/** A bucket below a folder of another bucket: `prefix` of bucket.yml. */

import type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";
import { checkObjectName, checkPrefix } from "./object-name.ts";

export class PrefixedBucket implements Bucket {
  readonly name: string;
  readonly #bucket: Bucket;
  readonly #prefix: string;

  /** @param prefix May stand between slashes, which do not count. @throws {InvalidObjectNameError} */
  constructor(bucket: Bucket, prefix: string) {
    this.#bucket = bucket;
    this.#prefix = `${prefix.replace(/^\/+|\/+$/g, "")}/`;
    checkPrefix(this.#prefix);
    this.name = bucket.name;
  }

  async *list(
    prefix: string,
    options: BucketCall & { recursive?: boolean } = {},
  ): AsyncIterable<string> {
    checkPrefix(prefix);
    for await (const name of this.#bucket.list(this.#prefix + prefix, options)) {
      yield name.slice(this.#prefix.length);
    }
  }

  async get(name: string, call: BucketCall = {}): Promise<Uint8Array> {
    return await this.#below(name, (below) => this.#bucket.get(below, call));
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    call: BucketCall = {},
  ): Promise<Uint8Array> {
    return await this.#below(name, (below) => this.#bucket.getRange(below, offset, length, call));
  }

  async put(name: string, body: Uint8Array, call: BucketCall = {}): Promise<void> {
    await this.#below(name, (below) => this.#bucket.put(below, body, call));
  }

  async putFile(name: string, path: string, call: BucketCall = {}): Promise<void> {
    await this.#below(name, (below) => this.#bucket.putFile(below, path, call));
  }

  async delete(name: string, call: BucketCall = {}): Promise<void> {
    await this.#below(name, (below) => this.#bucket.delete(below, call));
  }

  async exists(name: string, call: BucketCall = {}): Promise<boolean> {
    return await this.#below(name, (below) => this.#bucket.exists(below, call));
  }

  async attributes(name: string, call: BucketCall = {}): Promise<ObjectAttributes> {
    return await this.#below(name, (below) => this.#bucket.attributes(below, call));
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }

  async #below<T>(name: string, act: (below: string) => Promise<T>): Promise<T> {
    checkObjectName(name);
    try {
      return await act(this.#prefix + name);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) throw new ObjectNotFoundError(name, error);
      throw error;
    }
  }
}
