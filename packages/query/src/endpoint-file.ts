/**
 * The file of --endpoint.sd-config-file (Thanos query docs):
 *
 *     default_client_config: {tls_config: {enabled, insecure_skip_verify, cert_file, key_file, ca_file}, server_name}
 *     endpoints:
 *       - address: dns+store.example:10901
 *         strict: false
 *         client_config: …                     instead of the default one
 */

import type { ClientTls, EndpointSpec } from "@torus/store";
import { parse } from "yaml";
import { parseEndpointAddress } from "./endpoint-addresses.ts";

export class EndpointFileError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(`endpoint configuration: ${message}`, options);
    this.name = "EndpointFileError";
  }
}

/** @param flags The TLS of the flags, where the file says nothing. @throws {EndpointFileError} */
export function parseEndpointFile(text: string, flags: ClientTls | null): EndpointSpec[] {
  let yaml: unknown;
  try {
    yaml = parse(text);
  } catch (error) {
    throw new EndpointFileError("it is no YAML", { cause: error });
  }
  const file = fields(yaml ?? {}, "the file", ["default_client_config", "endpoints"]);
  const common = clientTls(file["default_client_config"], "default_client_config", flags);
  const endpoints = file["endpoints"] ?? [];
  if (!Array.isArray(endpoints)) throw new EndpointFileError("endpoints is no list");
  return endpoints.map((each: unknown, i) => {
    const where = `endpoints[${i}]`;
    const entry = fields(each, where, ["address", "strict", "client_config"]);
    const address = string(entry["address"], `${where}.address`);
    try {
      parseEndpointAddress(address);
    } catch (error) {
      throw new EndpointFileError(`${where}.address is none`, { cause: error });
    }
    const strict = boolean(entry["strict"], `${where}.strict`);
    const tls = clientTls(entry["client_config"], `${where}.client_config`, common);
    return { address, strict, tls };
  });
}

function clientTls(value: unknown, where: string, missing: ClientTls | null): ClientTls | null {
  if (value === undefined || value === null) return missing;
  const client = fields(value, where, ["tls_config", "server_name"]);
  const tls = fields(client["tls_config"] ?? {}, `${where}.tls_config`, [
    "enabled",
    "insecure_skip_verify",
    "cert_file",
    "key_file",
    "ca_file",
  ]);
  if (!boolean(tls["enabled"], `${where}.tls_config.enabled`)) return null;
  return {
    certFile: string(tls["cert_file"], `${where}.tls_config.cert_file`),
    keyFile: string(tls["key_file"], `${where}.tls_config.key_file`),
    caFile: string(tls["ca_file"], `${where}.tls_config.ca_file`),
    serverName: string(client["server_name"], `${where}.server_name`),
    skipVerify: boolean(tls["insecure_skip_verify"], `${where}.tls_config.insecure_skip_verify`),
  };
}

function fields(
  value: unknown,
  where: string,
  known: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new EndpointFileError(`${where} is no mapping`);
  }
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) throw new EndpointFileError(`${where} has no field ${name} here`);
  }
  return value as Record<string, unknown>;
}

function string(value: unknown, where: string): string {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") throw new EndpointFileError(`${where} is no string`);
  return value;
}

function boolean(value: unknown, where: string): boolean {
  if (value === undefined || value === null) return false;
  if (typeof value !== "boolean") throw new EndpointFileError(`${where} is no boolean`);
  return value;
}
