/**
 * One life of a sample on real programs: Debian's Prometheus scrapes Debian's node exporter and remote-writes to
 * one receiver of three (replication factor 2); blocks are cut, uploaded, deleted locally and still answered from
 * the bucket; a receiver is killed with -9 under way and started again. At the end every sample that Prometheus
 * has is found through the query node, once, and ten queries give what Prometheus itself gives.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isUlid } from "@torus/model";
import {
  type Cluster,
  findS3Server,
  freePorts,
  type RunningProcess,
  type S3Server,
  startCluster,
  startProcess,
  startS3Server,
} from "@torus/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, differences, type Series } from "./prometheus-answers.ts";

const has = (program: string) => spawnSync(program, ["--version"]).error === undefined;
const programs = has("prometheus") && has("prometheus-node-exporter");

/** Labels that Prometheus adds on the way out and torus on the way in; Prometheus' own answers have neither. */
const EXTERNAL = new Set(["source", "cluster", "tenant_id", "receive_replica"]);
const SCRAPE_SECONDS = 1;
const LOAD_SECONDS = 45;

const QUERIES = [
  "up",
  "count by (__name__) ({job=~'node|prometheus'})",
  "rate(node_cpu_seconds_total[13s])",
  "sum by (mode) (rate(node_cpu_seconds_total{mode!='idle'}[11s]))",
  "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes * 100",
  "increase(promhttp_metric_handler_requests_total[17s]) > 0",
  "avg_over_time(node_load1[19s]) - max_over_time(node_load1[19s] offset 5s)",
  "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[15s])))",
  "topk(3, irate(process_cpu_seconds_total[9s]))",
  "label_replace(delta(node_entropy_available_bits[21s]), 'host', '$1', 'instance', '([^:]+):.*')",
];

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, seconds: number, holds: () => boolean | Promise<boolean>) {
  for (let i = 0; i < seconds * 4; i++) {
    if (await holds()) return;
    await sleep(250);
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

const BUCKETS = ["directory", "S3"] as const;

describe.skipIf(!programs).each(BUCKETS)(
  "with a bucket in a %s (needs prometheus, prometheus-node-exporter; S3 also weed)",
  (kind) => {
    const weed = kind === "S3" ? findS3Server() : undefined;
    const skip = kind === "S3" && weed === undefined;
    const dir = mkdtempSync(path.join(tmpdir(), "torus-life-"));
    const running: RunningProcess[] = [];
    let s3: S3Server | undefined;
    let cluster: Cluster;
    let prometheus: string;
    let endSeconds = 0;

    beforeAll(async () => {
      if (skip) return;
      s3 = weed === undefined ? undefined : await startS3Server(weed);
      cluster = await startCluster({
        dir,
        receivers: 3,
        replicationFactor: 2,
        blockDuration: "10s",
        retention: "15s",
        ...(s3 === undefined ? {} : { bucketConfig: s3.bucketConfig("torus") }),
      });
      const [nodePort, prometheusPort] = await freePorts(2);
      prometheus = `http://127.0.0.1:${prometheusPort}`;
      running.push(
        await startProcess({
          name: "node-exporter",
          command: "prometheus-node-exporter",
          args: [`--web.listen-address=127.0.0.1:${nodePort}`],
          readyUrl: `http://127.0.0.1:${nodePort}/metrics`,
        }),
      );
      writeFileSync(
        path.join(dir, "prometheus.yml"),
        `global: { scrape_interval: ${SCRAPE_SECONDS}s, external_labels: { source: e2e, cluster: test } }
remote_write: [{ url: "${cluster.receivers[0]?.remoteWriteUrl}", queue_config: { batch_send_deadline: 200ms } }]
scrape_configs:
  - { job_name: node, static_configs: [{ targets: ["127.0.0.1:${nodePort}"] }] }
  - { job_name: prometheus, static_configs: [{ targets: ["127.0.0.1:${prometheusPort}"] }] }
`,
      );
      running.push(
        await startProcess({
          name: "prometheus",
          command: "prometheus",
          args: [
            `--config.file=${path.join(dir, "prometheus.yml")}`,
            `--storage.tsdb.path=${path.join(dir, "prometheus")}`,
            `--web.listen-address=127.0.0.1:${prometheusPort}`,
          ],
          readyUrl: `${prometheus}/-/ready`,
        }),
      );

      await sleep(LOAD_SECONDS * 400);
      const victim = cluster.receivers[1];
      await victim?.kill("SIGKILL");
      await sleep(LOAD_SECONDS * 200);
      await victim?.start();
      await sleep(LOAD_SECONDS * 400);
      endSeconds = Math.floor(Date.now() / 1000) - 8;
      // Every sample up to the end is acknowledged when the queue's oldest unsent sample is younger.
      await until("Prometheus has sent what it has", 60, async () => {
        const [sent] = await ask(prometheus, "query", {
          query: "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        });
        return Number(sent?.value?.[1] ?? 0) > endSeconds + 1;
      });
    }, 240_000);

    afterAll(async () => {
      for (const process of running.reverse()) await process.stop();
      await cluster?.stop();
      await s3?.stop();
      rmSync(dir, { recursive: true, force: true });
    }, 60_000);

    test.skipIf(skip)(
      "blocks reach the bucket and leave the receivers' disks",
      async () => {
        const inBucket = async () => {
          const metrics = await fetch(`${cluster.store.httpUrl}/metrics`).then((r) => r.text());
          return Number(
            /^thanos_bucket_store_blocks_loaded(?:{.*})? (\d+)$/m.exec(metrics)?.[1] ?? 0,
          );
        };
        const onDisk = () =>
          cluster.receivers.flatMap(({ dataDir }) =>
            readdirSync(path.join(dataDir, "default-tenant")).filter(isUlid),
          ).length;
        await until("the store gateway serves blocks of every receiver", 60, async () => {
          return (await inBucket()) >= 9;
        });
        // Two copies of each of at least three ranges are there, and local disks keep 15 s.
        expect(onDisk()).toBeLessThan(await inBucket());
      },
      180_000,
    );

    test.skipIf(skip)(
      "every sample that Prometheus has is found through the query node, once",
      async () => {
        const window = { query: "{job=~'.+'}[90s]", time: String(endSeconds) };
        const expected = await ask(prometheus, "query", window);
        expect(expected.length).toBeGreaterThan(300);
        let wrong: string[] = [];
        let got: Series[] = [];
        await until("the store gateway serves what the receivers deleted", 60, async () => {
          got = await ask(cluster.queryUrl, "query", window);
          wrong = differences(expected, got, EXTERNAL);
          return wrong.length === 0;
        }).catch(() => undefined);
        expect(wrong.slice(0, 10)).toEqual([]);
        expect(got).toHaveLength(expected.length);
      },
      90_000,
    );

    test.skipIf(skip).each(QUERIES)("%s equals Prometheus' own answer", async (query) => {
      // Prometheus 2.42 closes its windows on the left: off the scrape instants both are the same.
      const scrapes = await ask(prometheus, "query", {
        query: "up[10s]",
        time: String(endSeconds),
      });
      const taken = new Set(
        scrapes.flatMap(({ values }) => (values ?? []).map(([t]) => Math.round(t * 1000) % 1000)),
      );
      const free = Array.from({ length: 1000 }, (_, ms) => ms).find(
        (ms) => ![...taken].some((t) => Math.min(Math.abs(t - ms), 1000 - Math.abs(t - ms)) < 60),
      );
      const end = endSeconds - 1 + (free ?? 0) / 1000;
      // Windows that reach back before the first scrape are left out: near a counter's beginning Prometheus 3, whose
      // rules are ours, extrapolates at most half a scrape, and 2.42 up to a whole one.
      const range = { query, start: String(end - 12), end: String(end), step: "4" };
      const expected = await ask(prometheus, "query_range", range);
      expect(expected.length).toBeGreaterThan(0);
      expect(
        differences(expected, await ask(cluster.queryUrl, "query_range", range), EXTERNAL),
      ).toEqual([]);
    });
  },
);
