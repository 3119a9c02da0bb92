import { expect, test } from "vitest";
import { type Dns, resolveEndpoint, systemDns } from "./endpoint-addresses.ts";

const HOSTS: Record<string, string[]> = {
  "store.example": ["10.0.0.2", "10.0.0.1", "fd00::1"],
  "a.example": ["10.0.0.3"],
  "b.example": ["10.0.0.4", "10.0.0.3"],
};
const dns: Dns = {
  addresses: (host) =>
    HOSTS[host] === undefined
      ? Promise.reject(new Error(`ENOTFOUND ${host}`))
      : Promise.resolve(HOSTS[host]),
  services: () =>
    Promise.resolve([
      { name: "b.example", port: 10901 },
      { name: "a.example", port: 10901 },
    ]),
};

test.each<[address: string, found: string[]]>([
  ["store.example:10901", ["store.example:10901"]],
  ["[::1]:10901", ["[::1]:10901"]],
  ["dns+store.example:10901", ["10.0.0.1:10901", "10.0.0.2:10901", "[fd00::1]:10901"]],
  ["dnsdualstack+a.example:1", ["10.0.0.3:1"]],
  ["dnssrv+_grpc._tcp.store.example", ["10.0.0.3:10901", "10.0.0.4:10901"]],
  ["dnssrv+_grpc._tcp.store.example:7", ["10.0.0.3:7", "10.0.0.4:7"]],
  ["dnssrvnoa+_grpc._tcp.store.example", ["a.example:10901", "b.example:10901"]],
])("%s stands for %j", async (address, found) =>
  expect(await resolveEndpoint(address, dns)).toEqual(found),
);

test.each([
  ["store.example", "has no port"],
  ["dns+store.example", "has no port"],
  ["dns+:10901", "has no host"],
  ["http+store.example:1", "the prefix http+"],
  ["a:b:c", "no HOST:PORT"],
])("%s is refused", async (address, what) => {
  await expect(resolveEndpoint(address, dns)).rejects.toThrow(what);
});

test("the machine's own names are found", async () => {
  expect(await resolveEndpoint("dns+localhost:1", systemDns)).toContain("127.0.0.1:1");
});
