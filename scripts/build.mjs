/**
 * Builds what runs: the kernels (AssemblyScript to WebAssembly) into packages/kernels/dist, then one bundle
 * per program entry into dist/, with the kernels and the .proto files beside it. `--kernels` stops after the first.
 * Plain JavaScript, because it runs before anything is built.
 */

import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
const at = (...parts) => path.join(root, ...parts);

function buildKernels() {
  const entry = at("packages/kernels/assembly/index.ts");
  if (!existsSync(entry)) return;
  mkdirSync(at("packages/kernels/dist"), { recursive: true });
  const args = [
    at("node_modules/assemblyscript/bin/asc.js"),
    entry,
    "--config",
    at("packages/kernels/asconfig.json"),
    "--target",
    "release",
  ];
  const result = spawnSync(process.execPath, args, {
    cwd: at("packages/kernels"),
    stdio: "inherit",
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

async function bundle() {
  const { build } = await import("esbuild");
  const { version } = JSON.parse(readFileSync(at("package.json"), "utf8"));
  rmSync(at("dist"), { recursive: true, force: true });
  const entryPoints = {
    torus: at("packages/cli/src/main.ts"),
    "storage-worker": at("packages/tsdb/src/cut/storage-worker.ts"),
  };
  const worker = at("packages/query/src/query-worker.ts");
  if (existsSync(worker)) entryPoints["query-worker"] = worker;
  await build({
    entryPoints,
    outdir: at("dist"),
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: false,
    platform: "node",
    target: "node20",
    format: "esm",
    sourcemap: "linked",
    logLevel: "warning",
    define: { "process.env.TORUS_VERSION": JSON.stringify(version) },
    banner: {
      js: [
        "#!/usr/bin/env node",
        'import { createRequire as __createRequire } from "node:module";',
        "const require = __createRequire(import.meta.url);",
      ].join("\n"),
    },
  });
  chmodSync(at("dist/torus.mjs"), 0o755);
  cpSync(at("proto"), at("dist/proto"), { recursive: true });
  if (existsSync(at("packages/kernels/dist/kernels.wasm"))) {
    cpSync(at("packages/kernels/dist/kernels.wasm"), at("dist/kernels.wasm"));
  }
}

buildKernels();
if (!process.argv.includes("--kernels")) await bundle();
