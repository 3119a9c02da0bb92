/**
 * Limits of tenants, in Thanos' YAML (Thanos, docs/components/receive.md) with rates besides:
 *
 *     write:
 *       global: {max_concurrency: 0}
 *       default:
 *         request: {size_bytes_limit: 0, series_limit: 0, samples_limit: 0}
 *         head_series_limit: 0
 *         head_series_per_metric_limit: 0
 *         rate: {samples_per_second: 0, bytes_per_second: 0}
 *         labels: {names_per_series_limit: 0, name_length_limit: 0, value_length_limit: 0}
 *         storage: {out_of_order_time_window: 30m, retention: 15d}
 *       tenants: {some-tenant: {head_series_limit: 100}}
 *
 * 0 is no limit; lengths are bytes of UTF-8; what a tenant does not set is the default's, and what that does not set
 * of the storage is the flags'. Keys that nobody knows are errors. The head's series are counted here and exactly, so
 * the keys of Thanos' meta-monitoring are read and need no server.
 */

import { durationMs } from "@torus/server";
import { parse } from "yaml";
import type { LabelLimits } from "./edge/label-limits.ts";

export type TenantLimits = {
  sizeBytes: number;
  series: number;
  samples: number;
  headSeries: number;
  headSeriesPerMetric: number;
  samplesPerSecond: number;
  bytesPerSecond: number;
  labels: LabelLimits;
  /** Null for what the flags say. */
  outOfOrderWindowMs: number | null;
  retentionMs: number | null;
};

export class LimitsConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(`limits configuration: ${message}`, options);
    this.name = "LimitsConfigError";
  }
}

export const NO_LIMITS: TenantLimits = {
  sizeBytes: 0,
  series: 0,
  samples: 0,
  headSeries: 0,
  headSeriesPerMetric: 0,
  samplesPerSecond: 0,
  bytesPerSecond: 0,
  labels: { count: 0, nameLength: 0, valueLength: 0 },
  outOfOrderWindowMs: null,
  retentionMs: null,
};

export class Limits {
  /** Requests that are worked on at a time; 0 for no limit. */
  readonly maxConcurrency: number;
  readonly default: TenantLimits;
  readonly tenants: ReadonlyMap<string, TenantLimits>;

  constructor(
    maxConcurrency = 0,
    fallback = NO_LIMITS,
    tenants: ReadonlyMap<string, TenantLimits> = new Map(),
  ) {
    this.maxConcurrency = maxConcurrency;
    this.default = fallback;
    this.tenants = tenants;
  }

  of(tenant: string): TenantLimits {
    return this.tenants.get(tenant) ?? this.default;
  }
}

/** @throws {LimitsConfigError} */
export function parseLimits(text: string): Limits {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new LimitsConfigError((error as Error).message, { cause: error });
  }
  const write = section(section(value, "", ["write"]).write, "write", [
    "global",
    "default",
    "tenants",
  ]);
  const global = section(write.global, "write.global", [
    "max_concurrency",
    "meta_monitoring_url",
    "meta_monitoring_limit_query",
    "meta_monitoring_http_client",
  ]);
  const fallback = tenantLimits(write.default, "write.default", NO_LIMITS);
  const tenants = new Map<string, TenantLimits>();
  for (const [name, each] of Object.entries(section(write.tenants, "write.tenants", null))) {
    tenants.set(name, tenantLimits(each, `write.tenants.${name}`, fallback));
  }
  const maxConcurrency = limit(global, "write.global", "max_concurrency", 0);
  return new Limits(maxConcurrency, fallback, tenants);
}

type Section = Readonly<Record<string, unknown>>;

/** @param keys Those that there may be; null for any. */
function section(value: unknown, at: string, keys: readonly string[] | null): Section {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new LimitsConfigError(`${at === "" ? "the document" : at} is not a mapping`);
  }
  const unknown = keys === null ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new LimitsConfigError(`field ${unknown} not found in ${at === "" ? "the document" : at}`);
  }
  return value as Section;
}

function tenantLimits(value: unknown, at: string, fallback: TenantLimits): TenantLimits {
  const own = section(value, at, [
    "request",
    "head_series_limit",
    "head_series_per_metric_limit",
    "rate",
    "labels",
    "storage",
  ]);
  const requestAt = `${at}.request`;
  const rateAt = `${at}.rate`;
  const request = section(own.request, requestAt, [
    "size_bytes_limit",
    "series_limit",
    "samples_limit",
  ]);
  const labelsAt = `${at}.labels`;
  const labels = section(own.labels, labelsAt, [
    "names_per_series_limit",
    "name_length_limit",
    "value_length_limit",
  ]);
  const rate = section(own.rate, rateAt, ["samples_per_second", "bytes_per_second"]);
  const storageAt = `${at}.storage`;
  const storage = section(own.storage, storageAt, ["out_of_order_time_window", "retention"]);
  return {
    sizeBytes: limit(request, requestAt, "size_bytes_limit", fallback.sizeBytes),
    series: limit(request, requestAt, "series_limit", fallback.series),
    samples: limit(request, requestAt, "samples_limit", fallback.samples),
    headSeries: limit(own, at, "head_series_limit", fallback.headSeries),
    headSeriesPerMetric: limit(
      own,
      at,
      "head_series_per_metric_limit",
      fallback.headSeriesPerMetric,
    ),
    samplesPerSecond: limit(rate, rateAt, "samples_per_second", fallback.samplesPerSecond),
    bytesPerSecond: limit(rate, rateAt, "bytes_per_second", fallback.bytesPerSecond),
    labels: {
      count: limit(labels, labelsAt, "names_per_series_limit", fallback.labels.count),
      nameLength: limit(labels, labelsAt, "name_length_limit", fallback.labels.nameLength),
      valueLength: limit(labels, labelsAt, "value_length_limit", fallback.labels.valueLength),
    },
    outOfOrderWindowMs:
      duration(storage, storageAt, "out_of_order_time_window") ?? fallback.outOfOrderWindowMs,
    retentionMs: duration(storage, storageAt, "retention") ?? fallback.retentionMs,
  };
}

/** Null where it is not set. */
function duration(from: Section, at: string, key: string): number | null {
  const value = from[key] ?? null;
  if (value === null) return null;
  const ms = typeof value === "string" || value === 0 ? durationMs(`${value}`) : null;
  if (ms === null || Number.isNaN(ms)) {
    throw new LimitsConfigError(`${at}.${key} is not a duration`);
  }
  return ms;
}

function limit(from: Section, at: string, key: string, fallback: number): number {
  const value = from[key] ?? fallback;
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new LimitsConfigError(`${at}.${key} is not a whole number`);
  }
  // Thanos takes negative numbers for no limit.
  return Math.max(0, value);
}
