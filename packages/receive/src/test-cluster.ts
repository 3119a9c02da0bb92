/** Receivers of one test process, each with its own sockets and directory; for tests. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { decodeSnappyFrames, snappyEncode } from "@torus/encoding";
import { type Labels, Matcher } from "@torus/model";
import { encodeWriteRequest } from "@torus/protocol";
import {
  createGrpcClient,
  createHttpMetrics,
  createLogger,
  GrpcServer,
  HttpServer,
  type Logger,
} from "@torus/server";
import { Registry } from "prom-client";
import { openReceiver, type Receiver, type ReceiverOptions } from "./receiver.ts";

export const quiet: Logger = createLogger({
  level: "error",
  format: "logfmt",
  now: Date.now,
  write: () => undefined,
});

export class Node {
  readonly dir: string;
  metrics = new Registry();
  receiver: Receiver | undefined;
  http = "";
  #grpc: GrpcServer | undefined;
  #writes: HttpServer | undefined;
  address = "";

  constructor(dir: string) {
    this.dir = dir;
  }

  /** Listens; gRPC answers UNAVAILABLE until `open`. */
  async listen(address = "127.0.0.1:0"): Promise<void> {
    this.metrics = new Registry();
    this.#grpc = new GrpcServer({
      log: quiet,
      metrics: this.metrics,
      maxMessageBytes: 64 << 20,
      snappy: decodeSnappyFrames,
      unavailable: () => (this.receiver === undefined ? "starting" : undefined),
    });
    this.address = await this.#grpc.listen(address);
  }

  async open(
    overrides: Partial<ReceiverOptions>,
    tenants: Partial<ReceiverOptions["tenants"]> = {},
  ): Promise<Receiver> {
    const receiver = await openReceiver({
      hashrings: { file: "", inline: "" },
      hashringsRefreshMs: 60_000,
      algorithm: "ketama",
      replicationFactor: 1,
      localEndpoint: this.address,
      forward: { timeoutMs: 2000, maxBackoffMs: 200, maxInflightBytes: 64 << 20, records: true },
      handOff: null,
      connect: (address) => createGrpcClient(address, { maxMessageBytes: 1 << 20 }),
      http: {
        tenantHeader: "THANOS-TENANT",
        certificateField: "",
        replicaHeader: "THANOS-REPLICA",
        maxRequestBytes: 1 << 20,
        maxPendingBytes: 8 << 20,
      },
      tenants: {
        path: this.dir,
        tsdb: {
          blockDurationMs: 2 * 3_600_000,
          retentionMs: 0,
          maxBytes: 0,
          outOfOrderWindowMs: 0,
          maxExemplars: 10,
          snapshotBytes: 0,
          walCompression: "none",
        },
        labels: { receive_replica: "a" },
        tenantLabelName: "tenant_id",
        defaultTenant: "default-tenant",
        maxTenants: 20,
        idleMs: 0,
        shipping: null,
        ...tenants,
      },
      limits: { source: { file: "", inline: "" }, refreshMs: 60_000 },
      otlp: { targetInfo: true, promoteResourceAttributes: new Set() },
      edge: {
        relabel: { file: "", inline: "" },
        relabelRefreshMs: 60_000,
        splitTenantLabel: "",
        ha: null,
      },
      maintenanceMs: 600_000,
      metrics: this.metrics,
      log: quiet,
      now: Date.now,
      ...overrides,
    });
    this.receiver = receiver;
    this.#grpc?.add(receiver.grpcMethods);
    this.#writes = new HttpServer({ log: quiet, metrics: createHttpMetrics(new Registry()) });
    this.#writes.raw("/api/v1/receive", ["POST"], receiver.remoteWrite);
    this.#writes.raw("/api/v1/otlp/v1/metrics", ["POST"], receiver.otlp);
    this.#writes.raw("/api/v1/status/tsdb", ["GET"], receiver.tsdbStatus);
    this.http = `http://${await this.#writes.listen("127.0.0.1:0")}/api/v1/receive`;
    return receiver;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#writes?.stop(0), this.#grpc?.stop(0)]);
    await this.receiver?.close();
    this.receiver = undefined;
  }

  /** Labels of every series in the node, ascending. */
  async series(tenant = "default-tenant"): Promise<string[]> {
    const db = this.receiver?.tenants?.peek(tenant)?.db;
    if (db === undefined) return [];
    const out: string[] = [];
    const select = {
      mint: Number.MIN_SAFE_INTEGER,
      maxt: Number.MAX_SAFE_INTEGER,
      matchers: [new Matcher("=~", "__name__", ".*")],
      skipChunks: true,
      limit: 0,
      signal: new AbortController().signal,
    };
    for await (const batch of db.queryable().selectChunks(select)) {
      for (const { labels } of batch) out.push(labels.join(","));
    }
    return out;
  }
}

export class Cluster {
  readonly nodes: Node[] = [];
  readonly #root = mkdtempSync(path.join(tmpdir(), "torus-receive-"));
  ring = "";

  static async start(count: number, overrides: Partial<ReceiverOptions>): Promise<Cluster> {
    const cluster = new Cluster();
    for (let i = 0; i < count; i++) {
      const node = new Node(path.join(cluster.#root, `node-${i}`));
      cluster.nodes.push(node);
      await node.listen();
    }
    const endpoints = cluster.nodes.map(({ address }) => address);
    cluster.ring = JSON.stringify([{ hashring: "test", endpoints }]);
    for (const node of cluster.nodes) {
      await node.open({ hashrings: { file: "", inline: cluster.ring }, ...overrides });
    }
    return cluster;
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    rmSync(this.#root, { recursive: true, force: true });
  }
}

export type Sample = [labels: Labels, timestamp: number, value: number];

export function writeBody(samples: readonly Sample[]): Uint8Array {
  return snappyEncode(
    encodeWriteRequest(
      samples.map(([labels, timestamp, value]) => ({
        labels,
        timestamps: Float64Array.of(timestamp),
        values: Float64Array.of(value),
      })),
    ),
  );
}

export async function post(
  url: string,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<{
  status: number;
  text: string;
  retryAfter: string | null;
  /** Samples, histograms and exemplars, as the answer's headers have them. */
  written: (string | null)[];
}> {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/x-protobuf",
      "content-encoding": "snappy",
      ...headers,
    },
    body,
  });
  const retryAfter = response.headers.get("retry-after");
  const written = ["samples", "histograms", "exemplars"].map((what) =>
    response.headers.get(`x-prometheus-remote-write-${what}-written`),
  );
  return { status: response.status, text: await response.text(), retryAfter, written };
}

/** A routed message as one receiver sends it to another: fields 1, 2 and 3, of tenant team-f. */
export function forwardedForTest(samples: readonly Sample[], replica = 1): Uint8Array {
  const series = samples.map(([labels, timestamp, value]) => ({
    labels,
    timestamps: Float64Array.of(timestamp),
    values: Float64Array.of(value),
  }));
  const tenant = Buffer.from("team-f");
  const tail = Buffer.concat([Buffer.of(0x12, tenant.length), tenant, Buffer.of(0x18, replica)]);
  return Buffer.concat([encodeWriteRequest(series), tail]);
}
