/**
 * Who may speak for which tenants: bearer tokens, certificates and the users of the web configuration.
 *
 *     tokens:
 *       - sha256: 2bb80d53…             # of the token; sha256sum prints it
 *         tenants: [team-a, team-b-*]   # * stands for any characters
 *     certificates:
 *       - common_name: agent-1          # or organization, organizational_unit, dns_name
 *         tenants: [team-a]
 *     users:
 *       - name: alice
 *         tenants: ["*"]
 *
 * With such a file a listener takes no request without one of these. Certificates count only where the listener
 * verifies them.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { PeerCertificate } from "node:tls";
import { parse } from "yaml";
import { ConfigError } from "./config-file.ts";

export type TenantPatterns = (tenant: string) => boolean;

const CERTIFICATE_FIELDS = [
  "common_name",
  "organization",
  "organizational_unit",
  "dns_name",
] as const;
type CertificateField = (typeof CERTIFICATE_FIELDS)[number];

export class Access {
  readonly #tokens: { sha256: Buffer; tenants: TenantPatterns }[] = [];
  readonly #certificates: { field: CertificateField; value: string; tenants: TenantPatterns }[] =
    [];
  readonly #users = new Map<string, TenantPatterns>();

  /** @throws {ConfigError} */
  constructor(text: string) {
    let value: unknown;
    try {
      value = parse(text);
    } catch (error) {
      throw new ConfigError("access configuration", { cause: error });
    }
    const all = mapping(value ?? {}, "the document", ["tokens", "certificates", "users"]);
    for (const [i, each] of entries(all.tokens, "tokens")) {
      const entry = mapping(each, `tokens[${i}]`, ["sha256", "tenants"]);
      const { sha256 } = entry;
      if (typeof sha256 !== "string" || !/^[0-9a-fA-F]{64}$/.test(sha256)) {
        throw new ConfigError(`access configuration: tokens[${i}].sha256 is no SHA-256 in hex`);
      }
      this.#tokens.push({ sha256: Buffer.from(sha256, "hex"), tenants: patterns(entry, "tokens") });
    }
    for (const [i, each] of entries(all.certificates, "certificates")) {
      const at = `certificates[${i}]`;
      const entry = mapping(each, at, [...CERTIFICATE_FIELDS, "tenants"]);
      const [field, ...others] = CERTIFICATE_FIELDS.filter((name) => entry[name] !== undefined);
      const name = field === undefined ? undefined : entry[field];
      if (field === undefined || others.length > 0 || typeof name !== "string" || name === "") {
        const want = CERTIFICATE_FIELDS.join(", ");
        throw new ConfigError(`access configuration: ${at} needs one of ${want}`);
      }
      this.#certificates.push({ field, value: name, tenants: patterns(entry, at) });
    }
    for (const [i, each] of entries(all.users, "users")) {
      const entry = mapping(each, `users[${i}]`, ["name", "tenants"]);
      if (typeof entry.name !== "string" || entry.name === "") {
        throw new ConfigError(`access configuration: users[${i}].name is not a string`);
      }
      this.#users.set(entry.name, patterns(entry, `users[${i}]`));
    }
  }

  get hasTokens(): boolean {
    return this.#tokens.length > 0;
  }

  ofToken(token: string): TenantPatterns | undefined {
    const digest = createHash("sha256").update(token).digest();
    // Digests are compared, so the time tells nothing of a token.
    return this.#tokens.find(({ sha256 }) => timingSafeEqual(sha256, digest))?.tenants;
  }

  ofUser(name: string): TenantPatterns | undefined {
    return this.#users.get(name);
  }

  ofCertificate(certificate: PeerCertificate): TenantPatterns | undefined {
    const all = this.#certificates.filter(({ field, value }) =>
      certificateNames(certificate, field).includes(value),
    );
    if (all.length === 0) return undefined;
    return (tenant) => all.some(({ tenants }) => tenants(tenant));
  }
}

/** What a certificate says under one field; a field that is given several times has several names. */
export function certificateNames(
  certificate: PeerCertificate,
  field: CertificateField,
): readonly string[] {
  const { subject } = certificate;
  switch (field) {
    case "common_name":
      return several(subject?.CN);
    case "organization":
      return several(subject?.O);
    case "organizational_unit":
      return several(subject?.OU);
    case "dns_name":
      return subjectAlternativeNames(certificate, "DNS");
  }
}

/** Node gives an array where a name stands several times, whatever its types say. */
function several(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === "string" ? [value] : value;
}

/** `DNS:a.example, IP Address:10.0.0.1` as Node writes them; names with commas are quoted, and match nothing. */
export function subjectAlternativeNames(
  { subjectaltname }: PeerCertificate,
  kind?: "DNS",
): readonly string[] {
  const out: string[] = [];
  for (const each of (subjectaltname ?? "").split(", ")) {
    const colon = each.indexOf(":");
    if (colon < 0) continue;
    if (kind === undefined || each.slice(0, colon) === kind) out.push(each.slice(colon + 1));
  }
  return out;
}

function patterns(entry: Readonly<Record<string, unknown>>, at: string): TenantPatterns {
  const { tenants } = entry;
  if (!Array.isArray(tenants) || tenants.some((each) => typeof each !== "string")) {
    throw new ConfigError(`access configuration: ${at}.tenants is not a list of strings`);
  }
  const tests = (tenants as string[]).map(globTest);
  return (tenant) => tests.some((test) => test(tenant));
}

/** `*` for any characters; in time linear in the tenant for each star. */
function globTest(pattern: string): TenantPatterns {
  const parts = pattern.split("*");
  const [first = ""] = parts;
  if (parts.length === 1) return (tenant) => tenant === first;
  const last = parts.at(-1) as string;
  const middle = parts.slice(1, -1);
  return (tenant) => {
    if (tenant.length < first.length + last.length) return false;
    if (!tenant.startsWith(first) || !tenant.endsWith(last)) return false;
    let at = first.length;
    for (const part of middle) {
      const found = tenant.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return at <= tenant.length - last.length;
  };
}

function mapping(
  value: unknown,
  at: string,
  keys: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ConfigError(`access configuration: ${at} is not a mapping`);
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new ConfigError(`access configuration: field ${unknown} not found in ${at}`);
  }
  return value as Record<string, unknown>;
}

function entries(value: unknown, at: string): IterableIterator<[number, unknown]> {
  if (value === undefined || value === null) return [].entries();
  if (!Array.isArray(value)) throw new ConfigError(`access configuration: ${at} is not a list`);
  return (value as unknown[]).entries();
}
