/** What the operating system counted for a process (Linux, /proc). */

import { readFileSync } from "node:fs";

/** Kernel clock ticks a second; fixed at 100 for programs on Linux. */
const TICKS = 100;

/** User and system CPU seconds of a process so far, its threads included, its children not. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
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
