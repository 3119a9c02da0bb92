/**
 * The metrics on which Thanos' dashboards and alerts rest (Thanos, mixin and docs/components), by name and labels, of
 * receivers, store, query and uploader as processes, after each of the events that they count.
 *
 * Not there, since nothing here does what they count: `thanos_receive_multi_db_updates_*` (a new hashring flushes no
 * head) and `thanos_receive_metamonitoring_failed_queries_total` (the head's own count is the limit).
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyEncode } from "@torus/encoding";
import { encodeWriteRequest } from "@torus/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";

const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden/tsdb/blocks/floats");
const ULID = "01M82Z2RK498JCB8C2S79T1NCR";
const root = mkdtempSync(path.join(tmpdir(), "torus-metrics-"));
const running: ChildProcess[] = [];
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

type Component = { child: ChildProcess; http: string; grpc: string; write: string };

/** Ready when this resolves. */
async function start(name: string, ...args: string[]): Promise<Component> {
  const main = path.join(import.meta.dirname, "../main.ts");
  const listen = ["--http-address=127.0.0.1:0", "--grpc-address=127.0.0.1:0"];
  const child = spawn(process.execPath, ["--import", "tsx", main, name, ...listen, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.push(child);
  let log = "";
  child.stderr.on("data", (text: Buffer) => {
    log += text.toString();
  });
  await until(() => {
    if (child.exitCode !== null) throw new Error(`ended: ${log}`);
    return log.includes("msg=ready");
  });
  const [, grpc = ""] = /address=(\S+) protocol=gRPC/.exec(log) ?? [];
  // A receiver's own listeners: probes first, remote write after them.
  const [http = "", write = ""] = [...log.matchAll(/address=(\S+) protocol=http/g)].map(
    ([, address]) => address,
  );
  return { child, http, grpc, write };
}

async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 30));
}

type Values = Map<string, number>;

/** Values by name and labels, these without their values but for those that are given: `name{a,b}`. */
async function scrape({ http }: Component): Promise<Values> {
  const text = await (await fetch(`http://${http}/metrics`)).text();
  const values: Values = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match !== null) values.set(`${match[1]}{${match[2] ?? ""}}`, Number(match[3]));
  }
  return values;
}

/** The values of a metric with exactly these label names, and these values of some of them. */
function found(values: Values, metric: string, labels: string, where: string): number[] {
  const wanted = where === "" ? [] : where.split(",");
  return [...values].flatMap(([key, value]) => {
    const [name, pairs] = [key.slice(0, key.indexOf("{")), key.slice(key.indexOf("{") + 1, -1)];
    const split = pairs === "" ? [] : pairs.split(/,(?=[a-z_]+=)/);
    const names = split.map((pair) => pair.slice(0, pair.indexOf("="))).sort();
    const fits = name === metric && names.join(",") === labels.split(",").sort().join(",");
    return fits && wanted.every((pair) => split.includes(pair)) ? [value] : [];
  });
}

const HASHRING = (peer: string, name: string) =>
  JSON.stringify([
    {
      hashring: name,
      tenants: ["a", "b", "c"],
      endpoints: ["127.0.0.1:1", peer],
      shuffle_sharding_config: { shard_size: 2, cache_size: 2 },
    },
  ]);
const LIMITS = `write:
  default: {request: {samples_limit: 3}}
  tenants:
    b: {head_series_limit: 1}
`;

function body(names: readonly string[], times: readonly number[]): Uint8Array {
  return snappyEncode(
    encodeWriteRequest(
      names.map((name) => ({
        labels: ["__name__", name],
        timestamps: Float64Array.from(times),
        values: Float64Array.from(times, () => 1),
      })),
    ),
  );
}

let configHash = 0;
const statuses: number[] = [];
const scraped: Record<string, Values> = {};

beforeAll(async () => {
  const now = Date.now();
  const bucket = path.join(root, "bucket");
  const objstore = `--objstore.config={type: FILESYSTEM, config: {directory: ${JSON.stringify(bucket)}}}`;
  // A directory that the uploader ships: one good block, one that cannot be read.
  const shipped = path.join(root, "shipped");
  cpSync(path.join(GOLDEN, ULID), path.join(shipped, ULID), { recursive: true });
  mkdirSync(path.join(shipped, "01M82Z2RK498JCB8C2S79T1NCS"), { recursive: true });
  writeFileSync(path.join(shipped, "01M82Z2RK498JCB8C2S79T1NCS", "meta.json"), "{");
  const ring = path.join(root, "hashrings.json");
  const limits = path.join(root, "limits.yaml");
  writeFileSync(limits, LIMITS);

  const [ingestor, uploader] = await Promise.all([
    start(
      "receive",
      "--remote-write.address=127.0.0.1:0",
      `--tsdb.path=${root}/ingestor`,
      '--label=replica="i"',
      "--receive.limits-config=write: {tenants: {b: {head_series_limit: 1}}}",
    ),
    start(
      "uploader",
      `--tsdb.path=${shipped}`,
      objstore,
      "--shipper.upload-compacted",
      '--label=replica="u"',
    ),
  ]);
  writeFileSync(ring, HASHRING(ingestor.grpc, "first"));
  const receive = await start(
    "receive",
    "--remote-write.address=127.0.0.1:0",
    `--tsdb.path=${root}/receive`,
    '--label=replica="r"',
    "--tsdb.block-duration=10s",
    "--receive.local-endpoint=127.0.0.1:1",
    `--receive.hashrings-file=${ring}`,
    "--receive.hashrings-algorithm=ketama",
    "--receive.hashrings-file-refresh-interval=200ms",
    "--receive.replication-factor=2",
    "--receive.replication-protocol=protobuf",
    `--receive.limits-config-file=${limits}`,
    "--receive.limits-config-reload-timer=200ms",
    objstore,
  );
  const has = async (metric: string, labels: string, value: number, where = "") => {
    const values = found(await scrape(receive), metric, labels, where);
    return values.length > 0 && values.every((each) => each >= value);
  };
  const write = async (tenant: string, payload: Uint8Array) => {
    const { status } = await fetch(`http://${receive.write}/api/v1/receive`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf", "THANOS-TENANT": tenant },
      body: payload,
    });
    statuses.push(status);
  };
  // A new ring, and one that is none.
  const second = HASHRING(ingestor.grpc, "second");
  configHash = createHash("sha256").update(second).digest().readUIntLE(0, 6);
  writeFileSync(ring, second);
  await until(() => has("thanos_receive_hashrings_file_changes_total", "", 1));
  writeFileSync(ring, "[{");
  await until(() => has("thanos_receive_hashrings_file_errors_total", "", 1));
  writeFileSync(limits, `${LIMITS}    c: {}\n`);
  await until(() => has("thanos_receive_limits_config_reload_total", "", 1));

  await write("a", body(["m", "n"], [now - 60_000]));
  await write("a", body(["m", "n"], [now]));
  await write("a", body(["m"], [now - 1000]));
  await write("a", body(["m", "n"], [1, 2, 3]));
  await write("b", body(["m"], [now]));
  await write("c", body(["m"], [now, now - 7_200_000]));
  await write("b", body(["o"], [now]));
  // The head is cut, shipped, and its first series is written no more.
  await until(() => has("thanos_shipper_uploads_total", "tenant", 1, 'tenant="a"'));
  const ended = new Promise((resolve) => ingestor.child.once("exit", resolve));
  scraped.ingestor = await scrape(ingestor);
  ingestor.child.kill("SIGTERM");
  await ended;
  await write("a", body(["m"], [now + 1]));
  await until(() => has("thanos_receive_forward_requests_total", "result", 1, 'result="error"'));

  await until(async () => {
    const values = await scrape(uploader);
    return found(values, "thanos_shipper_upload_compacted_done", "", "")[0] === 1;
  });
  const store = await start("store", `--data-dir=${root}/store`, objstore);
  const query = await start("query", `--endpoint=${store.grpc}`, `--endpoint=${receive.grpc}`);
  await until(async () => {
    const asked = `time=${now / 1000}&query=${encodeURIComponent('count({__name__=~".+"})')}`;
    const answer = await fetch(`http://${query.http}/api/v1/query?${asked}`);
    return (await answer.text()).includes('"result":[{');
  });
  Object.assign(scraped, {
    receive: await scrape(receive),
    uploader: await scrape(uploader),
    store: await scrape(store),
    query: await scrape(query),
  });
}, 120_000);

/** The label names after the metric's; then label values that are picked; then what the value is: ">0" where it depends. */
const TABLE: [
  component: string,
  metric: string,
  labels: string,
  where: string,
  value: number | ">0",
][] = [
  ["receive", "thanos_receive_forward_requests_total", "result", 'result="success"', ">0"],
  ["receive", "thanos_receive_forward_requests_total", "result", 'result="error"', ">0"],
  ["receive", "thanos_receive_replications_total", "result", 'result="success"', ">0"],
  ["receive", "thanos_receive_replications_total", "result", 'result="error"', ">0"],
  ["receive", "thanos_receive_replication_factor", "", "", 2],
  ["receive", "thanos_receive_forward_delay_seconds_count", "", "", ">0"],
  ["receive", "thanos_receive_forward_delay_seconds_sum", "", "", ">0"],
  ["receive", "thanos_receive_forward_delay_seconds_bucket", "le", 'le="+Inf"', ">0"],
  ["receive", "thanos_receive_write_timeseries_count", "code,tenant", 'code="204",tenant="a"', 4],
  ["receive", "thanos_receive_write_timeseries_sum", "code,tenant", 'code="204",tenant="a"', 6],
  ["receive", "thanos_receive_write_timeseries_bucket", "code,le,tenant", 'le="10",tenant="a"', 4],
  ["receive", "thanos_receive_write_samples_count", "code,tenant", 'code="409",tenant="c"', 1],
  ["receive", "thanos_receive_write_samples_sum", "code,tenant", 'code="409",tenant="c"', 2],
  ["receive", "thanos_receive_write_samples_bucket", "code,le,tenant", 'le="10",tenant="a"', 4],
  ["receive", "thanos_receive_pending_write_requests", "", "", 0],
  ["receive", "thanos_receive_config_last_reload_successful", "", "", 0],
  ["receive", "thanos_receive_config_last_reload_success_timestamp_seconds", "", "", ">0"],
  ["receive", "thanos_receive_hashrings_file_changes_total", "", "", 1],
  ["receive", "thanos_receive_hashrings_file_errors_total", "", "", ">0"],
  ["receive", "thanos_receive_hashrings_file_refreshes_total", "", "", ">0"],
  ["receive", "thanos_receive_hashring_nodes", "name", 'name="second"', 2],
  ["receive", "thanos_receive_hashring_tenants", "name", 'name="second"', 3],
  ["receive", "thanos_receive_write_limits", "limit,tenant", 'limit="samples",tenant="b"', 3],
  [
    "receive",
    "thanos_receive_write_limits_hit_count",
    "limit,tenant",
    'limit="samples",tenant="a"',
    1,
  ],
  ["receive", "thanos_receive_write_limits_hit_sum", "limit,tenant", 'limit="samples"', 3],
  ["receive", "thanos_receive_write_limits_hit", "limit,quantile,tenant", 'quantile="0.99"', 3],
  ["receive", "thanos_receive_head_series_limit", "tenant", 'tenant="b"', 1],
  ["receive", "thanos_receive_head_series_limited_requests_total", "tenant", 'tenant="b"', 1],
  ["receive", "thanos_receive_limits_config_reload_total", "", "", 1],
  ["receive", "thanos_shuffle_shard_cache_requests_total", "hashring", 'hashring="second"', ">0"],
  ["receive", "thanos_shuffle_shard_cache_hits_total", "hashring", 'hashring="second"', ">0"],
  ["receive", "thanos_shuffle_shard_cache_evicted_total", "hashring", 'hashring="second"', ">0"],
  ["receive", "thanos_shuffle_shard_cache_items", "hashring", 'hashring="second"', 2],
  ["receive", "thanos_shuffle_shard_cache_max_items", "hashring", 'hashring="second"', 2],
  ["receive", "thanos_shipper_dir_syncs_total", "tenant", 'tenant="a"', ">0"],
  ["receive", "thanos_shipper_dir_sync_failures_total", "tenant", 'tenant="a"', 0],
  ["receive", "thanos_shipper_uploads_total", "tenant", 'tenant="a"', ">0"],
  ["receive", "thanos_shipper_upload_failures_total", "tenant", 'tenant="a"', 0],
  ["receive", "thanos_shipper_corrupted_blocks_total", "tenant", 'tenant="a"', 0],
  ["receive", "thanos_shipper_upload_compacted_done", "tenant", 'tenant="a"', 0],
  ["receive", "prometheus_tsdb_head_series", "tenant", 'tenant="b"', 1],
  ["receive", "prometheus_tsdb_head_series_created_total", "tenant", 'tenant="a"', 2],
  ["receive", "prometheus_tsdb_head_series_removed_total", "tenant", 'tenant="b"', 0],
  [
    "receive",
    "prometheus_tsdb_head_samples_appended_total",
    "tenant,type",
    'tenant="a",type="float"',
    6,
  ],
  [
    "receive",
    "prometheus_tsdb_head_samples_appended_total",
    "tenant,type",
    'tenant="a",type="histogram"',
    0,
  ],
  [
    "receive",
    "prometheus_tsdb_head_out_of_order_samples_appended_total",
    "tenant,type",
    'tenant="a",type="float"',
    1,
  ],
  ["receive", "prometheus_tsdb_too_old_samples_total", "tenant,type", 'tenant="c",type="float"', 1],
  [
    "receive",
    "prometheus_tsdb_out_of_order_samples_total",
    "tenant,type",
    'tenant="a",type="float"',
    0,
  ],
  ["receive", "prometheus_tsdb_head_min_time", "tenant", 'tenant="b"', ">0"],
  ["receive", "prometheus_tsdb_head_max_time", "tenant", 'tenant="a"', ">0"],
  ["receive", "prometheus_tsdb_blocks_loaded", "tenant", 'tenant="a"', ">0"],
  ["receive", "prometheus_tsdb_storage_blocks_bytes", "tenant", 'tenant="a"', ">0"],
  [
    "receive",
    "http_requests_total",
    "code,handler,method",
    'handler="receive",code="413",method="post"',
    1,
  ],
  [
    "receive",
    "http_request_duration_seconds_count",
    "code,handler,method",
    'handler="receive",code="413"',
    1,
  ],
  ["receive", "http_inflight_requests", "method", 'method="post"', 0],
  [
    "ingestor",
    "grpc_server_handled_total",
    "grpc_code,grpc_method,grpc_service,grpc_type",
    'grpc_method="RemoteWrite",grpc_service="thanos.WriteableStore",grpc_type="unary",grpc_code="OK"',
    ">0",
  ],
  [
    "ingestor",
    "grpc_server_handling_seconds_count",
    "grpc_method,grpc_service,grpc_type",
    'grpc_method="RemoteWrite"',
    ">0",
  ],
  ["uploader", "thanos_shipper_dir_syncs_total", "", "", ">0"],
  ["uploader", "thanos_shipper_dir_sync_failures_total", "", "", 0],
  ["uploader", "thanos_shipper_uploads_total", "", "", 1],
  ["uploader", "thanos_shipper_upload_failures_total", "", "", 0],
  ["uploader", "thanos_shipper_corrupted_blocks_total", "", "", ">0"],
  ["uploader", "thanos_shipper_upload_compacted_done", "", "", 1],
  [
    "uploader",
    "thanos_objstore_bucket_operations_total",
    "bucket,operation",
    'operation="upload"',
    ">0",
  ],
  [
    "uploader",
    "thanos_objstore_bucket_operation_failures_total",
    "bucket,operation",
    'operation="upload"',
    0,
  ],
  ["uploader", "thanos_objstore_bucket_last_successful_upload_time", "bucket", "", ">0"],
  ["store", "thanos_blocks_meta_syncs_total", "", "", ">0"],
  ["store", "thanos_blocks_meta_synced", "state", 'state="loaded"', ">0"],
  ["store", "thanos_bucket_store_block_loads_total", "", "", ">0"],
  ["store", "thanos_bucket_store_blocks_loaded", "", "", ">0"],
  ["store", "thanos_objstore_bucket_operations_total", "bucket,operation", 'operation="get"', ">0"],
  [
    "store",
    "grpc_server_handled_total",
    "grpc_code,grpc_method,grpc_service,grpc_type",
    'grpc_method="Series",grpc_service="thanos.Store",grpc_type="server_stream",grpc_code="OK"',
    ">0",
  ],
  ["store", "thanos_status", "check", 'check="ready"', 1],
  ["query", "thanos_query_concurrent_gate_queries_in_flight", "", "", 0],
  [
    "query",
    "http_requests_total",
    "code,handler,method",
    'code="200",handler="/api/v1/query"',
    ">0",
  ],
];

test("each of the writes was answered as its event needs", () => {
  expect(statuses).toEqual([204, 204, 204, 413, 204, 409, 429, 204]);
});

test.each(TABLE)("%s has %s{%s} with %s: %s", (component, metric, labels, where, value) => {
  const values = found(scraped[component] ?? new Map(), metric, labels, where);
  expect(values).not.toEqual([]);
  if (value === ">0") expect(Math.min(...values)).toBeGreaterThan(0);
  else expect(values[0]).toBe(value);
});

test("the hash of the configuration is of the ring that holds, in 48 bits of its SHA-256", () => {
  const values = scraped.receive ?? new Map<string, number>();
  expect(found(values, "thanos_receive_config_hash", "", "")).toEqual([configHash]);
});
