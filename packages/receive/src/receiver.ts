/**
 * A receiver put together: hashring, peers, tenants, the two ways in (HTTP and gRPC). Its mode follows from its
 * options, as in Thanos: a ring with a local endpoint routes and stores, a ring alone routes, no ring stores.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Hashring } from "@torus/hashring";
import { labelsFromObject } from "@torus/model";
import {
  ConfigError,
  type ConfigSource,
  type DuplexGrpcClient,
  type GrpcMethods,
  type Logger,
  type RawHandler,
  readConfig,
  startLoop,
  watchConfig,
} from "@torus/server";
import { type ExemplarSource, type StoreSource, storeMethods } from "@torus/store";
import type { Tsdb } from "@torus/tsdb";
import type { Registry } from "prom-client";
import { Edge } from "./edge/edge.ts";
import { followRelabel } from "./edge/follow-relabel.ts";
import { HaElector } from "./edge/ha-elector.ts";
import { FairGate } from "./fair-gate.ts";
import { ForwardedSeries } from "./forwarded-series.ts";
import { remoteWriteMethods } from "./grpc.ts";
import { HandOff, type HandOffOptions } from "./handoff/handoff.ts";
import type { CertificateField } from "./header-checks.ts";
import { remoteWriteHandler } from "./http.ts";
import { Limiter } from "./limiter.ts";
import { parseLimits } from "./limits.ts";
import { MetadataStore } from "./metadata.ts";
import { MetadataSpread } from "./metadata-spread.ts";
import {
  createReceiveMetrics,
  type ReceiveMetrics,
  registerHandOffMetrics,
  registerShardMetrics,
} from "./metrics.ts";
import { type OtlpHttpOptions, otlpHandler } from "./otlp-http.ts";
import { Peers } from "./peers.ts";
import { recordMethods } from "./record-service.ts";
import { RingSource } from "./ring-source.ts";
import { registerTenantMetrics } from "./tenant-metrics.ts";
import { Tenants, type TenantsOptions } from "./tenants.ts";
import { tsdbStatusHandler } from "./tsdb-status.ts";
import { Writer } from "./write.ts";

/** Requests that wait for their turn at most, where the concurrency is limited. */
const MOST_WAITING = 10_000;

export type ReceiveMode = "RouterOnly" | "IngestorOnly" | "RouterIngestor";

export type ReceiverOptions = {
  hashrings: ConfigSource;
  hashringsRefreshMs: number;
  algorithm: string;
  replicationFactor: number;
  /** The address under which the ring knows this process; "" for none. */
  localEndpoint: string;
  forward: {
    timeoutMs: number;
    maxBackoffMs: number;
    maxInflightBytes: number;
    /** Whether to ship records to the peers that take them. */
    records: boolean;
  };
  /** Null for no hand-off. */
  handOff: Pick<
    HandOffOptions,
    "mode" | "dir" | "maxBytes" | "maxMessageBytes" | "maxAgeMs"
  > | null;
  connect: (address: string) => DuplexGrpcClient;
  http: {
    tenantHeader: string;
    certificateField: CertificateField | "";
    replicaHeader: string;
    maxRequestBytes: number;
    maxPendingBytes: number;
  };
  tenants: Omit<TenantsOptions, "ringLabels" | "limits" | "now" | "log">;
  limits: { source: ConfigSource; refreshMs: number };
  otlp: Pick<OtlpHttpOptions, "targetInfo" | "promoteResourceAttributes">;
  edge: {
    relabel: ConfigSource;
    relabelRefreshMs: number;
    /** Its value becomes the tenant; "" for none. */
    splitTenantLabel: string;
    /** Null where HA pairs are not told apart. */
    ha: {
      clusterLabel: string;
      replicaLabel: string;
      failoverMs: number;
      maxClusters: number;
    } | null;
  };
  /** Milliseconds between two rounds of cutting, shipping and retention. */
  maintenanceMs: number;
  metrics: Registry;
  log: Logger;
  now: () => number;
};

export type Receiver = {
  readonly mode: ReceiveMode;
  /** Null on a router. */
  readonly tenants: Tenants | null;
  readonly grpcMethods: GrpcMethods;
  readonly remoteWrite: RawHandler;
  readonly otlp: RawHandler;
  readonly tsdbStatus: RawHandler;
  /** Looks at the hashrings file now. */
  checkHashrings(): Promise<void>;
  /** Looks at the limits file now. */
  checkLimits(): Promise<void>;
  /** Looks at the relabelling rules' file now. */
  checkRelabel(): Promise<void>;
  /** Nothing more is taken: answers 503 and UNAVAILABLE. */
  drain(): void;
  /** Ends all; with a bucket, what is in the heads is cut and shipped first. */
  close(): Promise<void>;
};

/** @throws {ConfigError} for hashrings that cannot be used; what opening a tenant's data throws. */
export async function openReceiver(options: ReceiverOptions): Promise<Receiver> {
  const { localEndpoint, replicationFactor, log, now } = options;
  const metrics = createReceiveMetrics(options.metrics);
  metrics.replicationFactor.set(replicationFactor);
  const peers = new Peers({
    ...options.forward,
    connect: options.connect,
    now,
    random: Math.random,
  });
  const forwarded = new ForwardedSeries(now, (slot) => peers.forget(slot));
  const { ha } = options.edge;
  const elector =
    ha === null
      ? null
      : new HaElector({ ...ha, localEndpoint, connect: options.connect, metrics, log, now });
  let handOff: HandOff | null = null;
  let spread: MetadataSpread | null = null;
  const ring = await RingSource.open({
    source: options.hashrings,
    algorithm: options.algorithm,
    replicationFactor,
    refreshMs: options.hashringsRefreshMs,
    metrics,
    log,
    now,
    onRing: (next) => {
      const addresses = next.endpoints.map(({ address }) => address);
      peers.keep(new Set(addresses));
      elector?.setRing(addresses);
      handOff?.setMembers(addresses);
      spread?.forget();
    },
  });
  const mode: ReceiveMode =
    ring === null ? "IngestorOnly" : localEndpoint === "" ? "RouterOnly" : "RouterIngestor";
  const parts: (() => Promise<void> | void)[] = [];
  const closeAll = async () => {
    for (const close of parts.splice(0).reverse()) await close();
  };
  parts.push(() => {
    peers.close();
    forwarded.close();
    elector?.close();
  });
  if (ring !== null) {
    parts.push(() => ring.stop());
    registerShardMetrics(options.metrics, () => ring.current);
  }

  const limiter = new Limiter(metrics, now);
  let tenants: Tenants | null = null;
  let limits: Awaited<ReturnType<typeof followLimits>>;
  let relabel: Awaited<ReturnType<typeof followRelabel>>;
  try {
    if (options.handOff !== null && ring !== null) {
      const opened = await HandOff.open({ ...options.handOff, peers, metrics, log, now });
      opened.setMembers(ring.current?.endpoints.map(({ address }) => address) ?? []);
      registerHandOffMetrics(options.metrics, opened);
      parts.push(() => opened.close());
      handOff = opened;
    }
    relabel = await followRelabel(options.edge.relabel, options.edge.relabelRefreshMs, log);
    parts.push(() => relabel.stop());
    limits = await followLimits(options, limiter, metrics, () => tenants);
    parts.push(() => limits.stop());
    if (mode !== "RouterOnly") {
      const ringLabels = (tenant: string) => ring?.current?.externalLabels(tenant) ?? {};
      const limits = (tenant: string) => limiter.of(tenant);
      tenants = await Tenants.open({ ...options.tenants, ringLabels, limits, now, log });
      registerTenantMetrics(options.metrics, tenants);
    }
  } catch (error) {
    await closeAll();
    throw error;
  }
  if (tenants !== null) parts.push(maintenance(tenants, options));

  const edge = new Edge({
    relabel: relabel.current,
    splitTenantLabel: options.edge.splitTenantLabel,
    ha: ha === null || elector === null ? null : { ...ha, elector },
    labelLimits: (tenant) => limiter.labelLimits(tenant),
    maxBytes: options.http.maxRequestBytes,
  });
  const gate = new FairGate(() => limiter.maxConcurrency, MOST_WAITING);

  let reason: string | undefined;
  const notReady = () => reason;
  const writer = new Writer({
    hashring: ring === null ? null : () => ring.current,
    peers,
    forwarded,
    handOff,
    localEndpoint,
    metrics,
    log,
    now,
  });
  const { defaultTenant } = options.tenants;
  if (ring !== null) {
    const owners = (tenant: string) => otherOwners(ring.current, tenant, localEndpoint);
    spread = new MetadataSpread({ peers, owners, log, now });
  }
  const metadata = new MetadataStore(tenants, spread);
  const { startTimes = false } = options.tenants.tsdb;
  const common = { tenants, writer, defaultTenant, metrics, notReady };
  const http = {
    ...common,
    ...options.http,
    metadata,
    limiter,
    edge,
    gate,
    takesReplica: mode === "RouterIngestor",
    keepsExemplars: options.tenants.tsdb.maxExemplars > 0,
    log,
  };
  log.info("receiver is open", { mode, replicationFactor });
  return {
    mode,
    tenants,
    grpcMethods: {
      ...remoteWriteMethods(common),
      ...elector?.grpcMethods,
      ...metadata.grpcMethods(notReady),
      ...(tenants === null ? {} : recordMethods({ tenants, notReady, startTimes })),
      ...storeMethods({
        componentType: "receive",
        sources: () => (tenants === null ? [] : storeSources(tenants)),
        // Draining is no reason not to answer: what was stored last is only here.
        ready: () => true,
        openEnded: true,
        metadata: (metric, limit) => metadata.find(metric, limit),
        ...(tenants === null || options.tenants.tsdb.maxExemplars === 0
          ? {}
          : { exemplars: () => exemplarSources(tenants) }),
      }),
    },
    remoteWrite: remoteWriteHandler(http),
    otlp: otlpHandler({ ...http, ...options.otlp, startTimes }),
    tsdbStatus: tsdbStatusHandler(http),
    checkHashrings: async () => ring?.check(),
    checkLimits: () => limits.check(),
    checkRelabel: () => relabel.check(),
    drain: () => {
      reason = "shutting down";
    },
    close: closeAll,
  };
}

/** Addresses of the tenant's receivers besides this one; null while there are none, as without a ring for it. */
function otherOwners(
  ring: Hashring | undefined,
  tenant: string,
  localEndpoint: string,
): string[] | null {
  if (ring === undefined) return null;
  try {
    const addresses = ring.placement(tenant).endpoints.map(({ address }) => address);
    return addresses.filter((address) => address !== localEndpoint);
  } catch {
    return null;
  }
}

/** Applies the limits and follows their file. @throws {ConfigError} */
async function followLimits(
  options: ReceiverOptions,
  limiter: Limiter,
  metrics: ReceiveMetrics,
  tenants: () => Tenants | null,
): Promise<{ check: () => Promise<void>; stop: () => Promise<void> }> {
  const { source, refreshMs } = options.limits;
  const text = await readConfig("receive.limits-config", source);
  const apply = (next: string) => limiter.apply(parseLimits(next), tenants());
  try {
    if (text !== undefined) apply(text);
  } catch (error) {
    throw new ConfigError("receive.limits-config", { cause: error });
  }
  if (text === undefined || source.file === "") {
    return { check: () => Promise.resolve(), stop: () => Promise.resolve() };
  }
  return watchConfig(text, {
    file: source.file,
    refreshMs,
    log: options.log,
    apply,
    onResult: (result) =>
      result === "applied" ? metrics.limitsReloads.inc() : metrics.limitsReloadErrors.inc(),
  });
}

function storeSources(tenants: Tenants): StoreSource[] {
  const sourceOf = (name: string, data: Pick<Tsdb, "minTime" | "maxTime" | "queryable">) => ({
    labels: labelsFromObject(tenants.labels(name)),
    mint: data.minTime,
    maxt: data.maxTime,
    queryable: data.queryable(),
  });
  return [
    ...tenants.list().map(({ name, db }) => sourceOf(name, db)),
    ...tenants.resting().map(({ name, blocks }) => sourceOf(name, blocks)),
  ];
}

function exemplarSources(tenants: Tenants): ExemplarSource[] {
  return tenants.list().map(({ name, db }) => ({
    labels: labelsFromObject(tenants.labels(name)),
    select: (lists, mint, maxt) => db.head.selectExemplars(lists, mint, maxt),
  }));
}

/** Starts the loop; the returned function ends it and the tenants. */
function maintenance(tenants: Tenants, options: ReceiverOptions): () => Promise<void> {
  const { maintenanceMs, log } = options;
  let first = true;
  const loop = startLoop(
    async (signal) => {
      // Receivers that start together should not cut together.
      if (first) await sleep(Math.random() * maintenanceMs, undefined, { signal });
      first = false;
      await tenants.maintain(signal);
    },
    maintenanceMs,
    (error) => log.error("maintenance", { err: error }),
  );
  return async () => {
    await loop.stop();
    if (options.tenants.shipping !== null) await tenants.flush();
    await tenants.close();
  };
}
