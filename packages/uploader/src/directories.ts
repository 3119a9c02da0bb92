/**
 * The TSDB directories below a `--tsdb.path`. Either the path is one itself (a Prometheus server's), or each folder
 * in it is a tenant's (a receiver's). Looked at again in every round, because tenants come and go.
 */

import { readdir } from "node:fs/promises";
import path from "node:path";
import { isUlid } from "@torus/model";

export type TsdbDirectory = {
  dir: string;
  /** Undefined for a path that is a TSDB directory itself. */
  tenant: string | undefined;
};

/** A missing path has none: the receiver may start after the uploader. */
export async function findTsdbDirectories(root: string): Promise<TsdbDirectory[]> {
  const names = await readFolders(root);
  if (names.some(marksTsdb)) return [{ dir: root, tenant: undefined }];
  const found: TsdbDirectory[] = [];
  for (const tenant of names.sort()) {
    const dir = path.join(root, tenant);
    if (tenant !== "lost+found" && (await readFolders(dir)).some(marksTsdb)) {
      found.push({ dir, tenant });
    }
  }
  return found;
}

function marksTsdb(name: string): boolean {
  return name === "wal" || name === "chunks_head" || isUlid(name);
}

async function readFolders(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
