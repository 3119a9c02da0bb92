import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { GrpcServer } from "@torus/server";
import { type ClientTls, EndpointSet, openStoreClient, storeMethods } from "@torus/store";
import { Registry } from "prom-client";
import { afterEach, expect, test } from "vitest";
import type { Dns } from "./endpoint-addresses.ts";
import { EndpointSource } from "./endpoint-source.ts";
import { quietLog } from "./synthetic-store.ts";

const running: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop();
});

function open(dns: Dns) {
  const endpoints = new EndpointSet({
    connect: (spec) => openStoreClient(spec, 1 << 20),
    infoIntervalMs: 3_600_000,
    infoTimeoutMs: 5000,
    unhealthyTimeoutMs: 300_000,
    now: Date.now,
    log: quietLog,
  });
  running.push(() => endpoints.stop());
  const source = new EndpointSource({ endpoints, dns, log: quietLog });
  running.push(() => source.stop());
  return { endpoints, source, listed: () => endpoints.listed().map(({ address }) => address) };
}

const none: Dns = {
  addresses: () => Promise.reject(new Error("no DNS")),
  services: () => Promise.reject(new Error("no DNS")),
};

const spec = (address: string, tls: ClientTls | null = null) => ({ address, strict: false, tls });

test("names are followed, one that cannot be resolved stays what it was, and the file is added", async () => {
  let addresses: string[] | null = ["127.0.0.2", "127.0.0.1"];
  const { source, listed } = open({
    ...none,
    addresses: () =>
      addresses === null ? Promise.reject(new Error("SERVFAIL")) : Promise.resolve(addresses),
  });
  await source.setFlags([spec("dns+store:1"), spec("127.0.0.9:1")]);
  expect(listed()).toEqual(["127.0.0.1:1", "127.0.0.2:1", "127.0.0.9:1"]);
  addresses = ["127.0.0.3"];
  await source.refresh();
  expect(listed()).toEqual(["127.0.0.3:1", "127.0.0.9:1"]);
  addresses = null;
  await source.refresh();
  expect(listed()).toEqual(["127.0.0.3:1", "127.0.0.9:1"]);
  await source.setFile([spec("127.0.0.4:1"), spec("127.0.0.9:1")]);
  expect(listed()).toEqual(["127.0.0.3:1", "127.0.0.9:1", "127.0.0.4:1"]);
  addresses = [];
  await source.setFile([]);
  expect(listed()).toEqual(["127.0.0.9:1"]);
});

test("a name that was never resolved is an endpoint that does not answer", async () => {
  const { endpoints, source } = open(none);
  await source.setFlags([spec("dns+store:1")]);
  await endpoints.start();
  const [endpoint] = await endpoints.stores();
  expect(endpoint?.address).toBe("dns+store:1");
  expect(endpoint?.healthy).toBe(false);
});

test("endpoints are asked over TLS, with certificates that may change", async () => {
  const testdata = path.join(import.meta.dirname, "../../server/src/testdata");
  const read = (name: string) => readFileSync(path.join(testdata, name));
  const grpc = new GrpcServer({
    log: quietLog,
    metrics: new Registry(),
    maxMessageBytes: 1 << 20,
    tls: { cert: read("server.pem"), key: read("server-key.pem"), clientCa: read("ca.pem") },
  });
  grpc.add(
    storeMethods({
      componentType: "store",
      sources: () => [],
      ready: () => true,
      openEnded: false,
    }),
  );
  const address = await grpc.listen("127.0.0.1:0");
  running.push(() => grpc.stop(0));
  const dir = mkdtempSync(path.join(tmpdir(), "torus-client-tls-"));
  running.push(() => rmSync(dir, { recursive: true, force: true }));
  const use = (who: string) => {
    copyFileSync(path.join(testdata, `${who}.pem`), path.join(dir, "cert.pem"));
    copyFileSync(path.join(testdata, `${who}-key.pem`), path.join(dir, "key.pem"));
  };
  const tls: ClientTls = {
    certFile: path.join(dir, "cert.pem"),
    keyFile: path.join(dir, "key.pem"),
    caFile: path.join(testdata, "ca.pem"),
    serverName: "localhost",
    skipVerify: false,
  };
  const { endpoints, source } = open(none);
  const healthy = async (wanted: ClientTls | null) => {
    await source.setFlags([spec(address, wanted)]);
    await endpoints.check();
    return endpoints.listed().map((endpoint) => endpoint.healthy);
  };
  use("stranger");
  expect(await healthy(tls)).toEqual([false]);
  use("agent");
  expect(await healthy(tls)).toEqual([true]);
  expect(await healthy(null)).toEqual([false]);
  expect(await healthy({ ...tls, serverName: "elsewhere.example" })).toEqual([false]);
  expect(await healthy({ ...tls, serverName: "elsewhere.example", skipVerify: true })).toEqual([
    true,
  ]);
  await expect(source.setFlags([spec(address, { ...tls, caFile: "/nowhere" })])).rejects.toThrow(
    "open the TLS of gRPC clients",
  );
});
