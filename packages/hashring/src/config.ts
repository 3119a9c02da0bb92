/**
 * hashrings.json, as Thanos reads it (Thanos, docs/components/receive.md): an array of hashrings, the first whose tenants match
 * wins. Error texts are those of Thanos, whose users search for them; unknown keys are skipped, as there.
 */

export type Endpoint = {
  address: string;
  /** Only kept: torus forwards by gRPC. */
  capnprotoAddress: string;
  az: string;
};

/** `hashmod` or `ketama`. Thanos takes any other word for hashmod; `Hashring.validate` refuses it. */
export type Algorithm = string;

export type TenantMatcher = { tenants: readonly string[]; type: string };

export type ShuffleShardingConfig = {
  /** Nodes of a tenant; 0 for no shuffle sharding. */
  shardSize: number;
  /** Tenants whose ring is kept. */
  cacheSize: number;
  zoneAwarenessDisabled: boolean;
  overrides: readonly (TenantMatcher & { shardSize: number })[];
};

export type HashringConfig = TenantMatcher & {
  hashring: string;
  endpoints: readonly Endpoint[];
  /** "" for the one given on the command line. */
  algorithm: Algorithm;
  externalLabels: Readonly<Record<string, string>>;
  shuffleSharding: ShuffleShardingConfig;
};

export class HashringConfigError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "HashringConfigError";
  }
}

const DEFAULT_CAPNPROTO_PORT = "19391";
const DEFAULT_CACHE_SIZE = 100;

/** @throws {HashringConfigError} */
export function parseHashrings(text: string): HashringConfig[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new HashringConfigError(syntaxText(text, error as SyntaxError));
  }
  if (value === null) return [];
  if (!Array.isArray(value)) {
    throw new HashringConfigError(
      `json: cannot unmarshal ${kindOf(value)} into Go value of type []receive.HashringConfig`,
    );
  }
  return value.map(readHashring);
}

/** Also refuses what is no usable configuration of a running receiver: an empty file or list. */
export function parseHashringsFile(text: string): HashringConfig[] {
  const configs = text.trim() === "" ? [] : parseHashrings(text);
  if (configs.length === 0) throw new HashringConfigError("configuration file is empty");
  return configs;
}

function readHashring(value: unknown): HashringConfig {
  const fields = new Fields(value, "", "HashringConfig", "receive.HashringConfig");
  const shuffle = new Fields(
    fields.value("shuffle_sharding_config"),
    "shuffle_sharding_config.",
    "HashringConfig",
    "receive.ShuffleShardingConfig",
  );
  return {
    hashring: fields.string("hashring"),
    tenants: fields.strings("tenants"),
    type: fields.string("tenant_matcher_type"),
    endpoints: fields.list("endpoints", "receive.endpointAlias").map(readEndpoint),
    algorithm: fields.string("algorithm"),
    externalLabels: fields.stringMap("external_labels"),
    shuffleSharding: {
      shardSize: shuffle.integer("shard_size"),
      cacheSize: shuffle.integer("cache_size") || DEFAULT_CACHE_SIZE,
      zoneAwarenessDisabled: shuffle.boolean("zone_awareness_disabled"),
      overrides: shuffle.list("overrides", "receive.ShuffleShardingOverrideConfig").map((each) => {
        const path = "shuffle_sharding_config.overrides.";
        const name = "receive.ShuffleShardingOverrideConfig";
        const override = new Fields(each, path, "HashringConfig", name);
        return {
          shardSize: override.integer("shard_size"),
          tenants: override.strings("tenants"),
          type: override.string("tenant_matcher_type"),
        };
      }),
    },
  };
}

function readEndpoint(value: unknown): Endpoint {
  let address: string;
  let capnprotoAddress = "";
  let az = "";
  if (typeof value === "string") address = value;
  else {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new HashringConfigError(
        `json: cannot unmarshal ${kindOf(value)} into Go struct field HashringConfig.endpoints of type receive.endpointAlias`,
      );
    }
    const fields = new Fields(value, "endpoints.", "HashringConfig", "receive.endpointAlias");
    address = fields.string("address");
    capnprotoAddress = fields.string("capnproto_address");
    az = fields.string("az");
  }
  if (address === "") throw new HashringConfigError("endpoint address must be set");
  if (capnprotoAddress === "") {
    capnprotoAddress = `${address.split(":", 1)[0]}:${DEFAULT_CAPNPROTO_PORT}`;
  }
  return { address, capnprotoAddress, az };
}

/** One JSON object read field by field; null and absent fields have their type's zero value, as in Go. */
class Fields {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #struct: string;

  constructor(value: unknown, path: string, struct: string, goType: string) {
    this.#path = path;
    this.#struct = struct;
    if (value === undefined || value === null) this.#object = {};
    else if (typeof value === "object" && !Array.isArray(value)) {
      this.#object = value as Record<string, unknown>;
    } else {
      const field = path === "" ? "value" : `struct field ${struct}.${path.slice(0, -1)}`;
      throw new HashringConfigError(
        `json: cannot unmarshal ${kindOf(value)} into Go ${field} of type ${goType}`,
      );
    }
  }

  value(name: string): unknown {
    return this.#object[name] ?? undefined;
  }

  string(name: string): string {
    return this.#typed(name, "string", "string") ?? "";
  }

  integer(name: string): number {
    const value = this.#typed(name, "number", "int") ?? 0;
    if (!Number.isSafeInteger(value)) throw this.#wrong(name, `number ${value}`, "int");
    if (value < 0) throw new HashringConfigError(`${this.#path}${name} is negative: ${value}`);
    return value;
  }

  boolean(name: string): boolean {
    return this.#typed(name, "boolean", "bool") ?? false;
  }

  strings(name: string): string[] {
    return this.list(name, "string").map((each) => {
      if (typeof each !== "string") throw this.#wrong(name, kindOf(each), "string");
      return each;
    });
  }

  list(name: string, elementType: string): readonly unknown[] {
    const value = this.value(name) ?? [];
    if (!Array.isArray(value)) throw this.#wrong(name, kindOf(value), `[]${elementType}`);
    return value as unknown[];
  }

  stringMap(name: string): Record<string, string> {
    const value = this.value(name) ?? {};
    if (typeof value !== "object" || Array.isArray(value)) {
      throw this.#wrong(name, kindOf(value), "map[string]string");
    }
    const out: Record<string, string> = {};
    for (const [key, each] of Object.entries(value as Record<string, unknown>)) {
      if (typeof each !== "string") throw this.#wrong(name, kindOf(each), "string");
      out[key] = each;
    }
    return out;
  }

  #typed(name: string, type: "string", goType: string): string | undefined;
  #typed(name: string, type: "number", goType: string): number | undefined;
  #typed(name: string, type: "boolean", goType: string): boolean | undefined;
  #typed(name: string, type: string, goType: string): unknown {
    const value = this.value(name);
    if (value !== undefined && typeof value !== type) {
      throw this.#wrong(name, kindOf(value), goType);
    }
    return value;
  }

  #wrong(name: string, kind: string, goType: string): HashringConfigError {
    return new HashringConfigError(
      `json: cannot unmarshal ${kind} into Go struct field ${this.#struct}.${this.#path}${name} of type ${goType}`,
    );
  }
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "array";
  if (value === null) return "null";
  return typeof value === "boolean" ? "bool" : typeof value;
}

function syntaxText(text: string, error: SyntaxError): string {
  const position = /position (\d+)/.exec(error.message);
  const isCut =
    error.message.startsWith("Unexpected end") ||
    error.message.startsWith("Unterminated") ||
    (position !== null && Number(position[1]) >= text.trimEnd().length);
  return isCut ? "unexpected end of JSON input" : `invalid JSON: ${error.message}`;
}
