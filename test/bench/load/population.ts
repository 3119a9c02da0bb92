/**
 * The load of the benchmarks: a population of identical targets of 100 series each, on some 50 metric names, with
 * about 280 label bytes a series. It has the shape of the load that the figures of the peers were measured with:
 * three histograms of 12 buckets, counters, gauges, a few constants; every series carries cluster, container, job,
 * instance, namespace, node and pod beside its own labels. Values follow from (target, series, round) and a seed
 * alone, so two runs send the same samples.
 */

import { compareStrings, type Labels, labelsFromPairs } from "@torus/model";

export const SERIES_PER_TARGET = 100;

type Kind = "counter" | "gauge" | "constant" | "bucket" | "sum";
type Template = {
  name: string;
  own: readonly (readonly [string, string])[];
  kind: Kind;
  /** Mean increase a second of counters, level of gauges, value of constants. */
  level: number;
  /** Share of the observations that fall into a bucket or below. */
  share: number;
  /** Series of one group move together: the buckets of a histogram stay cumulative. */
  group: number;
};

const BOUNDS = "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf".split(" ");
const COUNTERS =
  "process_cpu_seconds_total node_network_receive_bytes_total node_network_transmit_bytes_total node_disk_read_bytes_total node_disk_written_bytes_total go_memstats_alloc_bytes_total go_memstats_frees_total go_memstats_mallocs_total container_cpu_usage_seconds_total container_fs_reads_bytes_total container_fs_writes_bytes_total container_network_receive_packets_total container_network_transmit_packets_total cache_hits_total cache_misses_total db_queries_total db_query_errors_total queue_messages_published_total queue_messages_consumed_total rpc_retries_total".split(
    " ",
  );
const GAUGES =
  "process_resident_memory_bytes process_open_fds go_goroutines go_threads go_memstats_heap_inuse_bytes go_memstats_heap_objects container_memory_working_set_bytes container_memory_rss container_spec_cpu_shares db_connections_open db_connections_idle queue_depth queue_oldest_message_age_seconds cache_entries cache_size_bytes node_load1 node_load5 node_memory_MemAvailable_bytes workers_busy workers_total".split(
    " ",
  );
const CLUSTERS = ["prod-eu-west-1", "prod-us-east-2", "staging-eu-west-1"];
const NAMESPACES =
  "payments checkout inventory search-index identity notifications shipping billing-core catalog recommendations fraud-detection monitoring".split(
    " ",
  );
const JOBS = "api-server worker gateway scheduler ingest frontend cache-proxy exporter".split(" ");

const TEMPLATES = templates();

function templates(): Template[] {
  const out: Template[] = [];
  let group = 0;
  const histogram = (name: string, own: Template["own"], level: number) => {
    group++;
    BOUNDS.forEach((le, i) => {
      const share = le === "+Inf" ? 1 : 1 - Math.exp(-0.55 * (i + 1));
      out.push({
        name: `${name}_bucket`,
        own: [...own, ["le", le]],
        kind: "bucket",
        level,
        share,
        group,
      });
    });
    out.push({ name: `${name}_count`, own, kind: "bucket", level, share: 1, group });
    out.push({ name: `${name}_sum`, own, kind: "sum", level: level * 0.13, share: 1, group });
  };
  for (const [method, level] of [
    ["GET", 42],
    ["POST", 11],
  ] as const) {
    histogram(
      "http_request_duration_seconds",
      [
        ["handler", "/api/v1/orders"],
        ["method", method],
      ],
      level,
    );
  }
  histogram("grpc_server_handling_seconds", [["grpc_method", "GetInventory"]], 23);
  const counter = (name: string, own: Template["own"], level: number) =>
    out.push({ name, own, kind: "counter", level, share: 1, group: ++group });
  for (const method of ["GET", "POST"]) {
    for (const [code, level] of [
      ["200", 40],
      ["404", 1.5],
      ["500", 0.2],
    ] as const) {
      counter(
        "http_requests_total",
        [
          ["code", code],
          ["method", method],
        ],
        level,
      );
    }
  }
  COUNTERS.forEach((name, i) => {
    counter(name, [["device", "eth0"]], 10 ** (i % 6));
    if (i % 3 === 0) counter(name, [["device", "eth1"]], 10 ** (i % 6) / 3);
  });
  GAUGES.forEach((name, i) => {
    out.push({
      name,
      own: [],
      kind: "gauge",
      level: 10 ** ((i % 7) + 0.5),
      share: 1,
      group: ++group,
    });
  });
  const constant = (name: string, own: Template["own"], level: number) =>
    out.push({ name, own, kind: "constant", level, share: 1, group: ++group });
  constant("up", [], 1);
  constant(
    "app_build_info",
    [
      ["version", "v2.31.4"],
      ["goversion", "go1.26.8"],
    ],
    1,
  );
  constant("process_start_time_seconds", [], 1.7e9);
  for (let shard = 0; out.length < SERIES_PER_TARGET; shard++) {
    out.push({
      name: "queue_depth",
      own: [["shard", String(shard)]],
      kind: "gauge",
      level: 50,
      share: 1,
      group: ++group,
    });
  }
  return out;
}

/** A seeded hash of up to three integers to [0, 1). */
function unit(a: number, b: number, c: number): number {
  let h =
    Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^
    Math.imul(b + 0x7f4a7c15, 0xc2b2ae35) ^
    Math.imul(c + 1, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
}

function tag(target: number, salt: number, length: number): string {
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  let out = "";
  for (let i = 0; i < length; i++)
    out += letters.charAt(Math.floor(unit(target, salt, i) * letters.length));
  return out;
}

/** Labels of series `index`, sorted. */
export function seriesLabels(index: number): Labels {
  const target = Math.floor(index / SERIES_PER_TARGET);
  const template = TEMPLATES[index % SERIES_PER_TARGET] as Template;
  const namespace = NAMESPACES[Math.floor(target / 3) % NAMESPACES.length] as string;
  const job = JOBS[target % JOBS.length] as string;
  const node = Math.floor(target / 30);
  return labelsFromPairs(
    (
      [
        ["__name__", template.name],
        ["cluster", CLUSTERS[Math.floor(target / 24) % CLUSTERS.length] as string],
        ["container", job],
        [
          "instance",
          `10.${16 + ((target >> 16) & 15)}.${(target >> 8) & 255}.${target & 255}:8080`,
        ],
        ["job", job],
        ["namespace", namespace],
        ["node", `ip-10-${node >> 8}-${node & 255}.eu-west-1.compute.internal`],
        ["pod", `${namespace}-${job}-${tag(Math.floor(target / 10), 1, 9)}-${tag(target, 2, 5)}`],
        ...template.own,
      ] as [string, string][]
    ).sort(([a], [b]) => compareStrings(a, b)),
  );
}

/** The running values of `count` series; each call of `next` moves series `index` one round on. */
export class Population {
  readonly #current: Float64Array;

  constructor(count: number) {
    this.#current = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const { kind, level, group } = TEMPLATES[i % SERIES_PER_TARGET] as Template;
      const start = unit(group, Math.floor(i / SERIES_PER_TARGET), 0);
      this.#current[i] =
        kind === "constant"
          ? level
          : kind === "gauge"
            ? level * (0.5 + start)
            : Math.floor(level * 3600 * (1 + 20 * start));
    }
  }

  next(index: number, round: number, stepSeconds: number): number {
    const { kind, level, share, group } = TEMPLATES[index % SERIES_PER_TARGET] as Template;
    const current = this.#current[index] as number;
    const u = unit(group, Math.floor(index / SERIES_PER_TARGET), round + 1);
    switch (kind) {
      case "constant":
        return current;
      case "gauge": {
        const moved = Math.max(0, current + (u - 0.5) * 0.02 * level);
        // Large gauges are byte counts, whole numbers; small ones keep two digits.
        return (this.#current[index] =
          level > 1000 ? Math.floor(moved) : Math.round(moved * 100) / 100);
      }
      case "sum":
        return (this.#current[index] = current + level * stepSeconds * (0.5 + u));
      case "bucket":
      case "counter": {
        const moved = current + level * stepSeconds * (0.5 + u);
        this.#current[index] = moved;
        if (kind === "bucket") return Math.floor(moved * share);
        return level < 10 ? Math.round(moved * 100) / 100 : Math.floor(moved);
      }
    }
  }
}
