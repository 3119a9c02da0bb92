/**
 * Makes a checkout ready to run or to test: installs the packages when the lock file changed since the last
 * install, builds when a source is newer than the build. Runs with Node and npm alone.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dirname, "..");
const at = (...parts) => path.join(root, ...parts);

/** Modification time in ms of a file, 0 when it is missing. */
function changed(file) {
  return existsSync(file) ? statSync(file).mtimeMs : 0;
}

function newestBelow(dir) {
  let newest = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.name === "node_modules" || entry.name === "dist") continue;
    const file = path.join(dir, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestBelow(file) : changed(file));
  }
  return newest;
}

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (result.status !== 0) {
    process.stderr.write(
      `${command} ${args.join(" ")} ended with status ${result.status ?? result.signal}\n`,
    );
    process.exit(1);
  }
}

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 20)) {
  process.stderr.write(`torus needs Node 20.20 or newer, this is ${process.version}\n`);
  process.exit(1);
}

if (changed(at("node_modules/.package-lock.json")) < changed(at("package-lock.json"))) {
  run("npm", ["ci", "--no-audit", "--no-fund"]);
}
const sources = ["packages", "proto", "scripts"].map((dir) => newestBelow(at(dir)));
const newest = Math.max(...sources, changed(at("package-lock.json")));
if (changed(at("dist/torus.mjs")) < newest) run(process.execPath, [at("scripts/build.mjs")]);
