/**
 * bucket.yml, as Thanos has it: `type`, `config`, `prefix`. Keys are strict: one that we do not know is an
 * error which names it, since a misspelt key would otherwise silently mean its default.
 *
 * Beside Thanos' keys an S3 config knows `checksum_mode` (when_supported, when_required) and
 * `create_bucket` (make the bucket at start if it is missing).
 */

import { readFileSync } from "node:fs";
import { parseAllDocuments, parseDocument } from "yaml";
import type { Bucket } from "./bucket.ts";
import { FilesystemBucket } from "./filesystem.ts";
import { PrefixedBucket } from "./prefixed.ts";
import { openS3Bucket } from "./s3.ts";
import type { S3Settings } from "./s3-settings.ts";

export class BucketConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(`bucket config: ${message}`, options);
    this.name = "BucketConfigError";
  }
}

export type BucketConfig =
  | { type: "FILESYSTEM"; prefix: string; directory: string }
  | { type: "S3"; prefix: string; s3: S3Settings };

const OTHER_TYPES = ["GCS", "AZURE", "SWIFT", "COS", "ALIYUNOSS", "BOS", "OCI", "OBS"];

/** @throws {BucketConfigError} */
export async function openBucket(config: BucketConfig): Promise<Bucket> {
  const bucket =
    config.type === "FILESYSTEM"
      ? new FilesystemBucket(config.directory)
      : await openS3Bucket(config.s3);
  return config.prefix === "" ? bucket : new PrefixedBucket(bucket, config.prefix);
}

/**
 * @param text YAML; only its first document counts, as in Thanos.
 * @throws {BucketConfigError}
 */
export function parseBucketConfig(text: string): BucketConfig {
  const root = new Section("", parseYaml(text));
  const type = root.string("type", "").toUpperCase();
  const prefix = root.string("prefix", "").replace(/^\/+|\/+$/g, "");
  const config = root.section("config");
  root.finish();
  if (type === "FILESYSTEM") {
    const directory = config.string("directory", "");
    config.finish();
    if (directory === "") throw new BucketConfigError("config.directory is missing");
    return { type, prefix, directory };
  }
  if (type === "S3") return { type, prefix, s3: parseS3(config) };
  if (type === "") throw new BucketConfigError("type is missing; S3 and FILESYSTEM are supported");
  if (OTHER_TYPES.includes(type)) {
    throw new BucketConfigError(`type ${type} is not supported yet; S3 and FILESYSTEM are`);
  }
  throw new BucketConfigError(`unknown type ${JSON.stringify(type)}; S3 and FILESYSTEM are known`);
}

function parseYaml(text: string): unknown {
  const [first] = parseAllDocuments(text);
  if (first === undefined || !("errors" in first)) throw new BucketConfigError("it is empty");
  const document = first.errors.length === 0 ? first : parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw new BucketConfigError(error.message, { cause: error });
  return document.toJS({ maxAliasCount: 100 });
}

function parseS3(config: Section): S3Settings {
  const http = config.section("http_config");
  const tls = http.section("tls_config");
  const sse = config.section("sse_config");
  const endpoint = config.string("endpoint", "");
  if (endpoint.includes("/")) {
    throw new BucketConfigError(
      `config.endpoint ${JSON.stringify(endpoint)} must be host or host:port, without scheme and path (insecure: true for HTTP)`,
    );
  }
  const bucket = config.string("bucket", "");
  if (bucket === "") throw new BucketConfigError("config.bucket is missing");
  const accessKeyId = config.string("access_key", "");
  const secretAccessKey = config.string("secret_key", "");
  const sessionToken = config.string("session_token", "");
  if ((accessKeyId === "") !== (secretAccessKey === "")) {
    throw new BucketConfigError("config.access_key and config.secret_key must be given together");
  }
  if (config.boolean("aws_sdk_auth", false) && accessKeyId !== "") {
    throw new BucketConfigError("config.aws_sdk_auth and config.access_key exclude each other");
  }
  refuse(config.boolean("signature_version2", false), "config.signature_version2");
  refuse(config.string("sts_endpoint", "") !== "", "config.sts_endpoint");
  refuse(config.section("trace").boolean("enable", false), "config.trace.enable");
  // Dual stack is off in our client in any case.
  config.boolean("disable_dualstack", false);
  // Neither can go wrong when ignored: bodies are sent at once, and blocks do not compress.
  http.durationMs("expect_continue_timeout", 1000);
  http.boolean("disable_compression", true);
  http.durationMs("idle_conn_timeout", 90_000);
  http.number("max_idle_conns", 100);
  http.number("max_idle_conns_per_host", 100);
  const isAws = endpoint === "" || /(^|\.)amazonaws\.com(\.cn)?(:\d+)?$/.test(endpoint);
  const lookup = config.choice("bucket_lookup_type", ["auto", "virtual-hosted", "path"]);
  const region = config.string("region", "");
  const userMetadata = config.strings("put_user_metadata");
  const settings: S3Settings = {
    bucket,
    endpoint: endpoint === "" ? undefined : endpoint,
    insecure: config.boolean("insecure", false),
    region: region !== "" ? region : defaultRegion(endpoint),
    credentials:
      accessKeyId === ""
        ? undefined
        : { accessKeyId, secretAccessKey, ...(sessionToken === "" ? {} : { sessionToken }) },
    pathStyle: lookup === "path" || (lookup === "auto" && !isAws),
    maxAttempts: Math.max(1, config.number("max_retries", 5)),
    maxConnections: http.number("max_conns_per_host", 0) || 100,
    connectTimeoutMs: http.durationMs("tls_handshake_timeout", 10_000),
    responseTimeoutMs: http.durationMs("response_header_timeout", 120_000),
    // Thanos' default is 64 MiB; a part is held in memory here.
    partSizeBytes: Math.max(5 << 20, config.number("part_size", 16 << 20)),
    disableMultipart: config.boolean("disable_multipart", false),
    listVersion1: config.choice("list_objects_version", ["", "v1", "v2"]) === "v1",
    sendContentMd5: config.boolean("send_content_md5", false),
    checksumMode: config.choice("checksum_mode", ["when_supported", "when_required"]),
    createBucket: config.boolean("create_bucket", false),
    userMetadata: Object.keys(userMetadata).length === 0 ? undefined : userMetadata,
    encryption: parseEncryption(sse),
    caPem: tls.file("ca_file"),
    certPem: tls.file("cert_file"),
    keyPem: tls.file("key_file"),
    serverName: tls.string("server_name", "") || undefined,
    insecureSkipVerify:
      http.boolean("insecure_skip_verify", false) || tls.boolean("insecure_skip_verify", false),
  };
  for (const section of [sse, tls, http, config.section("trace"), config]) section.finish();
  return settings;
}

function parseEncryption(sse: Section): S3Settings["encryption"] {
  const type = sse.choice("type", ["", "SSE-S3", "SSE-KMS", "SSE-C"]);
  const keyId = sse.string("kms_key_id", "");
  const context = sse.strings("kms_encryption_context");
  refuse(type === "SSE-C" || sse.string("encryption_key", "") !== "", "config.sse_config SSE-C");
  if (type === "") return undefined;
  if (type === "SSE-S3") return { algorithm: "AES256" };
  if (keyId === "") throw new BucketConfigError("config.sse_config.kms_key_id is missing");
  return {
    algorithm: "aws:kms",
    kmsKeyId: keyId,
    ...(Object.keys(context).length === 0 ? {} : { kmsContext: context }),
  };
}

function defaultRegion(endpoint: string): string {
  const inHost = /(?:^|\.)s3[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com/.exec(endpoint)?.[1];
  return inHost ?? process.env["AWS_REGION"] ?? process.env["AWS_DEFAULT_REGION"] ?? "us-east-1";
}

function refuse(wanted: boolean, what: string): void {
  if (wanted) throw new BucketConfigError(`${what} is not supported yet`);
}

/** One mapping of the file. Reading a key marks it as known; `finish` refuses what nobody asked for. */
class Section {
  readonly #at: string;
  readonly #values: Record<string, unknown>;
  readonly #known = new Set<string>();
  readonly #sections = new Map<string, Section>();

  constructor(at: string, value: unknown) {
    if (value === null || value === undefined) this.#values = {};
    else if (typeof value === "object" && !Array.isArray(value)) {
      this.#values = value as Record<string, unknown>;
    } else throw new BucketConfigError(`${at === "" ? "it" : at} is not a mapping`);
    this.#at = at;
  }

  section(key: string): Section {
    let section = this.#sections.get(key);
    if (section === undefined) {
      section = new Section(this.#path(key), this.#take(key));
      this.#sections.set(key, section);
    }
    return section;
  }

  string(key: string, otherwise: string): string {
    const value = this.#take(key) ?? otherwise;
    // A bucket or key that is all digits is a number to YAML, and a string to its user.
    if (typeof value === "string" || typeof value === "number") return String(value);
    throw new BucketConfigError(`${this.#path(key)} is not a string`);
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.#take(key) ?? otherwise;
    if (typeof value === "boolean") return value;
    throw new BucketConfigError(`${this.#path(key)} is not true or false`);
  }

  number(key: string, otherwise: number): number {
    const value = this.#take(key) ?? otherwise;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
    throw new BucketConfigError(`${this.#path(key)} is not a whole number`);
  }

  choice<const T extends string>(key: string, choices: readonly [T, ...T[]]): T {
    const value = this.string(key, choices[0]);
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    throw new BucketConfigError(
      `${this.#path(key)} is ${JSON.stringify(value)}, not one of ${choices.filter((c) => c !== "").join(", ")}`,
    );
  }

  durationMs(key: string, otherwiseMs: number): number {
    const text = this.string(key, "");
    if (text === "") return otherwiseMs;
    const units: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
    let sum = 0;
    const rest = text.replace(/(\d+(?:\.\d+)?)(ms|h|m|s)/g, (_, amount: string, unit: string) => {
      sum += Number(amount) * (units[unit] as number);
      return "";
    });
    if (text === "0" || rest === "") return sum;
    throw new BucketConfigError(
      `${this.#path(key)} is ${JSON.stringify(text)}, not a duration such as 1m30s`,
    );
  }

  strings(key: string): Record<string, string> {
    const out: Record<string, string> = {};
    const section = this.section(key);
    for (const name of Object.keys(section.#values)) out[name] = section.string(name, "");
    return out;
  }

  /** The content of the file that the key names. */
  file(key: string): string | undefined {
    const path = this.string(key, "");
    if (path === "") return undefined;
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw new BucketConfigError(`${this.#path(key)}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  finish(): void {
    for (const key of Object.keys(this.#values)) {
      if (this.#known.has(key)) continue;
      const known = [...this.#known].sort().join(", ");
      throw new BucketConfigError(`unknown key ${this.#path(key)}; known here: ${known}`);
    }
  }

  #take(key: string): unknown {
    this.#known.add(key);
    return this.#values[key];
  }

  #path(key: string): string {
    return this.#at === "" ? key : `${this.#at}.${key}`;
  }
}
