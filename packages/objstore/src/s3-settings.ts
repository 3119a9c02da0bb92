/** What an S3 bucket needs to know, with every default decided. Made from bucket.yml by `bucket-config.ts`. */

export type S3Settings = {
  bucket: string;
  /** host:port without a scheme; undefined for AWS' own endpoint of the region. */
  endpoint: string | undefined;
  /** HTTP instead of HTTPS. */
  insecure: boolean;
  region: string;
  /** Undefined leaves it to the SDK: AWS_* variables, ~/.aws, the container's or machine's role. */
  credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined;
  pathStyle: boolean;
  maxAttempts: number;
  maxConnections: number;
  connectTimeoutMs: number;
  responseTimeoutMs: number;
  /** Files above this go up in parts of this size; one part is in memory at a time. */
  partSizeBytes: number;
  disableMultipart: boolean;
  listVersion1: boolean;
  sendContentMd5: boolean;
  /** `when_required` for servers that know none of S3's newer checksums (old MinIO gateways, rclone). */
  checksumMode: "when_supported" | "when_required";
  createBucket: boolean;
  userMetadata: Record<string, string> | undefined;
  encryption:
    | {
        algorithm: "AES256" | "aws:kms";
        kmsKeyId?: string;
        kmsContext?: Record<string, string>;
      }
    | undefined;
  caPem: string | undefined;
  certPem: string | undefined;
  keyPem: string | undefined;
  serverName: string | undefined;
  insecureSkipVerify: boolean;
};
