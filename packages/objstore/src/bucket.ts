/**
 * The bucket: a flat store of immutable objects named by `/`-separated paths, as S3 has it.
 * Implementations (S3, directory, memory) pass one acceptance suite.
 */

export class ObjectNotFoundError extends Error {
  readonly objectName: string;
  constructor(objectName: string, cause?: unknown) {
    super(`object ${objectName} does not exist`, { cause });
    this.name = "ObjectNotFoundError";
    this.objectName = objectName;
  }
}

export type ObjectAttributes = { sizeBytes: number; lastModifiedMs: number };

export type BucketCall = { signal?: AbortSignal };

export interface Bucket {
  /** For logs and metrics: `S3: thanos`, `FILESYSTEM: /data/bucket`. */
  readonly name: string;

  /**
   * The names directly under `prefix` ("" or ending in "/"), in byte order; a name that has more below it ends in "/".
   * With `recursive` all object names below `prefix`, and no folders.
   */
  list(prefix: string, options?: BucketCall & { recursive?: boolean }): AsyncIterable<string>;

  /** The whole object. @throws {ObjectNotFoundError} */
  get(name: string, call?: BucketCall): Promise<Uint8Array>;

  /**
   * Bytes [offset, offset + length) of the object; shorter when the object ends before.
   * @throws {ObjectNotFoundError}
   */
  getRange(name: string, offset: number, length: number, call?: BucketCall): Promise<Uint8Array>;

  /** Writes the object whole or not at all; replaces what was there. A reader never sees a part of it. */
  put(name: string, body: Uint8Array, call?: BucketCall): Promise<void>;

  /** As `put`, from a local file of any size, streamed; the file is opened again for a retry. */
  putFile(name: string, path: string, call?: BucketCall): Promise<void>;

  /** Deleting what is not there is no error. */
  delete(name: string, call?: BucketCall): Promise<void>;

  exists(name: string, call?: BucketCall): Promise<boolean>;

  /** @throws {ObjectNotFoundError} */
  attributes(name: string, call?: BucketCall): Promise<ObjectAttributes>;

  close(): Promise<void>;
}
