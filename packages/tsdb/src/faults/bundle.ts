/** Bundles a program under test, and the storage worker on its faulty disk, so that it starts in some tens of milliseconds. */

import { spawnSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import path from "node:path";

const ROOT = path.join(import.meta.dirname, "../../../..");

/** @returns Path of the program, inside `dir`. */
export function bundleUnderTest(source: string, dir: string): string {
  const worker = path.join(import.meta.dirname, "faulty-storage-worker.ts");
  const require = [
    'import { createRequire as __createRequire } from "node:module";',
    "const require = __createRequire(import.meta.url);",
  ].join("");
  const { status, stderr } = spawnSync(
    path.join(ROOT, "node_modules/.bin/esbuild"),
    [
      `program=${source}`,
      `storage-worker=${worker}`,
      `--outdir=${dir}`,
      "--out-extension:.js=.mjs",
      "--bundle",
      "--platform=node",
      "--target=node20",
      "--format=esm",
      "--log-level=warning",
      `--banner:js=${require}`,
    ],
    { cwd: ROOT, encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`bundle ${source}: ${stderr}`);
  copyFileSync(
    path.join(ROOT, "packages/kernels/dist/kernels.wasm"),
    path.join(dir, "kernels.wasm"),
  );
  return path.join(dir, "program.mjs");
}
