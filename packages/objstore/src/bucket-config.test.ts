import { expect, test } from "vitest";
import { BucketConfigError, parseBucketConfig } from "./bucket-config.ts";

const S3 = (rest: string) => `type: S3\nconfig:\n  bucket: b\n  endpoint: h:9000\n${rest}`;

test("a directory bucket with a prefix", () => {
  expect(
    parseBucketConfig("type: FILESYSTEM\nconfig:\n  directory: /data\nprefix: /a/b/\n"),
  ).toEqual({
    type: "FILESYSTEM",
    prefix: "a/b",
    directory: "/data",
  });
});

test("every key of Thanos' S3 config is known", () => {
  const config = parseBucketConfig(`
type: S3
config:
  bucket: "b"
  endpoint: "h:9000"
  region: "r"
  disable_dualstack: false
  aws_sdk_auth: false
  access_key: "ak"
  secret_key: "sk"
  session_token: "st"
  insecure: true
  signature_version2: false
  put_user_metadata: {a: b}
  http_config:
    idle_conn_timeout: 1m30s
    response_header_timeout: 2m
    insecure_skip_verify: false
    tls_handshake_timeout: 10s
    expect_continue_timeout: 1s
    max_idle_conns: 100
    max_idle_conns_per_host: 100
    max_conns_per_host: 7
    tls_config: {ca_file: "", cert_file: "", key_file: "", server_name: "", insecure_skip_verify: true}
    disable_compression: false
  trace: {enable: false}
  list_objects_version: ""
  bucket_lookup_type: auto
  send_content_md5: true
  disable_multipart: false
  part_size: 67108864
  sse_config: {type: "SSE-KMS", kms_key_id: "k", kms_encryption_context: {c: d}, encryption_key: ""}
  sts_endpoint: ""
  max_retries: 3
prefix: ""
`);
  expect(config.type === "S3" && config.s3).toMatchObject({
    bucket: "b",
    endpoint: "h:9000",
    insecure: true,
    region: "r",
    credentials: { accessKeyId: "ak", secretAccessKey: "sk", sessionToken: "st" },
    pathStyle: true,
    maxAttempts: 3,
    maxConnections: 7,
    responseTimeoutMs: 120_000,
    partSizeBytes: 67108864,
    sendContentMd5: true,
    userMetadata: { a: "b" },
    encryption: { algorithm: "aws:kms", kmsKeyId: "k", kmsContext: { c: "d" } },
    insecureSkipVerify: true,
  });
});

test.each<[endpoint: string, lookup: string, pathStyle: boolean, region: string]>([
  ["s3.eu-central-1.amazonaws.com", "auto", false, "eu-central-1"],
  ["s3.eu-central-1.amazonaws.com", "path", true, "eu-central-1"],
  ["minio:9000", "auto", true, "us-east-1"],
  ["minio:9000", "virtual-hosted", false, "us-east-1"],
])(
  "endpoint %s with lookup %s: path style %s, region %s",
  (endpoint, lookup, pathStyle, region) => {
    const config = parseBucketConfig(
      `type: S3\nconfig: {bucket: b, endpoint: "${endpoint}", bucket_lookup_type: ${lookup}}`,
    );
    expect(config.type === "S3" && config.s3).toMatchObject({ pathStyle, region });
  },
);

test("only the first document counts", () => {
  expect(
    parseBucketConfig("type: FILESYSTEM\nconfig: {directory: d}\n---\ntype: X\n"),
  ).toMatchObject({ directory: "d" });
});

test.each<[name: string, text: string, message: RegExp]>([
  ["an unknown key", S3("  bucked: x\n"), /unknown key config\.bucked/],
  ["an unknown nested key", S3("  http_config: {ca: x}\n"), /unknown key config\.http_config\.ca;/],
  [
    "an unknown key at the top",
    `${S3("")}prefiks: x\n`,
    /unknown key prefiks; known here: config, prefix, type/,
  ],
  [
    "an endpoint with a scheme",
    "type: S3\nconfig: {bucket: b, endpoint: 'http://h'}",
    /config\.endpoint "http:\/\/h" must be host/,
  ],
  ["no bucket", "type: S3\nconfig: {endpoint: h}", /config\.bucket is missing/],
  ["no directory", "type: FILESYSTEM", /config\.directory is missing/],
  ["no type", "config: {}", /type is missing/],
  ["nothing", "", /bucket config: /],
  ["a list", "- a", /it is not a mapping/],
  ["broken YAML", "type: [", /bucket config: /],
  ["another provider", "type: GCS\nconfig: {bucket: b}", /type GCS is not supported yet/],
  ["no provider at all", "type: TAPE", /unknown type "TAPE"/],
  ["half a pair of keys", S3("  access_key: a\n"), /must be given together/],
  ["a boolean that is none", S3("  insecure: ja\n"), /config\.insecure is not true or false/],
  ["a bad duration", S3("  http_config: {idle_conn_timeout: soon}\n"), /"soon", not a duration/],
  ["a bad choice", S3("  checksum_mode: never\n"), /not one of when_supported, when_required/],
  ["old signatures", S3("  signature_version2: true\n"), /signature_version2 is not supported yet/],
  ["a missing CA file", S3("  http_config: {tls_config: {ca_file: /none}}\n"), /ca_file: ENOENT/],
])("%s is refused with its reason", (_, text, message) => {
  expect(() => parseBucketConfig(text)).toThrow(message);
  expect(() => parseBucketConfig(text)).toThrow(BucketConfigError);
});
