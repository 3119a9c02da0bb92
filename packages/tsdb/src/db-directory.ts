/** A data directory before it is read: what a killed writer or a Prometheus server left that we do not go on with. */

import { readdirSync } from "node:fs";
import path from "node:path";
import { isUnfinishedSnapshot } from "./db-snapshot.ts";
import { files } from "./files.ts";

/** Makes the directory ready for its writer. */
export function prepareDirectory(dir: string): void {
  removeUnfinished(dir);
  files.makeDirectory(path.join(dir, "wal"));
  removeMappedChunks(dir);
}

/** Directories that a killed writer left half made or half deleted. */
function removeUnfinished(dir: string): void {
  for (const parent of [dir, path.join(dir, "wal")]) {
    let names: string[];
    try {
      names = readdirSync(parent);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    for (const name of names) {
      const isUnfinished =
        /\.tmp-for-(creation|deletion)$/.test(name) ||
        /^checkpoint\.\d+\.tmp$/.test(name) ||
        isUnfinishedSnapshot(name);
      if (isUnfinished) {
        files.remove(path.join(parent, name));
      }
    }
  }
}

/**
 * A Prometheus server leaves copies of head chunks here. All they hold is in the log, and a later server would
 * put them under refs that we may give out again.
 */
function removeMappedChunks(dir: string): void {
  const mapped = path.join(dir, "chunks_head");
  files.makeDirectory(mapped);
  for (const name of readdirSync(mapped))
    if (/^\d{6}$/.test(name)) files.unlink(path.join(mapped, name));
}
