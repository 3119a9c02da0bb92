/** `torus receive`: takes remote write into a hashring of receivers, stores it, and serves it over StoreAPI. */

import path from "node:path";
import { encodeSnappyFrames } from "@torus/encoding";
import { setWriteBufferLimit } from "@torus/kernels";
import { HANDOFF_FOLDER, openReceiver, type ReceiverOptions } from "@torus/receive";
import {
  cipherList,
  createGrpcClient,
  curveList,
  HttpServer,
  letHeapGrow,
  type TlsFiles,
  type WebGuard,
} from "@torus/server";
import { createShipperMetrics } from "@torus/uploader";
import { defineCommand, UsageError } from "../command.ts";
import { type ComponentContext, commonFlags, runComponent } from "../component.ts";
import { enabledFeatures } from "../features.ts";
import { type Config, flag, flagGroup } from "../flags.ts";
import { objstoreFlags, openConfiguredBucket } from "../objstore-flags.ts";

/** What `--enable-feature` may name here. */
const FEATURES = ["st-storage"] as const;

const receiveFlags = {
  ...commonFlags,
  ...flagGroup("Remote write", {
    "remote-write.address": flag.string("Address of remote write.", {
      default: "0.0.0.0:19291",
      placeholder: "HOST:PORT",
    }),
    "remote-write.http-config": flag.string(
      "Web configuration of the write port; without it, that of --http.config.",
      { default: "", placeholder: "FILE" },
    ),
    "remote-write.server-tls-cert": flag.string(
      "TLS certificate of the write port, instead of the web configuration's.",
      { default: "", placeholder: "FILE" },
    ),
    "remote-write.server-tls-key": flag.string("TLS key of the write port.", {
      default: "",
      placeholder: "FILE",
    }),
    "remote-write.server-tls-client-ca": flag.string(
      "CA that signs the certificates of writers; without it, writers need none.",
      { default: "", placeholder: "FILE" },
    ),
    "remote-write.server-tls-min-version": flag.choice(
      "Least version of TLS on the write port.",
      ["1.0", "1.1", "1.2", "1.3"],
      { default: "1.3" },
    ),
    "remote-write.server-tls-ciphers": flag.strings(
      "Cipher suite of TLS 1.2 on the write port, by Go's name; may be repeated.",
      { placeholder: "NAME" },
    ),
    "remote-write.server-tls-curves": flag.strings(
      "Curve of TLS on the write port, by Go's name; may be repeated.",
      { placeholder: "NAME" },
    ),
    "receive.tenant-header": flag.string("Header that names the tenant.", {
      default: "THANOS-TENANT",
    }),
    "receive.tenant-certificate-field": flag.choice(
      "Field of the client's certificate that names the tenant, instead of the header.",
      ["", "organization", "organizationalUnit", "commonName"],
      { default: "" },
    ),
    "receive.split-tenant-label-name": flag.string(
      "Label whose value becomes the tenant of a series; it is taken away.",
      { default: "" },
    ),
    "receive.replica-header": flag.string("Header with the number of the copy to write.", {
      default: "THANOS-REPLICA",
    }),
    "receive.default-tenant-id": flag.string("Tenant of requests that name none.", {
      default: "default-tenant",
    }),
    "receive.tenant-label-name": flag.string("External label that carries the tenant.", {
      default: "tenant_id",
    }),
    "receive.limits-config-file": flag.string("Path of the tenants' limits; it is followed.", {
      default: "",
      placeholder: "FILE",
    }),
    "receive.limits-config": flag.string("The limits as YAML, instead of a file.", {
      default: "",
      placeholder: "YAML",
    }),
    "receive.limits-config-reload-timer": flag.duration("Time between two looks at the limits.", {
      default: "1s",
      hidden: true,
    }),
    "receive.otlp-enable-target-info": flag.boolean(
      "Make a series target_info of the attributes of OTLP's resources.",
      { default: true },
    ),
    "receive.otlp-promote-resource-attributes": flag.strings(
      "Attribute of OTLP's resources that every series gets as a label; may be repeated.",
      { placeholder: "NAME" },
    ),
    "receive.relabel-config-file": flag.string(
      "Path of relabelling rules for what is written over HTTP; it is followed.",
      { default: "", placeholder: "FILE" },
    ),
    "receive.relabel-config": flag.string("The rules as YAML, instead of a file.", {
      default: "",
      placeholder: "YAML",
    }),
    "receive.relabel-config-reload-timer": flag.duration("Time between two looks at the rules.", {
      default: "1s",
      hidden: true,
    }),
    "receive.ha-tracker": flag.boolean(
      "Take the samples of one replica of each HA pair of Prometheus servers.",
    ),
    "receive.ha-tracker.cluster-label": flag.string("Label that names an HA pair.", {
      default: "cluster",
    }),
    "receive.ha-tracker.replica-label": flag.string(
      "Label that names the server of a pair; it is taken away.",
      { default: "__replica__" },
    ),
    "receive.ha-tracker.failover-timeout": flag.duration(
      "Silence of the elected server after which another one is taken.",
      { default: "30s" },
    ),
    "receive.ha-tracker.max-clusters": flag.integer("HA pairs that are remembered at most.", {
      default: "100000",
      hidden: true,
    }),
    "receive.max-request-size": flag.bytes("Largest request taken, compressed and decoded.", {
      default: "64MB",
      hidden: true,
    }),
    "receive.max-pending-size": flag.bytes("Bytes of requests under way at most.", {
      default: "256MB",
      hidden: true,
    }),
    "receive.max-tenants": flag.integer("Tenants of this receiver at most.", {
      default: "10000",
      hidden: true,
    }),
  }),
  ...flagGroup("Hashring", {
    "receive.hashrings-file": flag.string("Path of hashrings.json; it is followed.", {
      default: "",
      placeholder: "FILE",
    }),
    "receive.hashrings": flag.string("The hashrings as JSON, instead of a file.", {
      default: "",
      placeholder: "JSON",
    }),
    "receive.hashrings-algorithm": flag.choice(
      "Algorithm of hashrings that name none.",
      ["hashmod", "ketama"],
      { default: "hashmod" },
    ),
    "receive.hashrings-file-refresh-interval": flag.duration(
      "Time between two looks at the file, besides watching it.",
      { default: "5m" },
    ),
    "receive.local-endpoint": flag.string("Address under which the hashring knows this process.", {
      default: "",
      placeholder: "HOST:PORT",
    }),
    "receive.replication-factor": flag.integer("Copies of each series.", { default: "1" }),
    "receive-forward-timeout": flag.duration("Deadline of a forwarded write.", {
      default: "5s",
      hidden: true,
    }),
    "receive-forward-max-backoff": flag.duration("Longest time that a failed peer is left alone.", {
      default: "5s",
      hidden: true,
    }),
    "receive.replication-protocol": flag.choice(
      "How samples go to other receivers: records, to those that take them, or protobuf always.",
      ["records", "protobuf"],
      { default: "records" },
    ),
    "receive.grpc-compression": flag.choice(
      "Compression of protobuf messages to other receivers (records are small without it): about a tenth of the bytes for 0.3 us of CPU a sample and copy, both ends together.",
      ["none", "snappy"],
      { default: "none" },
    ),
    "receive.handoff": flag.choice(
      "Copies whose owner does not take them wait on disk: not at all, as repairs, or counted for the quorum.",
      ["off", "copies", "quorum"],
      { default: "copies" },
    ),
    "receive.handoff.path": flag.string("Where they wait. Default: .handoff in --tsdb.path.", {
      default: "",
      placeholder: "DIR",
    }),
    "receive.handoff.max-size": flag.bytes("Bytes on disk for each receiver at most.", {
      default: "1GB",
    }),
    "receive.handoff.max-age": flag.duration(
      "Age after which they are given up. Default: --tsdb.out-of-order.time-window, at least 5m.",
      { default: "0s" },
    ),
    "receive.forward.max-inflight-size": flag.bytes("Bytes on their way to one peer at most.", {
      default: "64MB",
      hidden: true,
    }),
  }),
  ...flagGroup("Storage", {
    "tsdb.path": flag.string("Data directory.", { default: "./data", placeholder: "DIR" }),
    label: flag.labels("External label of this receiver; may be repeated. At least one is needed."),
    "tsdb.retention": flag.duration("How long blocks are kept here; 0d for ever.", {
      default: "15d",
    }),
    "tsdb.max-retention-bytes": flag.bytes("The most bytes of blocks kept here; 0 for no limit.", {
      default: "0",
    }),
    "tsdb.max-exemplars": flag.integer("The most exemplars of a tenant in memory; 0 for none.", {
      default: "0",
    }),
    "enable-feature": flag.strings(
      `Experimental parts, as Prometheus names them: ${FEATURES.join(", ")} (start timestamps are kept); repeatable, or with commas.`,
      { placeholder: "NAME" },
    ),
    "tsdb.wal-compression": flag.boolean("Compress the write-ahead log.", { default: true }),
    "tsdb.memory-snapshot-on-shutdown": flag.boolean(
      "Write snapshots of what is in memory, at a stop and as the log grows, which make a start short.",
      { default: true },
    ),
    "tsdb.block-duration": flag.duration("Length of the blocks cut from the head.", {
      default: "2h",
      hidden: true,
    }),
    "tsdb.out-of-order.time-window": flag.duration(
      "How far behind a tenant's newest sample late ones are taken; 0s for not at all.",
      { default: "30m" },
    ),
    "hash-func": flag.choice("Hash of each file to be written into meta.json.", ["", "SHA256"], {
      default: "",
    }),
    "shipper.upload-compacted": flag.boolean("Ship blocks of a higher compaction level too."),
    "shipper.allow-out-of-order-uploads": flag.boolean(
      "Go on with younger blocks when one cannot be shipped.",
    ),
  }),
  ...objstoreFlags,
};

const TLS_VERSIONS = {
  "1.0": "TLSv1",
  "1.1": "TLSv1.1",
  "1.2": "TLSv1.2",
  "1.3": "TLSv1.3",
} as const;

const SNAPPY = { encoding: "snappy", compress: encodeSnappyFrames };
const KERNEL_BYTES_PER_REQUEST = 4;
/** A start reads so much of a log in a second or two. */
const SNAPSHOT_BYTES = 64 << 20;
const MOST_MAINTENANCE_MS = 60_000;
/** Series are elsewhere: of V8's heap a receiver needs some 30 MiB, and 100 bytes a series. */
const HEAP_ROOM_BYTES = 256 << 20;

export const receive = defineCommand({
  name: "receive",
  summary: "take remote write into a hashring of receivers and serve it over StoreAPI",
  flags: receiveFlags,
  run: (config, env) => {
    checkFlags(config);
    return runComponent("receive", config, env, async (context) => {
      const { log, metrics, httpMetrics, lifecycle, grpc, probe } = context;
      lifecycle.add("heap", { stop: letHeapGrow(HEAP_ROOM_BYTES) });
      const writeGuard = guardOfWritePort(config, context);
      const bucket = await openConfiguredBucket(config, metrics);
      if (bucket !== undefined) lifecycle.add("bucket", { stop: () => bucket.close() });
      const features = enabledFeatures(FEATURES, config["enable-feature"], log);
      const maxRequestBytes = config["receive.max-request-size"];
      setWriteBufferLimit(maxRequestBytes * KERNEL_BYTES_PER_REQUEST);
      const blockDurationMs = config["tsdb.block-duration"];
      const receiver = await openReceiver({
        hashrings: {
          file: config["receive.hashrings-file"],
          inline: config["receive.hashrings"],
        },
        hashringsRefreshMs: config["receive.hashrings-file-refresh-interval"],
        algorithm: config["receive.hashrings-algorithm"],
        replicationFactor: config["receive.replication-factor"],
        localEndpoint: config["receive.local-endpoint"],
        forward: {
          timeoutMs: config["receive-forward-timeout"],
          maxBackoffMs: config["receive-forward-max-backoff"],
          maxInflightBytes: config["receive.forward.max-inflight-size"],
          records: config["receive.replication-protocol"] === "records",
        },
        handOff: handOffOf(config),
        connect: (address) =>
          createGrpcClient(address, {
            maxMessageBytes: config["grpc-max-message-size"],
            ...(config["receive.grpc-compression"] === "snappy" ? { compression: SNAPPY } : {}),
          }),
        http: {
          tenantHeader: config["receive.tenant-header"],
          certificateField: config["receive.tenant-certificate-field"],
          replicaHeader: config["receive.replica-header"],
          maxRequestBytes,
          maxPendingBytes: config["receive.max-pending-size"],
        },
        tenants: {
          path: config["tsdb.path"],
          tsdb: {
            blockDurationMs,
            retentionMs: config["tsdb.retention"],
            outOfOrderWindowMs: config["tsdb.out-of-order.time-window"],
            maxExemplars: config["tsdb.max-exemplars"],
            snapshotBytes: config["tsdb.memory-snapshot-on-shutdown"] ? SNAPSHOT_BYTES : 0,
            startTimes: features.includes("st-storage"),
            maxBytes: config["tsdb.max-retention-bytes"],
            walCompression: config["tsdb.wal-compression"] ? "snappy" : "none",
          },
          labels: Object.fromEntries(config.label),
          tenantLabelName: config["receive.tenant-label-name"],
          defaultTenant: config["receive.default-tenant-id"],
          maxTenants: config["receive.max-tenants"],
          // As Thanos' receivers prune theirs.
          idleMs: 2 * blockDurationMs,
          shipping:
            bucket === undefined
              ? null
              : {
                  bucket,
                  metrics: createShipperMetrics(metrics),
                  hashFunc: config["hash-func"],
                  uploadCompacted: config["shipper.upload-compacted"],
                  allowOutOfOrderUploads: config["shipper.allow-out-of-order-uploads"],
                },
        },
        limits: {
          source: {
            file: config["receive.limits-config-file"],
            inline: config["receive.limits-config"],
          },
          refreshMs: config["receive.limits-config-reload-timer"],
        },
        otlp: {
          targetInfo: config["receive.otlp-enable-target-info"],
          promoteResourceAttributes: new Set(config["receive.otlp-promote-resource-attributes"]),
        },
        edge: {
          relabel: {
            file: config["receive.relabel-config-file"],
            inline: config["receive.relabel-config"],
          },
          relabelRefreshMs: config["receive.relabel-config-reload-timer"],
          splitTenantLabel: config["receive.split-tenant-label-name"],
          ha: !config["receive.ha-tracker"]
            ? null
            : {
                clusterLabel: config["receive.ha-tracker.cluster-label"],
                replicaLabel: config["receive.ha-tracker.replica-label"],
                failoverMs: config["receive.ha-tracker.failover-timeout"],
                maxClusters: config["receive.ha-tracker.max-clusters"],
              },
        },
        maintenanceMs: Math.min(MOST_MAINTENANCE_MS, Math.max(500, blockDurationMs / 20)),
        metrics,
        log,
        now: Date.now,
      });
      lifecycle.add("receiver", { stop: () => receiver.close() });
      grpc.add(receiver.grpcMethods);

      const writes = new HttpServer({ log, metrics: httpMetrics, guard: writeGuard });
      // The name is Thanos': its alerts ask for it.
      writes.raw("/api/v1/receive", ["POST"], receiver.remoteWrite, "receive");
      writes.raw("/api/v1/write", ["POST"], receiver.remoteWrite, "receive");
      writes.raw("/api/v1/otlp", ["POST"], receiver.otlp);
      writes.raw("/api/v1/otlp/v1/metrics", ["POST"], receiver.otlp);
      writes.raw("/api/v1/status/tsdb", ["GET"], receiver.tsdbStatus, "tsdb_status");
      await writes.listen(config["remote-write.address"]);
      lifecycle.add("remote write", { stop: () => writes.stop(config["http-grace-period"]) });
      probe.onChange(() => {
        if (!probe.isReady) receiver.drain();
      });
    });
  },
});

const LEAST_HANDOFF_AGE_MS = 5 * 60_000;

function handOffOf(config: Config<typeof receiveFlags>): ReceiverOptions["handOff"] {
  const mode = config["receive.handoff"];
  if (mode === "off") return null;
  const window = config["tsdb.out-of-order.time-window"];
  return {
    mode,
    dir: config["receive.handoff.path"] || path.join(config["tsdb.path"], HANDOFF_FOLDER),
    maxBytes: config["receive.handoff.max-size"],
    maxMessageBytes: config["grpc-max-message-size"],
    maxAgeMs: config["receive.handoff.max-age"] || Math.max(window, LEAST_HANDOFF_AGE_MS),
  };
}

/** @throws {UsageError} */
function guardOfWritePort(
  config: Config<typeof receiveFlags>,
  { guard, openGuard }: ComponentContext,
): WebGuard | undefined {
  const configFile = config["remote-write.http-config"] || config["http.config"];
  const tls = writeTls(config);
  if (tls === null && configFile === config["http.config"]) return guard;
  return openGuard({ configFile, tls });
}

/** @throws {UsageError} */
function writeTls(config: Config<typeof receiveFlags>): TlsFiles | null {
  const cert = config["remote-write.server-tls-cert"];
  const key = config["remote-write.server-tls-key"];
  const clientCa = config["remote-write.server-tls-client-ca"];
  if (cert === "" && key === "" && clientCa === "") return null;
  if (cert === "" || key === "") {
    throw new UsageError(
      "both --remote-write.server-tls-cert and --remote-write.server-tls-key must be given",
    );
  }
  return {
    cert: { file: cert },
    key: { file: key },
    clientCa: clientCa === "" ? null : { file: clientCa },
    clientAuthType: clientCa === "" ? "NoClientCert" : "RequireAndVerifyClientCert",
    clientAllowedSans: [],
    minVersion: TLS_VERSIONS[config["remote-write.server-tls-min-version"]],
    maxVersion: "TLSv1.3",
    ciphers: cipherList(config["remote-write.server-tls-ciphers"]),
    curves: curveList(config["remote-write.server-tls-curves"]),
    preferServerCiphers: true,
  };
}

/** @throws {UsageError} */
function checkFlags(config: Config<typeof receiveFlags>): void {
  if (config["receive.replication-factor"] < 1) {
    throw new UsageError("--receive.replication-factor must be at least 1");
  }
  if (config.label.length === 0) {
    throw new UsageError(
      "no external labels configured for receive, uniquely identifying external labels must be configured (ideally with `receive_` prefix); see https://thanos.io/tip/thanos/storage.md#external-labels for details.",
    );
  }
}
