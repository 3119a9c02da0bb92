/**
 * An S3 bucket, by the AWS SDK. The SDK is loaded with the first bucket, since it is large.
 *
 * Bodies are sent from memory, a part at a time, never as streams: the SDK can then send a part again after
 * a failure, and its checksum goes into a header. (A streamed body gets a trailing checksum instead, which
 * older MinIO gateways and rclone refuse with 411, and cannot be sent twice.)
 */

import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import type * as sdkModule from "@aws-sdk/client-s3";
import type { CompletedPart, S3Client, S3ClientConfig } from "@aws-sdk/client-s3";
import type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
import { ObjectNotFoundError } from "./bucket.ts";
import { checkObjectName, checkPrefix, compareNames } from "./object-name.ts";
import type { S3Settings } from "./s3-settings.ts";

type Sdk = typeof sdkModule;

/** S3 takes no more parts than this in one object. */
const MAX_PARTS = 10_000;

export async function openS3Bucket(settings: S3Settings): Promise<S3Bucket> {
  // The SDK prints a warning about Node 20 into our log otherwise; its version is pinned.
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
  const sdk = await import("@aws-sdk/client-s3");
  return new S3Bucket(sdk, settings);
}

export class S3Bucket implements Bucket {
  readonly name: string;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #settings: S3Settings;
  readonly #bucket: string;
  /** What every new object is given: user metadata and encryption. */
  readonly #objectFields: Record<string, unknown>;
  #making: Promise<void> | undefined;

  constructor(sdk: Sdk, settings: S3Settings) {
    this.#sdk = sdk;
    this.#settings = settings;
    this.#bucket = settings.bucket;
    this.#client = new sdk.S3Client(clientConfig(settings));
    this.#objectFields = objectFields(settings);
    this.name = `S3: ${settings.bucket}`;
  }

  /**
   * With `create_bucket` the first operation makes the bucket, and tries again in the next one when that failed:
   * the server may start after us.
   */
  async #isMade(): Promise<void> {
    if (!this.#settings.createBucket) return;
    this.#making ??= this.#make().catch((error: unknown) => {
      this.#making = undefined;
      throw error;
    });
    await this.#making;
  }

  async #make(): Promise<void> {
    try {
      await this.#client.send(new this.#sdk.HeadBucketCommand({ Bucket: this.#bucket }));
      return;
    } catch (error) {
      // 403: it is there, and we may use what is in it but not ask for it.
      if (statusOf(error) === 403) return;
      if (statusOf(error) !== 404) throw error;
    }
    try {
      await this.#client.send(new this.#sdk.CreateBucketCommand({ Bucket: this.#bucket }));
    } catch (error) {
      const name = (error as Error).name;
      if (name !== "BucketAlreadyOwnedByYou" && name !== "BucketAlreadyExists") throw error;
    }
  }

  async *list(
    prefix: string,
    options: BucketCall & { recursive?: boolean } = {},
  ): AsyncIterable<string> {
    checkPrefix(prefix);
    await this.#isMade();
    const request = {
      Bucket: this.#bucket,
      Prefix: prefix,
      ...(options.recursive === true ? {} : { Delimiter: "/" }),
    };
    let after: string | undefined;
    do {
      const page = this.#settings.listVersion1
        ? await this.#listPage1(request, after, options)
        : await this.#listPage2(request, after, options);
      // A folder marker that some tools write has the prefix itself as its name, or ends in a slash.
      const names = page.names.filter((name) => name !== prefix);
      yield* names.sort(compareNames);
      after = page.next;
    } while (after !== undefined);
  }

  async get(name: string, call: BucketCall = {}): Promise<Uint8Array> {
    return await this.#read(name, undefined, call);
  }

  async getRange(
    name: string,
    offset: number,
    length: number,
    call: BucketCall = {},
  ): Promise<Uint8Array> {
    if (length === 0) {
      await this.attributes(name, call);
      return new Uint8Array(0);
    }
    try {
      return await this.#read(name, `bytes=${offset}-${offset + length - 1}`, call);
    } catch (error) {
      if (statusOf(error) === 416) return new Uint8Array(0);
      throw error;
    }
  }

  async put(name: string, body: Uint8Array, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    await this.#isMade();
    await this.#client.send(
      new this.#sdk.PutObjectCommand({
        ...this.#objectFields,
        ...this.#contentMd5(body),
        Bucket: this.#bucket,
        Key: name,
        Body: body,
      }),
      sendOptions(call),
    );
  }

  async putFile(name: string, path: string, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    await this.#isMade();
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const partSize = this.#settings.disableMultipart
        ? size
        : Math.max(this.#settings.partSizeBytes, Math.ceil(size / MAX_PARTS));
      if (size <= partSize) await this.put(name, await readPart(file, path, 0, size), call);
      else await this.#putParts(name, file, path, { size, partSize }, call);
    } finally {
      await file.close();
    }
  }

  async delete(name: string, call: BucketCall = {}): Promise<void> {
    checkObjectName(name);
    await this.#isMade();
    try {
      // One by one: DeleteObjects needs a Content-MD5 on servers older than S3's newer checksums.
      await this.#client.send(
        new this.#sdk.DeleteObjectCommand({ Bucket: this.#bucket, Key: name }),
        sendOptions(call),
      );
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  async exists(name: string, call: BucketCall = {}): Promise<boolean> {
    try {
      await this.attributes(name, call);
      return true;
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return false;
      throw error;
    }
  }

  async attributes(name: string, call: BucketCall = {}): Promise<ObjectAttributes> {
    checkObjectName(name);
    await this.#isMade();
    try {
      const head = await this.#client.send(
        new this.#sdk.HeadObjectCommand({ Bucket: this.#bucket, Key: name }),
        sendOptions(call),
      );
      return {
        sizeBytes: head.ContentLength ?? 0,
        lastModifiedMs: head.LastModified?.getTime() ?? 0,
      };
    } catch (error) {
      if (isMissing(error)) throw new ObjectNotFoundError(name, error);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  async #read(name: string, range: string | undefined, call: BucketCall): Promise<Uint8Array> {
    checkObjectName(name);
    await this.#isMade();
    try {
      const answer = await this.#client.send(
        new this.#sdk.GetObjectCommand({
          Bucket: this.#bucket,
          Key: name,
          ...(range === undefined ? {} : { Range: range }),
        }),
        sendOptions(call),
      );
      return (await answer.Body?.transformToByteArray()) ?? new Uint8Array(0);
    } catch (error) {
      if (isMissing(error)) throw new ObjectNotFoundError(name, error);
      throw error;
    }
  }

  async #putParts(
    name: string,
    file: FileHandle,
    path: string,
    { size, partSize }: { size: number; partSize: number },
    call: BucketCall,
  ): Promise<void> {
    const sdk = this.#sdk;
    const target = { Bucket: this.#bucket, Key: name };
    const created = await this.#client.send(
      new sdk.CreateMultipartUploadCommand({ ...this.#objectFields, ...target }),
      sendOptions(call),
    );
    const upload = { ...target, UploadId: created.UploadId };
    try {
      const parts: CompletedPart[] = [];
      for (let offset = 0; offset < size; offset += partSize) {
        const body = await readPart(file, path, offset, Math.min(partSize, size - offset));
        const part = { ...upload, PartNumber: parts.length + 1 };
        const done = await this.#client.send(
          new sdk.UploadPartCommand({ ...part, ...this.#contentMd5(body), Body: body }),
          sendOptions(call),
        );
        parts.push({
          PartNumber: part.PartNumber,
          ...(done.ETag === undefined ? {} : { ETag: done.ETag }),
          ...(done.ChecksumCRC32 === undefined ? {} : { ChecksumCRC32: done.ChecksumCRC32 }),
        });
      }
      await this.#client.send(
        new sdk.CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts: parts } }),
        sendOptions(call),
      );
    } catch (error) {
      // Without the caller's signal, which may be the reason. What is left behind here only costs space.
      await this.#client.send(new sdk.AbortMultipartUploadCommand(upload)).catch(() => undefined);
      throw error;
    }
  }

  async #listPage2(request: ListRequest, after: string | undefined, call: BucketCall) {
    const page = await this.#client.send(
      new this.#sdk.ListObjectsV2Command({
        ...request,
        ...(after === undefined ? {} : { ContinuationToken: after }),
      }),
      sendOptions(call),
    );
    return { names: namesOf(page), next: nextPage(page, page.NextContinuationToken) };
  }

  async #listPage1(request: ListRequest, after: string | undefined, call: BucketCall) {
    const page = await this.#client.send(
      new this.#sdk.ListObjectsCommand({
        ...request,
        ...(after === undefined ? {} : { Marker: after }),
      }),
      sendOptions(call),
    );
    const names = namesOf(page);
    // NextMarker is only sent with a delimiter; without one the last name serves.
    return { names, next: nextPage(page, page.NextMarker ?? names.sort(compareNames).at(-1)) };
  }

  #contentMd5(body: Uint8Array): { ContentMD5?: string } {
    if (!this.#settings.sendContentMd5) return {};
    return { ContentMD5: createHash("md5").update(body).digest("base64") };
  }
}

type ListRequest = { Bucket: string; Prefix: string; Delimiter?: string };

type ListPage = {
  Contents?: { Key?: string | undefined }[] | undefined;
  CommonPrefixes?: { Prefix?: string | undefined }[] | undefined;
  IsTruncated?: boolean | undefined;
};

function namesOf(page: ListPage): string[] {
  const names: string[] = [];
  for (const { Key } of page.Contents ?? []) {
    if (Key !== undefined && !Key.endsWith("/")) names.push(Key);
  }
  for (const { Prefix } of page.CommonPrefixes ?? []) if (Prefix !== undefined) names.push(Prefix);
  return names;
}

/** A server that says "more" without saying where from would have us list its first page for ever. */
function nextPage(page: ListPage, next: string | undefined): string | undefined {
  if (page.IsTruncated !== true) return undefined;
  if (next === undefined) throw new Error("list: the server cut its answer and named no next page");
  return next;
}

function sendOptions(call: BucketCall): { abortSignal?: AbortSignal } {
  return call.signal === undefined ? {} : { abortSignal: call.signal };
}

function statusOf(error: unknown): number {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode ?? 0;
}

function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && (error as Error).name !== "NoSuchBucket";
}

async function readPart(
  file: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const body = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(body, filled, length - filled, offset + filled);
    if (bytesRead === 0) {
      throw new Error(`read ${length} bytes at ${offset} of ${path}: it ends after ${filled}`);
    }
    filled += bytesRead;
  }
  return body;
}

function clientConfig(settings: S3Settings): S3ClientConfig {
  const checksums = settings.checksumMode === "when_required" ? "WHEN_REQUIRED" : "WHEN_SUPPORTED";
  const agent = {
    maxSockets: settings.maxConnections,
    keepAlive: true,
    ...(settings.caPem === undefined ? {} : { ca: settings.caPem }),
    ...(settings.certPem === undefined ? {} : { cert: settings.certPem }),
    ...(settings.keyPem === undefined ? {} : { key: settings.keyPem }),
    ...(settings.serverName === undefined ? {} : { servername: settings.serverName }),
    rejectUnauthorized: !settings.insecureSkipVerify,
  };
  return {
    ...(settings.endpoint === undefined
      ? {}
      : { endpoint: `${settings.insecure ? "http" : "https"}://${settings.endpoint}` }),
    ...(settings.credentials === undefined ? {} : { credentials: settings.credentials }),
    region: settings.region,
    forcePathStyle: settings.pathStyle,
    maxAttempts: settings.maxAttempts,
    requestChecksumCalculation: checksums,
    responseChecksumValidation: checksums,
    requestHandler: {
      connectionTimeout: settings.connectTimeoutMs,
      requestTimeout: settings.responseTimeoutMs,
      throwOnRequestTimeout: true,
      ...(settings.insecure
        ? { httpAgent: { maxSockets: agent.maxSockets, keepAlive: true } }
        : {}),
      ...(settings.insecure ? {} : { httpsAgent: agent }),
    },
  };
}

function objectFields(settings: S3Settings): Record<string, unknown> {
  const { encryption } = settings;
  return {
    ...(settings.userMetadata === undefined ? {} : { Metadata: settings.userMetadata }),
    ...(encryption === undefined ? {} : { ServerSideEncryption: encryption.algorithm }),
    ...(encryption?.kmsKeyId === undefined ? {} : { SSEKMSKeyId: encryption.kmsKeyId }),
    ...(encryption?.kmsContext === undefined
      ? {}
      : {
          SSEKMSEncryptionContext: Buffer.from(JSON.stringify(encryption.kmsContext)).toString(
            "base64",
          ),
        }),
  };
}
