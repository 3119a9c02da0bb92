/**
 * The processes that a demo left behind when it was killed itself: written down at the start, asked about when the
 * next demo finds its ports taken.
 */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

const FILE = "demo-pids.json";

export function writePids(dataDir: string, pids: readonly number[]): void {
  writeFileSync(path.join(dataDir, FILE), JSON.stringify(pids));
}

export function removePids(dataDir: string): void {
  rmSync(path.join(dataDir, FILE), { force: true });
}

/** Those that still run over this directory; none when nothing is known. */
export function leftOverPids(dataDir: string): number[] {
  let pids: unknown;
  try {
    pids = JSON.parse(readFileSync(path.join(dataDir, FILE), "utf8"));
  } catch {
    // Missing, as after a clean stop, or torn: either way nothing is known.
    return [];
  }
  if (!Array.isArray(pids)) return [];
  return pids.filter((pid): pid is number => Number.isInteger(pid) && runsOver(pid, dataDir));
}

/** The number may be another program's by now, so its command line has to name the directory where it can be read. */
function runsOver(pid: number, dataDir: string): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(dataDir);
  } catch {
    // No /proc, as on macOS: alive is all that can be said.
    return true;
  }
}
