/**
 * `torus tools hashring`: where series go. Standard input holds one series a line, a JSON list of [name, value]
 * pairs in the order of the request; each line is answered by its hash and its owners, copy by copy.
 */

import { createInterface } from "node:readline";
import {
  Hashring,
  HashringBuildError,
  HashringConfigError,
  InsufficientNodesError,
  NoMatchingHashringError,
  type Placement,
  parseHashrings,
  seriesHash,
  TenantPatternError,
} from "@torus/hashring";
import { ConfigError, readConfig } from "@torus/server";
import { defineCommand, UsageError } from "../command.ts";
import { flag } from "../flags.ts";

export const toolsHashring = defineCommand({
  name: "tools hashring",
  summary: "print the owners of the series on standard input",
  flags: {
    "hashrings-file": flag.string("Path of hashrings.json.", { default: "" }),
    hashrings: flag.string("The hashrings as JSON, instead of a file.", { default: "" }),
    "replication-factor": flag.integer("Copies of each series.", { default: "1" }),
    algorithm: flag.string("Algorithm of hashrings that name none: hashmod or ketama.", {
      default: "hashmod",
    }),
    tenant: flag.string("Tenant that the series belong to.", { default: "default-tenant" }),
  },
  run: async (config, env) => {
    const placement = await placementOf({
      file: config["hashrings-file"],
      inline: config.hashrings,
      replicationFactor: config["replication-factor"],
      algorithm: config.algorithm,
      tenant: config.tenant,
    });
    let number = 0;
    for await (const line of createInterface({ input: env.stdin, crlfDelay: Infinity })) {
      number++;
      if (line.trim() === "") continue;
      const labels = readLabels(line, number);
      env.stdout.write(`${answer(placement, seriesHash(config.tenant, labels))}\n`);
    }
    return 0;
  },
});

async function placementOf(options: {
  file: string;
  inline: string;
  replicationFactor: number;
  algorithm: string;
  tenant: string;
}): Promise<Placement> {
  const { file, inline, replicationFactor, algorithm, tenant } = options;
  if (replicationFactor < 1) throw new UsageError("--replication-factor must be at least 1");
  try {
    const text = await readConfig("hashrings", { file, inline });
    if (text === undefined) throw new UsageError("--hashrings-file is missing");
    const placement = new Hashring(parseHashrings(text), {
      algorithm,
      replicationFactor,
    }).placement(tenant);
    const missing = placement.missingCopy(replicationFactor - 1);
    if (missing !== undefined) throw missing;
    return placement;
  } catch (error) {
    const expected =
      error instanceof ConfigError ||
      error instanceof HashringConfigError ||
      error instanceof HashringBuildError ||
      error instanceof InsufficientNodesError ||
      error instanceof NoMatchingHashringError ||
      error instanceof TenantPatternError;
    if (!expected) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}

function readLabels(line: string, number: number): string[] {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new UsageError(`line ${number}: ${(error as Error).message}`, { cause: error });
  }
  const isPair = (each: unknown): each is [string, string] =>
    Array.isArray(each) && each.length === 2 && each.every((part) => typeof part === "string");
  if (!Array.isArray(value) || !value.every(isPair)) {
    throw new UsageError(`line ${number}: want a list of [name, value] pairs`);
  }
  return value.flat();
}

function answer(placement: Placement, hash: bigint): string {
  const { copies, owners, endpoints } = placement;
  const section = placement.section(Number(hash & 0xffff_ffffn), Number(hash >> 32n));
  const addresses = Array.from(
    owners.subarray(section * copies, (section + 1) * copies),
    (index) => endpoints[index]?.address,
  );
  return JSON.stringify({ hash: String(hash), endpoints: addresses });
}
