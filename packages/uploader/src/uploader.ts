/**
 * `torus uploader`: ships the blocks of one or several `--tsdb.path`, in rounds. Every TSDB directory has a shipper of
 * its own; one that fails does not hold up the others.
 */

import type { Bucket } from "@torus/objstore";
import type { TsdbDirectory } from "./directories.ts";
import { findTsdbDirectories } from "./directories.ts";
import { readExternalLabels } from "./external-labels.ts";
import type { ShipperEvent } from "./shipper.ts";
import { Shipper } from "./shipper.ts";

export type UploaderOptions = {
  paths: readonly string[];
  /** From `--label`. Empty: those found in the directory are used. */
  labels: Readonly<Record<string, string>>;
  /** The label that carries the tenant, where the directory does not say. */
  tenantLabelName: string;
  hashFunc: "" | "SHA256";
  uploadCompacted: boolean;
  allowOutOfOrderUploads: boolean;
  now: () => number;
  onEvent: (directory: TsdbDirectory, event: ShipperEvent) => void;
};

export type SyncResult = {
  uploaded: number;
  directories: number;
  /** By directory. */
  errors: ReadonlyMap<string, Error>;
};

export class Uploader {
  readonly #bucket: Bucket;
  readonly #options: UploaderOptions;
  readonly #shippers = new Map<string, { shipper: Shipper; labels: Record<string, string> }>();

  constructor(bucket: Bucket, options: UploaderOptions) {
    this.#bucket = bucket;
    this.#options = options;
  }

  /** One round over all directories. Rejects only when `signal` is aborted. */
  async sync(signal?: AbortSignal): Promise<SyncResult> {
    const errors = new Map<string, Error>();
    const seen = new Set<string>();
    let uploaded = 0;
    for (const root of this.#options.paths) {
      try {
        for (const found of await findTsdbDirectories(root)) {
          signal?.throwIfAborted();
          seen.add(found.dir);
          try {
            const shipper = await this.#shipperOf(root, found);
            uploaded += await shipper.sync(signal);
          } catch (error) {
            signal?.throwIfAborted();
            // A tenant's directory that was removed since it was found has nothing to ship.
            if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
            errors.set(found.dir, error as Error);
          }
        }
      } catch (error) {
        signal?.throwIfAborted();
        errors.set(root, error as Error);
      }
    }
    for (const [dir, { shipper }] of this.#shippers) {
      if (seen.has(dir)) continue;
      this.#shippers.delete(dir);
      await shipper.close();
    }
    return { uploaded, directories: seen.size, errors };
  }

  async close(): Promise<void> {
    for (const { shipper } of this.#shippers.values()) await shipper.close();
    this.#shippers.clear();
  }

  async #shipperOf(root: string, found: TsdbDirectory): Promise<Shipper> {
    const labels = await this.#labelsOf(root, found);
    const known = this.#shippers.get(found.dir);
    if (known !== undefined) {
      known.labels = labels;
      return known.shipper;
    }
    const { hashFunc, uploadCompacted, allowOutOfOrderUploads, now, onEvent } = this.#options;
    const shipper = new Shipper(this.#bucket, found.dir, {
      labels: () => this.#shippers.get(found.dir)?.labels ?? labels,
      source: found.tenant === undefined ? "sidecar" : "receive",
      hashFunc,
      uploadCompacted,
      allowOutOfOrderUploads,
      now,
      onEvent: (event) => onEvent(found, event),
    });
    this.#shippers.set(found.dir, { shipper, labels });
    return shipper;
  }

  async #labelsOf(root: string, found: TsdbDirectory): Promise<Record<string, string>> {
    const { labels, tenantLabelName } = this.#options;
    const written = await readExternalLabels(root);
    const external = Object.keys(labels).length > 0 ? labels : (written?.labels ?? {});
    if (found.tenant === undefined) return { ...external };
    // A tenant's name alone would not tell two receivers' copies apart, so it does not count as a label.
    if (Object.keys(external).length === 0) return {};
    return { ...external, [written?.tenantLabelName ?? tenantLabelName]: found.tenant };
  }
}
