/**
 * Addresses of endpoints that DNS tells (Thanos service discovery docs):
 *
 *     HOST:PORT              as it is
 *     dns+HOST:PORT          each address of the host; dnsdualstack+ likewise, both families
 *     dnssrv+NAME            each address of each target of the SRV record, with the record's port
 *     dnssrvnoa+NAME         each target of the SRV record, by its name
 */

import { lookup, resolve4, resolve6, resolveSrv } from "node:dns/promises";

export type Dns = {
  /** Addresses of a host of both families, without brackets. */
  addresses: (host: string) => Promise<string[]>;
  services: (name: string) => Promise<{ name: string; port: number }[]>;
};

/** What the machine's resolver says, /etc/hosts included; AAAA and A records for both families. */
export const systemDns: Dns = {
  addresses: async (host) => {
    const found = await lookup(host, { all: true });
    const [v4, v6] = await Promise.allSettled([resolve4(host), resolve6(host)]);
    const more = [v4, v6].flatMap((each) => (each.status === "fulfilled" ? each.value : []));
    return [...new Set([...found.map(({ address }) => address), ...more])];
  },
  services: (name) => resolveSrv(name),
};

export class EndpointAddressError extends Error {
  constructor(address: string, what: string) {
    super(`endpoint ${address}: ${what}`);
    this.name = "EndpointAddressError";
  }
}

type Parsed = { kind: "static" | "addresses" | "srv" | "srvnoa"; host: string; port: string };

const KINDS: Readonly<Record<string, Parsed["kind"]>> = {
  dns: "addresses",
  dnsdualstack: "addresses",
  dnssrv: "srv",
  dnssrvnoa: "srvnoa",
};

/** @throws {EndpointAddressError} */
export function parseEndpointAddress(address: string): Parsed {
  const match = /^(?:([a-z]+)\+)?(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(address);
  if (match === null) throw new EndpointAddressError(address, "it is no HOST:PORT");
  const [, prefix, host = "", port = ""] = match;
  const kind = prefix === undefined ? "static" : KINDS[prefix];
  if (kind === undefined) {
    throw new EndpointAddressError(address, `nothing is known of the prefix ${prefix}+`);
  }
  if (host === "") throw new EndpointAddressError(address, "it has no host");
  if (port === "" && (kind === "static" || kind === "addresses")) {
    throw new EndpointAddressError(address, "it has no port");
  }
  return { kind, host, port };
}

/** Sorted, each once. What DNS throws passes. @throws {EndpointAddressError} */
export async function resolveEndpoint(address: string, dns: Dns): Promise<string[]> {
  const { kind, host, port } = parseEndpointAddress(address);
  const at = (each: string, on: string) => `${each.includes(":") ? `[${each}]` : each}:${on}`;
  const addressesOf = async (name: string, on: string) =>
    (await dns.addresses(name)).map((each) => at(each, on));
  switch (kind) {
    case "static":
      return [address];
    case "addresses":
      return unique(await addressesOf(host, port));
    case "srv":
    case "srvnoa": {
      const services = await dns.services(host);
      const lists = await Promise.all(
        services.map(async (each) => {
          const on = port === "" ? String(each.port) : port;
          return kind === "srv" ? addressesOf(each.name, on) : [at(each.name, on)];
        }),
      );
      return unique(lists.flat());
    }
  }
}

function unique(addresses: readonly string[]): string[] {
  return [...new Set(addresses)].sort();
}
