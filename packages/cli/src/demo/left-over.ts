/**
 * The processes that a demo left behind when it was killed itself: written down at the start, asked about when the
 * next demo finds its ports taken.
 */

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

const FILE = "demo-pids.json";

/** A process and the address of its HTTP, which its command line has. */
export type StartedProcess = { pid: number; http: string };

export function writePids(dataDir: string, processes: readonly StartedProcess[]): void {
  writeFileSync(path.join(dataDir, FILE), JSON.stringify(processes));
}

export function removePids(dataDir: string): void {
  rmSync(path.join(dataDir, FILE), { force: true });
}

/** Those that still run over this directory; none when nothing is known. */
export function leftOverPids(dataDir: string): number[] {
  let known: unknown;
  try {
    known = JSON.parse(readFileSync(path.join(dataDir, FILE), "utf8"));
  } catch {
    // Missing, as after a clean stop, or torn: either way nothing is known.
    return [];
  }
  if (!Array.isArray(known)) return [];
  return known.filter(isStarted).flatMap(({ pid, http }) => (runs(pid, http) ? pid : []));
}

function isStarted(value: unknown): value is StartedProcess {
  if (typeof value !== "object" || value === null) return false;
  if (!("pid" in value) || !("http" in value)) return false;
  return Number.isInteger(value.pid) && typeof value.http === "string";
}

/** The number may be another program's by now, so its command line has to name the address where it can be read. */
function runs(pid: number, http: string): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(http);
  } catch {
    // No /proc, as on macOS: alive is all that can be said.
    return true;
  }
}
