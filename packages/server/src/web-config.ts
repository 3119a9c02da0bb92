/**
 * Prometheus' web configuration (prometheus/exporter-toolkit, docs/web-configuration.md): TLS, passwords and headers
 * of an HTTP listener.
 *
 *     tls_server_config: {cert_file, key_file, client_auth_type, client_ca_file, min_version, max_version, …}
 *     http_server_config: {http2, headers: {X-Frame-Options: deny}}
 *     basic_auth_users: {alice: $2y$10$…}
 *
 * Keys that nobody knows are errors. HTTP/2 is taken as a wish: these listeners speak HTTP/1.1.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import type { SecureVersion } from "node:tls";
import { parse } from "yaml";
import { parseBcrypt } from "./bcrypt.ts";
import { ConfigError } from "./config-file.ts";

/** Go's names for what is asked of a client's certificate. */
export const CLIENT_AUTH_TYPES = [
  "NoClientCert",
  "RequestClientCert",
  "RequireAnyClientCert",
  "VerifyClientCertIfGiven",
  "RequireAndVerifyClientCert",
] as const;
export type ClientAuthType = (typeof CLIENT_AUTH_TYPES)[number];

export type TlsFiles = {
  /** A path, or the PEM text itself. */
  cert: PemSource;
  key: PemSource;
  clientCa: PemSource | null;
  clientAuthType: ClientAuthType;
  /** Names of which one must stand in a client's certificate; empty for any. */
  clientAllowedSans: readonly string[];
  minVersion: SecureVersion;
  maxVersion: SecureVersion;
  /** OpenSSL's list; "" for Node's. */
  ciphers: string;
  /** OpenSSL's list; "" for Node's. */
  curves: string;
  preferServerCiphers: boolean;
};

export type PemSource = { file: string } | { text: string };

export type WebConfig = {
  tls: TlsFiles | null;
  /** bcrypt hashes by name. */
  users: ReadonlyMap<string, string>;
  headers: ReadonlyMap<string, string>;
};

export const NO_WEB_CONFIG: WebConfig = { tls: null, users: new Map(), headers: new Map() };

const TLS_VERSIONS: Readonly<Record<string, SecureVersion>> = {
  TLS10: "TLSv1",
  TLS11: "TLSv1.1",
  TLS12: "TLSv1.2",
  TLS13: "TLSv1.3",
};

const CURVES: Readonly<Record<string, string>> = {
  CurveP256: "prime256v1",
  CurveP384: "secp384r1",
  CurveP521: "secp521r1",
  X25519: "X25519",
};

const HEADERS = [
  "Strict-Transport-Security",
  "X-Content-Type-Options",
  "X-Frame-Options",
  "X-XSS-Protection",
  "Content-Security-Policy",
];

/** @param dir Relative paths in the file start here: the folder of the file. @throws {ConfigError} */
export function parseWebConfig(text: string, dir: string): WebConfig {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new ConfigError("web configuration", { cause: error });
  }
  const all = section(value, "the document", [
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
  ]);
  const http = section(all.http_server_config, "http_server_config", ["http2", "headers"]);
  const headers = new Map<string, string>();
  for (const [name, each] of Object.entries(section(http.headers, "headers", HEADERS))) {
    headers.set(name, textOf(each, `headers.${name}`));
  }
  const users = new Map<string, string>();
  for (const [name, each] of Object.entries(section(all.basic_auth_users, "users", null))) {
    const hash = textOf(each, `basic_auth_users.${name}`);
    try {
      parseBcrypt(hash);
    } catch (error) {
      throw new ConfigError(`web configuration: basic_auth_users.${name}`, { cause: error });
    }
    users.set(name, hash);
  }
  const tls = all.tls_server_config;
  return { tls: tls === undefined || tls === null ? null : tlsFiles(tls, dir), users, headers };
}

const TLS_KEYS = [
  "cert_file",
  "key_file",
  "cert",
  "key",
  "client_auth_type",
  "client_ca_file",
  "client_ca",
  "client_allowed_sans",
  "cipher_suites",
  "curve_preferences",
  "min_version",
  "max_version",
  "prefer_server_cipher_suites",
];

function tlsFiles(value: unknown, dir: string): TlsFiles {
  const tls = section(value, "tls_server_config", TLS_KEYS);
  const pem = (name: string): PemSource | null => {
    const file = tls[`${name}_file`];
    const inline = tls[name];
    if (file !== undefined && inline !== undefined) {
      throw new ConfigError(`web configuration: both ${name} and ${name}_file are given`);
    }
    if (file !== undefined) return { file: path.resolve(dir, textOf(file, `${name}_file`)) };
    return inline === undefined ? null : { text: textOf(inline, name) };
  };
  const cert = pem("cert");
  const key = pem("key");
  if (cert === null || key === null) {
    throw new ConfigError("web configuration: tls_server_config needs cert_file and key_file");
  }
  const clientCa = pem("client_ca");
  const auth = tls.client_auth_type ?? (clientCa === null ? "NoClientCert" : undefined);
  const clientAuthType =
    auth === undefined || auth === "" ? "NoClientCert" : CLIENT_AUTH_TYPES.find((t) => t === auth);
  if (clientAuthType === undefined) {
    throw new ConfigError(`web configuration: invalid client_auth_type: ${JSON.stringify(auth)}`);
  }
  if (clientCa !== null && clientAuthType === "NoClientCert") {
    throw new ConfigError("web configuration: client CA's have been configured without a policy");
  }
  const clientAllowedSans = list(tls.client_allowed_sans, "client_allowed_sans");
  checkVerifies(clientAuthType, clientCa, clientAllowedSans);
  return {
    cert,
    key,
    clientCa,
    clientAuthType,
    clientAllowedSans,
    minVersion: named(TLS_VERSIONS, tls.min_version ?? "TLS12", "min_version"),
    maxVersion: named(TLS_VERSIONS, tls.max_version ?? "TLS13", "max_version"),
    ciphers: cipherList(list(tls.cipher_suites, "cipher_suites")),
    curves: curveList(list(tls.curve_preferences, "curve_preferences")),
    preferServerCiphers: tls.prefer_server_cipher_suites !== false,
  };
}

/** @throws {ConfigError} */
function checkVerifies(
  type: ClientAuthType,
  clientCa: PemSource | null,
  sans: readonly string[],
): void {
  const verifies = type === "VerifyClientCertIfGiven" || type === "RequireAndVerifyClientCert";
  if (verifies && clientCa === null) {
    throw new ConfigError("web configuration: client_auth_type verifies, and needs client_ca_file");
  }
  if (sans.length > 0 && !verifies) {
    throw new ConfigError("web configuration: client_allowed_sans needs a verifying policy");
  }
}

/** `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is OpenSSL's `ECDHE-RSA-AES128-GCM-SHA256`. @throws {ConfigError} */
export function cipherList(names: readonly string[]): string {
  const suites = names.map((name) => {
    // The three suites of TLS 1.3 are called alike.
    if (/^TLS_(AES|CHACHA20)_[A-Z0-9_]+$/.test(name)) return name;
    const match =
      /^TLS_(ECDHE_RSA|ECDHE_ECDSA|RSA)_WITH_(AES_128_GCM|AES_256_GCM|AES_128_CBC|AES_256_CBC|CHACHA20_POLY1305)_(SHA\d*)$/.exec(
        name,
      );
    if (match === null) throw new ConfigError(`web configuration: unknown cipher: ${name}`);
    const [, exchange = "", cipher = "", hash = ""] = match;
    const parts = exchange === "RSA" ? [] : [exchange.replace("_", "-")];
    if (cipher === "CHACHA20_POLY1305") return [...parts, "CHACHA20-POLY1305"].join("-");
    // CBC is what OpenSSL does not name.
    return [
      ...parts,
      cipher.replace("AES_", "AES").replace("_GCM", "-GCM").replace("_CBC", ""),
      hash,
    ].join("-");
  });
  return suites.join(":");
}

/** @throws {ConfigError} */
export function curveList(names: readonly string[]): string {
  return names.map((name) => named(CURVES, name, "curve_preferences")).join(":");
}

/** The PEM text. @throws {ConfigError} */
export function readPem(source: PemSource): string {
  if ("text" in source) return source.text;
  try {
    return readFileSync(source.file, "utf8");
  } catch (error) {
    throw new ConfigError("read a TLS file", { cause: error });
  }
}

type Section = Readonly<Record<string, unknown>>;

function section(value: unknown, at: string, keys: readonly string[] | null): Section {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new ConfigError(`web configuration: ${at} is not a mapping`);
  }
  const unknown = keys === null ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new ConfigError(`web configuration: field ${unknown} not found in ${at}`);
  }
  return value as Section;
}

function textOf(value: unknown, at: string): string {
  if (typeof value === "string") return value;
  throw new ConfigError(`web configuration: ${at} is not a string`);
}

function list(value: unknown, at: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new ConfigError(`web configuration: ${at} is not a list`);
  return value.map((each) => textOf(each, at));
}

function named<T>(names: Readonly<Record<string, T>>, value: unknown, at: string): T {
  const found = typeof value === "string" && Object.hasOwn(names, value) ? names[value] : undefined;
  if (found === undefined) {
    throw new ConfigError(`web configuration: unknown ${at}: ${JSON.stringify(value)}`);
  }
  return found;
}
