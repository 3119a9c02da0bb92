/** The flags that name a bucket, shared by the components that have one. */

import { readFile } from "node:fs/promises";
import type { Bucket } from "@torus/objstore";
import {
  BucketConfigError,
  openBucket,
  parseBucketConfig,
  withBucketMetrics,
} from "@torus/objstore";
import type { Registry } from "prom-client";
import { UsageError } from "./command.ts";
import { type Config, flag, flagGroup } from "./flags.ts";

export const objstoreFlags = flagGroup("Bucket", {
  "objstore.config-file": flag.string("Path of the bucket's YAML configuration.", {
    default: "",
    placeholder: "FILE",
  }),
  "objstore.config": flag.string("The configuration itself, instead of its file.", {
    default: "",
    placeholder: "YAML",
  }),
});

/**
 * Opens the bucket that the flags name, its operations counted in `metrics`.
 *
 * @returns undefined when the flags name none.
 * @throws {UsageError} for a configuration that cannot be right.
 */
export async function openConfiguredBucket(
  config: Config<typeof objstoreFlags>,
  metrics: Registry,
): Promise<Bucket | undefined> {
  const file = config["objstore.config-file"];
  const content = config["objstore.config"];
  if (file !== "" && content !== "") {
    throw new UsageError("--objstore.config-file and --objstore.config exclude each other");
  }
  if (file === "" && content === "") return undefined;
  const flagName = file === "" ? "--objstore.config" : `--objstore.config-file=${file}`;
  try {
    const text = file === "" ? content : await readFile(file, "utf8");
    return withBucketMetrics(await openBucket(parseBucketConfig(text)), metrics, Date.now);
  } catch (error) {
    const isUsage =
      error instanceof BucketConfigError || (error as NodeJS.ErrnoException).syscall === "open";
    if (!isUsage) throw error;
    throw new UsageError(`${flagName}: ${(error as Error).message}`);
  }
}

/** As `openConfiguredBucket`, for components that are nothing without a bucket. */
export async function requireBucket(
  config: Config<typeof objstoreFlags>,
  metrics: Registry,
): Promise<Bucket> {
  const bucket = await openConfiguredBucket(config, metrics);
  if (bucket !== undefined) return bucket;
  throw new UsageError("one of --objstore.config-file and --objstore.config is needed");
}
