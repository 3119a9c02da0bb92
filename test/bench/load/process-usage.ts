/** What the operating system counted for a process (Linux, /proc). */

import { readdirSync, readFileSync } from "node:fs";

/** Kernel clock ticks a second; fixed at 100 for programs on Linux. */
const TICKS = 100;

/** User and system CPU seconds of a process so far, its threads included, its children not. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/**
 * CPU seconds of the threads that a process has now, counted in nanoseconds: for work of a few milliseconds by threads
 * that stay. What ended threads did is not in it.
 */
export function threadsCpuSeconds(pid: number): number {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    } catch (error) {
      // It ended since its directory was read.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return ns / 1e9;
}

/** Largest resident size in bytes that the process had. */
export function peakRssBytes(pid: number): number {
  return memoryField(pid, "VmHWM");
}

export function rssBytes(pid: number): number {
  return memoryField(pid, "VmRSS");
}

function memoryField(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status);
  return Number(match?.[1] ?? 0) * 1024;
}
