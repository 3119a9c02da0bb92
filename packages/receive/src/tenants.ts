/**
 * One TSDB per tenant, in `<tsdb.path>/<tenant>/`. Those on disk are opened at start, others when their first sample
 * comes. One to which nothing comes for long is cut into blocks and closed: it rests, answers from its blocks, and is
 * opened again by its next sample. Cutting blocks, retention and shipping go through the tenants one after another, so that their work never
 * falls together.
 */

import { readdirSync, rmSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import path from "node:path";
import { isUlid } from "@torus/model";
import type { Bucket } from "@torus/objstore";
import { errorText, type Logger } from "@torus/server";
import { StoredBlocks, Tsdb, type TsdbOptions } from "@torus/tsdb";
import {
  hasShipper,
  readShipped,
  Shipper,
  type ShipperEvent,
  type ShipperMetrics,
  writeExternalLabels,
} from "@torus/uploader";
import { checkTenantName, TenantNameError } from "./tenant-name.ts";

export type TenantsOptions = {
  /** `--tsdb.path`. */
  path: string;
  tsdb: Omit<TsdbOptions, "dir" | "seriesLimit" | "now" | "log">;
  /** `--label`. */
  labels: Readonly<Record<string, string>>;
  tenantLabelName: string;
  defaultTenant: string;
  /** Of the tenant's hashring; asked whenever the labels are. */
  ringLabels: (tenant: string) => Readonly<Record<string, string>>;
  /** Of a tenant's storage; asked when it is opened, and by `applyLimits`. */
  limits: (tenant: string) => StorageLimits;
  /** Tenants open at most: each costs memory and files. */
  maxTenants: number;
  /** A tenant that nothing was written to for so long is closed; 0 for never. */
  idleMs: number;
  shipping: {
    bucket: Bucket;
    metrics: ShipperMetrics;
    hashFunc: "" | "SHA256";
    uploadCompacted: boolean;
    allowOutOfOrderUploads: boolean;
  } | null;
  now: () => number;
  log: Logger;
};

export type StorageLimits = {
  /** The most series in the tenant's head; 0 for no limit. */
  headSeries: number;
  /** The most series of a metric in it; 0 for no limit. */
  headSeriesPerMetric: number;
  /** Null for what `tsdb` says. */
  outOfOrderWindowMs: number | null;
  retentionMs: number | null;
};

export class TooManyTenantsError extends Error {
  constructor(limit: number) {
    super(`the limit of ${limit} tenants of this receiver is reached`);
    this.name = "TooManyTenantsError";
  }
}

export type Tenant = {
  readonly name: string;
  readonly db: Tsdb;
  readonly shipper: Shipper | null;
};

/** A tenant that is closed, and answers from its blocks. */
export type RestingTenant = {
  readonly name: string;
  readonly blocks: StoredBlocks;
  readonly shipper: Shipper | null;
};

/** Beside the tenants' folders: what waits for other receivers. */
export const HANDOFF_FOLDER = ".handoff";
/** Names that no tenant has: a file system's own folder, and ours. */
const NO_TENANTS = new Set(["lost+found", HANDOFF_FOLDER]);

export class Tenants {
  readonly #options: TenantsOptions;
  readonly #open = new Map<string, Tenant>();
  readonly #opening = new Map<string, Promise<Tenant>>();
  readonly #resting = new Map<string, RestingTenant>();
  /** Of tenants that rest already: their directories are locked until then. */
  readonly #closing = new Map<string, Promise<unknown>>();
  /** When a tenant was last asked for to be written to, in ms. */
  readonly #usedAt = new Map<string, number>();
  #closed = false;

  private constructor(options: TenantsOptions) {
    this.#options = options;
  }

  /** Opens what is on disk, and the default tenant, and replays their logs. */
  static async open(options: TenantsOptions): Promise<Tenants> {
    const tenants = new Tenants(options);
    await mkdir(options.path, { recursive: true });
    await writeExternalLabels(options.path, {
      labels: options.labels,
      tenantLabelName: options.tenantLabelName,
    });
    const found = await readdir(options.path, { withFileTypes: true });
    const names = found.filter((each) => each.isDirectory()).map((each) => each.name);
    const all = new Set([options.defaultTenant, ...names.filter((name) => !NO_TENANTS.has(name))]);
    try {
      for (const name of all) await tenants.get(name);
    } catch (error) {
      await tenants.close();
      throw error;
    }
    return tenants;
  }

  /** The tenant when it is open. */
  peek(name: string): Tenant | undefined {
    return this.#open.get(name);
  }

  /**
   * Opens the tenant when it is not.
   *
   * @throws {TenantNameError}
   * @throws {TooManyTenantsError}
   */
  async get(name: string): Promise<Tenant> {
    const open = this.#open.get(name);
    if (open !== undefined) {
      this.#usedAt.set(name, this.#options.now());
      return open;
    }
    checkTenantName(name);
    if (NO_TENANTS.has(name)) throw new TenantNameError(name);
    let opening = this.#opening.get(name);
    if (opening === undefined) {
      const { maxTenants } = this.#options;
      if (this.#open.size + this.#opening.size >= maxTenants) {
        throw new TooManyTenantsError(maxTenants);
      }
      opening = this.#openTenant(name).finally(() => this.#opening.delete(name));
      this.#opening.set(name, opening);
    }
    return opening;
  }

  list(): Tenant[] {
    return [...this.#open.values()];
  }

  /** Those that are closed and have blocks. */
  resting(): RestingTenant[] {
    return [...this.#resting.values()];
  }

  /** External labels of a tenant's series: the receiver's, the ring's, and the tenant's name. */
  labels(tenant: string): Record<string, string> {
    const { labels, ringLabels, tenantLabelName } = this.#options;
    return { ...labels, ...ringLabels(tenant), [tenantLabelName]: tenant };
  }

  /** Holds the open tenants to their limits of now. */
  applyLimits(): void {
    for (const { name, db } of this.list()) this.#applyLimits(name, db);
  }

  #applyLimits(name: string, db: Tsdb): void {
    const { tsdb, limits } = this.#options;
    const { headSeries, headSeriesPerMetric, outOfOrderWindowMs, retentionMs } = limits(name);
    db.head.setSeriesLimit(headSeries);
    db.head.setMetricLimit(headSeriesPerMetric);
    db.head.setOutOfOrderWindow(outOfOrderWindowMs ?? tsdb.outOfOrderWindowMs);
    db.setRetention(retentionMs ?? tsdb.retentionMs);
  }

  /** Cuts what is due, ships, and deletes what is over the retention. */
  async maintain(signal: AbortSignal): Promise<void> {
    for (const tenant of this.list()) {
      if (signal.aborted) return;
      await this.#step(tenant, "cut blocks", () => tenant.db.compactHead());
      const { shipper } = tenant;
      if (shipper !== null) await this.#step(tenant, "ship blocks", () => shipper.sync(signal));
      if (shipper === null && !hasShipper(tenant.db.dir)) {
        await this.#step(tenant, "merge blocks", () => tenant.db.mergeOverlapping());
      }
      await this.#step(tenant, "apply retention", () =>
        tenant.db.applyRetention(shippedOf(tenant)),
      );
      await this.#step(tenant, "write a snapshot", () => tenant.db.snapshotWhenDue());
      if (this.#isIdle(tenant)) {
        await this.#step(tenant, "close idle tenant", () => this.#rest(tenant, signal));
      }
    }
    for (const tenant of this.resting()) {
      if (signal.aborted) return;
      await this.#step(tenant, "maintain idle tenant", () => this.#maintainResting(tenant, signal));
    }
  }

  #isIdle({ name }: Pick<Tenant, "name">): boolean {
    const { idleMs, now, defaultTenant } = this.#options;
    if (idleMs === 0 || name === defaultTenant || this.#closed) return false;
    return now() - (this.#usedAt.get(name) ?? now()) >= idleMs;
  }

  /** Cuts all that the tenant has into blocks, ships them, and closes it, unless something came meanwhile. */
  async #rest(tenant: Tenant, signal: AbortSignal): Promise<void> {
    const { name, db, shipper } = tenant;
    await db.flush();
    if (shipper !== null) await shipper.sync(signal);
    const blocks = new StoredBlocks(db.dir, this.#logOf(name));
    // From here to the end of the turn nobody else runs: whoever asks for the tenant then opens it anew.
    const isEmpty = db.head.maxTime < db.head.minTime && db.head.late.count === 0;
    if (!isEmpty || !this.#isIdle(tenant)) {
      blocks.close();
      return;
    }
    this.#open.delete(name);
    this.#resting.set(name, { name, blocks, shipper });
    const closing = db.close();
    this.#closing.set(name, closing);
    try {
      await closing;
    } finally {
      this.#closing.delete(name);
    }
    this.#options.log.info("idle tenant is closed", { tenant: name });
  }

  async #maintainResting(tenant: RestingTenant, signal: AbortSignal): Promise<void> {
    const { name, blocks, shipper } = tenant;
    const { tsdb, limits, now } = this.#options;
    if (shipper !== null) await shipper.sync(signal);
    const retentionMs = limits(name).retentionMs ?? tsdb.retentionMs;
    const kept = { retentionMs, maxBytes: tsdb.maxBytes };
    await blocks.applyRetention(kept, now(), shippedOf({ shipper, db: blocks }));
    const isGone = blocks.blocks().length === 0 && !readdirSync(blocks.dir).some(isUlid);
    if (!isGone || this.#opening.has(name) || this.#resting.get(name) !== tenant) return;
    this.#resting.delete(name);
    this.#usedAt.delete(name);
    rmSync(blocks.dir, { recursive: true, force: true });
    await shipper?.close();
    this.#options.log.info("idle tenant has no blocks left and is forgotten", { tenant: name });
  }

  /** Cuts everything into blocks and ships them; for a graceful end with a bucket. */
  async flush(): Promise<void> {
    for (const tenant of this.list()) {
      await this.#step(tenant, "flush", () => tenant.db.flush());
      const { shipper } = tenant;
      if (shipper !== null) await this.#step(tenant, "ship blocks", () => shipper.sync());
    }
    for (const tenant of this.resting()) {
      const { shipper } = tenant;
      if (shipper !== null) await this.#step(tenant, "ship blocks", () => shipper.sync());
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#opening.values(), ...this.#closing.values()]);
    for (const { blocks, shipper } of this.resting()) {
      await shipper?.close();
      blocks.close();
    }
    this.#resting.clear();
    for (const tenant of this.list()) {
      await tenant.shipper?.close();
      await this.#step(tenant, "close", () => tenant.db.close());
    }
    this.#open.clear();
  }

  async #openTenant(name: string): Promise<Tenant> {
    const { tsdb, now, log } = this.#options;
    const dir = path.join(this.#options.path, name);
    const started = now();
    await this.#closing.get(name);
    await mkdir(dir, { recursive: true });
    const tenantLog = log.with({ tenant: name });
    const db = await Tsdb.open({ ...tsdb, seriesLimit: 0, dir, now, log: this.#logOf(name) });
    const rested = this.#resting.get(name);
    const shipper = rested === undefined ? this.#shipper(name, dir) : rested.shipper;
    const tenant: Tenant = { name, db, shipper };
    if (this.#closed) {
      await db.close();
      throw new Error(`open tenant ${name}: the receiver is stopping`);
    }
    this.#applyLimits(name, db);
    this.#open.set(name, tenant);
    this.#usedAt.set(name, now());
    this.#resting.delete(name);
    rested?.blocks.close();
    tenantLog.info("TSDB is open", { durationMs: now() - started, ...db.replayed });
    return tenant;
  }

  #logOf(name: string): TsdbOptions["log"] {
    const tenantLog = this.#options.log.with({ tenant: name });
    return (level, message, fields) => tenantLog[level](message, fields);
  }

  #shipper(name: string, dir: string): Shipper | null {
    const { shipping, now, log } = this.#options;
    if (shipping === null) return null;
    const { bucket, metrics, ...rest } = shipping;
    return new Shipper(bucket, dir, {
      ...rest,
      labels: () => this.labels(name),
      source: "receive",
      now,
      onEvent: (event) => {
        metrics.observe(name, event);
        logShipping(log, name, event);
      },
    });
  }

  /** What fails for one tenant is logged and tried again in the next round. */
  async #step(
    tenant: Pick<Tenant, "name">,
    what: string,
    run: () => Promise<unknown>,
  ): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#options.log.error(what, { tenant: tenant.name, err: errorText(error) });
    }
  }
}

/**
 * With a bucket of our own, or an uploader beside us (it leaves its file at its first look), a block must be shipped
 * before it is deleted. Where nobody ever shipped, nothing waits for the blocks.
 */
export function shippedOf(
  tenant: Pick<Tenant, "shipper"> & { db: { dir: string } },
): (ulid: string) => boolean {
  const { shipper, db } = tenant;
  if (shipper !== null) return (ulid) => shipper.isShipped(ulid);
  if (!hasShipper(db.dir)) return () => true;
  const shipped = readShipped(db.dir);
  return (ulid) => shipped.has(ulid);
}

function logShipping(log: Logger, tenant: string, event: ShipperEvent): void {
  if (event.kind === "uploaded") log.info("uploaded block", { tenant, block: event.ulid });
  else if (event.kind === "upload-failed") {
    log.error("upload block", { tenant, block: event.ulid, err: event.error });
  } else if (event.kind === "block-unreadable") {
    log.warn("block is left out", { tenant, block: event.ulid, err: event.error });
  }
}
