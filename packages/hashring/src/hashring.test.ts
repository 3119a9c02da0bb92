import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Algorithm, parseHashrings, parseHashringsFile } from "./config.ts";
import { GoRandom } from "./go-random.ts";
import { GO_RANDOM_WORDS } from "./go-random-table.ts";
import { HashmodRing } from "./hashmod.ts";
import { Hashring } from "./hashring.ts";
import { KetamaRing } from "./ketama.ts";
import { seriesHash } from "./series-hash.ts";
import { shuffleSeed } from "./shuffle-shard.ts";

type Series = { labels?: [string, string][]; labels_hex?: [string, string][] };
type GoldenEndpoint = { address: string; capnproto_address: string; az: string };
type Case = {
  name: string;
  algorithm: Algorithm;
  replication_factor: number;
  config?: unknown;
  config_text?: string;
  parse_error?: string;
  error?: string;
  parsed_endpoints?: (GoldenEndpoint[] | null)[];
  parsed_external_labels?: Record<string, string>[];
  nodes?: GoldenEndpoint[];
  first_sections?: { hash: string; address: string; replicas: string[] }[];
  sections_total?: number;
  tenants?: {
    tenant: string;
    series_from: number;
    series_to: number;
    picks?: number[][] | null;
    error_at_n: Record<string, string>;
  }[];
};
type Golden = {
  series: Series[];
  hashes: Record<string, string[]>;
  cases: Case[];
  shuffle_seeds: Record<string, string>;
};

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden");
const golden = JSON.parse(readFileSync(path.join(GOLDEN, "hashring.json"), "utf8")) as Golden;

function labelsOf(series: Series): (string | Uint8Array)[] {
  if (series.labels_hex !== undefined) {
    return series.labels_hex.flat().map((hex) => Buffer.from(hex, "hex"));
  }
  return (series.labels ?? []).flat();
}

function split(hash: bigint): [low: number, high: number] {
  return [Number(hash & 0xffff_ffffn), Number(hash >> 32n)];
}

function thrown(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The address of copy n, or what stops it. */
function owner(ring: Hashring, tenant: string, hash: bigint, n: number): string {
  try {
    const placement = ring.placement(tenant);
    const missing = placement.missingCopy(n);
    if (missing !== undefined) return `error: ${missing.message}`;
    const section = placement.section(...split(hash));
    const index = placement.owners[section * placement.copies + n] as number;
    return placement.endpoints[index]?.address ?? "no endpoint";
  } catch (error) {
    return `error: ${(error as Error).message}`;
  }
}

test.each(Object.keys(golden.hashes))("series hashes of tenant %j are Thanos'", (tenant) => {
  const hashes = golden.series.map((series) => String(seriesHash(tenant, labelsOf(series))));
  expect(hashes).toEqual(golden.hashes[tenant]);
});

test("draws of shuffle sharding are those of Go's math/rand", () => {
  const table = JSON.parse(readFileSync(path.join(GOLDEN, "go-math-rand.json"), "utf8")) as {
    cooked: string[];
  };
  const words = GO_RANDOM_WORDS.trim().split(/\s+/);
  expect(words).toEqual(
    table.cooked.map((word) => BigInt.asUintN(64, BigInt(word)).toString(16).padStart(16, "0")),
  );
  for (const [key, text] of Object.entries(golden.shuffle_seeds)) {
    const [tenant = "", zone = ""] = key.split("|");
    const seed = shuffleSeed(tenant, zone);
    const random = new GoRandom(seed);
    const draws = [0, 1, 2, 3].map(() => random.uint64()).join(",");
    expect(`seed=${seed} uint64s=${draws}`).toBe(text);
  }
});

describe("cases that Thanos ran", () => {
  test.each(golden.cases.map((each) => [each.name, each] as const))("%s", (_, each) => {
    const text = each.config_text ?? JSON.stringify(each.config);
    expect(thrown(() => parseHashrings(text))).toBe(each.parse_error);
    if (each.parse_error !== undefined) return;
    const configs = parseHashrings(text);
    const endpoints = configs.map((config) =>
      config.endpoints.map(({ address, capnprotoAddress, az }) => ({
        address,
        capnproto_address: capnprotoAddress,
        az,
      })),
    );
    expect(endpoints).toEqual((each.parsed_endpoints ?? []).map((list) => list ?? []));
    expect(configs.map((config) => config.externalLabels)).toEqual(
      each.parsed_external_labels ?? [],
    );
    const { algorithm, replication_factor: replicationFactor } = each;
    const build = () => new Hashring(configs, { algorithm, replicationFactor });
    expect(thrown(build)).toBe(each.error);
    if (each.error !== undefined) return;
    const ring = build();
    for (const { tenant, series_from, series_to, picks, error_at_n } of each.tenants ?? []) {
      for (let i = series_from; i < series_to; i++) {
        const hash = seriesHash(tenant, labelsOf(golden.series[i] as Series));
        for (let n = 0; n < replicationFactor; n++) {
          const pick = picks?.[i - series_from]?.[n] ?? -1;
          const address = each.nodes?.[pick]?.address;
          expect(owner(ring, tenant, hash, n), `series ${i}, copy ${n}`).toBe(
            address ?? `error: ${error_at_n[n]}`,
          );
        }
      }
    }
    const [first] = each.first_sections ?? [];
    if (first === undefined) return;
    const placement = ring.placement("default-tenant") as KetamaRing;
    expect(placement.sectionCount).toBe(each.sections_total);
    for (const [i, section] of (each.first_sections ?? []).entries()) {
      const total = each.first_sections?.length ?? 0;
      const at = i < 20 ? i : placement.sectionCount - total + i;
      const { copies } = placement;
      const owners = [...placement.owners.subarray(at * copies, (at + 1) * copies)];
      expect(placement.sectionHash(at)).toBe(BigInt(section.hash));
      expect(owners.map((e) => placement.endpoints[e]?.address)).toEqual(section.replicas);
    }
  });
});

const anyEndpoints = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    address: `node-${i}:10901`,
    capnprotoAddress: "",
    az: "",
  }));

test("hashmod equals 64-bit arithmetic for every hash, also where hash + n wraps round", () => {
  const anyHash = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: 2n ** 64n - 6n, max: 2n ** 64n - 1n }),
  );
  fc.assert(
    fc.property(anyHash, fc.integer({ min: 1, max: 300 }), (hash, count) => {
      const copies = Math.min(count, 5);
      const ring = new HashmodRing(anyEndpoints(count), copies);
      const section = ring.section(...split(hash));
      for (let n = 0; n < copies; n++) {
        const wanted = Number(BigInt.asUintN(64, hash + BigInt(n)) % BigInt(count));
        expect(ring.owners[section * copies + n]).toBe(wanted);
      }
    }),
  );
});

test("ketama finds the first section at or after every hash", () => {
  const ring = new KetamaRing(anyEndpoints(3), 2);
  const hashes = Array.from({ length: ring.sectionCount }, (_, i) => ring.sectionHash(i));
  const linear = (hash: bigint) =>
    Math.max(
      0,
      hashes.findIndex((each) => each >= hash),
    );
  const near = fc
    .tuple(fc.constantFrom(...hashes), fc.bigInt({ min: -1n, max: 1n }))
    .map(([hash, offset]) => BigInt.asUintN(64, hash + offset));
  fc.assert(
    fc.property(fc.oneof(near, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), (hash) => {
      expect(ring.section(...split(hash))).toBe(linear(hash));
    }),
  );
});

test("zones that cannot hold the copies are refused instead of being walked for ever", () => {
  const zones = ["a", "a", "a", "b"];
  const endpoints = anyEndpoints(4).map((each, i) => ({ ...each, az: zones[i] as string }));
  expect(() => new KetamaRing(endpoints, 4)).toThrow(
    'ketama: zones can hold 3 copies of a series, replication factor is 4 (endpoints by zone: "a": 3, "b": 1)',
  );
  expect(new KetamaRing(endpoints, 3).copies).toBe(3);
});

test("what Thanos notices only when it writes is refused before use", () => {
  const validated = (text: string, algorithm: Algorithm, replicationFactor: number) => () =>
    new Hashring(parseHashringsFile(text), { algorithm, replicationFactor }).validate();
  expect(validated('[{"endpoints":["a:1","b:1"]}]', "hashmod", 3)).toThrow(
    "insufficient nodes; have 2, want 3",
  );
  expect(
    validated('[{"tenants":["x["],"tenant_matcher_type":"glob","endpoints":["a:1"]}]', "ketama", 1),
  ).toThrow("tenant pattern x[: syntax error in pattern");
  expect(validated("[]", "ketama", 1)).toThrow("configuration file is empty");
  expect(validated('[{"algorithm":"rendezvous","endpoints":["a:1"]}]', "ketama", 1)).toThrow(
    'unknown hashring algorithm "rendezvous"',
  );
});

test("a tenant's shuffle shard is the same after it was dropped from the cache", () => {
  const text = JSON.stringify([
    {
      endpoints: Array.from({ length: 8 }, (_, i) => `node-${i}:10901`),
      shuffle_sharding_config: { shard_size: 3, cache_size: 1 },
    },
  ]);
  const ring = new Hashring(parseHashrings(text), { algorithm: "ketama", replicationFactor: 2 });
  const first = ring.placement("team-a");
  expect(ring.placement("team-a")).toBe(first);
  ring.placement("team-b");
  expect(ring.placement("team-a")).not.toBe(first);
  expect(ring.placement("team-a").endpoints).toEqual(first.endpoints);
});
