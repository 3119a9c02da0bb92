/** Tells an observer of every operation on a bucket: what the `thanos_objstore_bucket_*` metrics are made of. */

import type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";

/** The values of the label `operation`, as Thanos names them. */
export const BUCKET_OPERATIONS = [
  "iter",
  "get",
  "get_range",
  "exists",
  "upload",
  "delete",
  "attributes",
] as const;
export type BucketOperation = (typeof BUCKET_OPERATIONS)[number];

export type BucketOutcome = {
  operation: BucketOperation;
  seconds: number;
  /** Bytes read or written; 0 where the operation carries none, and for a file that was streamed. */
  bytes: number;
  /** A missing object is an answer, not a failure. */
  failed: boolean;
};

export class ObservedBucket implements Bucket {
  readonly name: string;
  readonly #bucket: Bucket;
  readonly #observe: (outcome: BucketOutcome) => void;

  constructor(bucket: Bucket, observe: (outcome: BucketOutcome) => void) {
    this.name = bucket.name;
    this.#bucket = bucket;
    this.#observe = observe;
  }

  async *list(
    prefix: string,
    options: BucketCall & { recursive?: boolean } = {},
  ): AsyncIterable<string> {
    const start = performance.now();
    let failed = false;
    try {
      yield* this.#bucket.list(prefix, options);
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      const seconds = (performance.now() - start) / 1000;
      this.#observe({ operation: "iter", seconds, bytes: 0, failed });
    }
  }

  async get(name: string, call: BucketCall = {}): Promise<Uint8Array> {
    return await this.#time("get", () => this.#bucket.get(name, call), sizeOf);
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    call: BucketCall = {},
  ): Promise<Uint8Array> {
    const read = () => this.#bucket.getRange(name, offset, length, call);
    return await this.#time("get_range", read, sizeOf);
  }

  async put(name: string, body: Uint8Array, call: BucketCall = {}): Promise<void> {
    await this.#time(
      "upload",
      () => this.#bucket.put(name, body, call),
      () => body.length,
    );
  }

  async putFile(name: string, path: string, call: BucketCall = {}): Promise<void> {
    await this.#time("upload", () => this.#bucket.putFile(name, path, call), none);
  }

  async delete(name: string, call: BucketCall = {}): Promise<void> {
    await this.#time("delete", () => this.#bucket.delete(name, call), none);
  }

  async exists(name: string, call: BucketCall = {}): Promise<boolean> {
    return await this.#time("exists", () => this.#bucket.exists(name, call), none);
  }

  async attributes(name: string, call: BucketCall = {}): Promise<ObjectAttributes> {
    return await this.#time("attributes", () => this.#bucket.attributes(name, call), none);
  }

  async close(): Promise<void> {
    await this.#bucket.close();
  }

  async #time<T>(
    operation: BucketOperation,
    act: () => Promise<T>,
    bytesOf: (result: T) => number,
  ): Promise<T> {
    const start = performance.now();
    let bytes = 0;
    let failed = false;
    try {
      const result = await act();
      bytes = bytesOf(result);
      return result;
    } catch (error) {
      failed = !(error instanceof ObjectNotFoundError);
      throw error;
    } finally {
      const seconds = (performance.now() - start) / 1000;
      this.#observe({ operation, seconds, bytes, failed });
    }
  }
}

function sizeOf(body: Uint8Array): number {
  return body.length;
}

function none(): number {
  return 0;
}
