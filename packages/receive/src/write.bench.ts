/**
 * A request of 2,000 steady series through decode, route and store, without sockets: what a receiver adds to the
 * head's own cost is the difference between the first case and the head's benchmark.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Hashring, parseHashrings } from "@torus/hashring";
import { GrpcError, GrpcStatus } from "@torus/server";
import { Tsdb } from "@torus/tsdb";
import { Registry } from "prom-client";
import { afterAll, bench, describe } from "vitest";
import { Cause } from "./cause.ts";
import { withSnappyRequest } from "./decode.ts";
import { ForwardedSeries } from "./forwarded-series.ts";
import { createReceiveMetrics } from "./metrics.ts";
import { Peers } from "./peers.ts";
import { quiet, writeBody } from "./test-cluster.ts";
import { Writer } from "./write.ts";

const SERIES = 2000;
/** As many as steps: a sample that comes a second time would be judged, not stored. */
const STEPS = { iterations: 300, time: 0, warmupIterations: 60, warmupTime: 0 };
const BODIES = 400;
const root = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const START = 1_700_000_000_000;
/** Node exporter's sort of labels: some 200 bytes a series. */
function body(at: number): Uint8Array {
  return writeBody(
    Array.from({ length: SERIES }, (_, i) => [
      [
        ["__name__", "node_network_receive_bytes_total"],
        ["cluster", "production-eu-west-1"],
        ["device", `eth${i % 20}`],
        ["instance", `host-${String(Math.floor(i / 20)).padStart(4, "0")}.example.net:9100`],
        ["job", "node-exporter"],
        ["namespace", "monitoring"],
      ].flat(),
      START + at * 15_000,
      at * 1000 + i,
    ]),
  );
}
const bodies = Array.from({ length: BODIES }, (_, i) => body(i));
const tenant = Buffer.from("default-tenant");

async function writer(name: string, endpoints: readonly string[], replicationFactor: number) {
  let step = 0;
  const db = await Tsdb.open({
    dir: path.join(root, name),
    blockDurationMs: 7_200_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "snappy",
    seriesLimit: 0,
    now: () => START + 10 ** 12,
    log: () => undefined,
  });
  const ring = new Hashring(parseHashrings(JSON.stringify([{ endpoints }])), {
    algorithm: "ketama",
    replicationFactor,
  });
  const metrics = createReceiveMetrics(new Registry());
  const peers = new Peers({
    // A peer that takes everything at once: what is measured is this side's work up to the socket.
    connect: (address) => ({
      address,
      unary: () => Promise.resolve(new Uint8Array(0)),
      serverStream: () => {
        throw new GrpcError(GrpcStatus.UNIMPLEMENTED, "no streams here");
      },
      duplex: () => {
        throw new GrpcError(GrpcStatus.UNIMPLEMENTED, "no records here");
      },
      close: () => undefined,
    }),
    records: false,
    timeoutMs: 5000,
    maxBackoffMs: 5000,
    maxInflightBytes: 64 << 20,
    now: Date.now,
    random: Math.random,
  });
  const write = new Writer({
    hashring: () => ring,
    peers,
    forwarded: new ForwardedSeries(Date.now, () => undefined),
    handOff: null,
    localEndpoint: "a:1",
    metrics,
    log: quiet,
    now: Date.now,
  });
  const local = { name: "default-tenant", db, shipper: null };
  return async () => {
    const chunk = bodies[step++ % BODIES] as Uint8Array;
    const { cause } = await withSnappyRequest([chunk], 1 << 24, tenant, (request) =>
      write.write(request, { name: "default-tenant", bytes: tenant, local }, 0),
    );
    if (cause !== Cause.STORED) throw new Error(`step ${step} ended with cause ${cause}`);
  };
}

describe("2,000 series, one sample each", async () => {
  bench("one receiver", await writer("one", ["a:1"], 1), STEPS);
  bench("three receivers, RF 1", await writer("three-1", ["a:1", "b:1", "c:1"], 1), STEPS);
  bench("three receivers, RF 3", await writer("three-3", ["a:1", "b:1", "c:1"], 3), STEPS);
});
