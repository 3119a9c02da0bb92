/** A database of the benchmarks, and appending to it without a network. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { WriteRequestBuffer } from "@torus/kernels";
import { Tsdb } from "@torus/tsdb";

const MAX_BODY = 64 << 20;

export function scratchDirectory(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-bench-"));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** @param snapshotBytes As of the database; 0 for no snapshots. */
export function openStore(dir: string, snapshotBytes = 0): Promise<Tsdb> {
  return Tsdb.open({
    dir,
    blockDurationMs: 7_200_000,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 30 * 60_000,
    maxExemplars: 0,
    snapshotBytes,
    walCompression: "snappy",
    seriesLimit: 0,
    now: Date.now,
    log: (level, message) => {
      if (level === "error") throw new Error(message);
    },
  });
}

/** Appends a snappy remote write body; returns the CPU microseconds of the append alone. */
export function appendBody(db: Tsdb, body: Uint8Array): number {
  const request = WriteRequestBuffer.acquire();
  request.reserve(body.length).set(body);
  request.decompress(body.length, MAX_BODY);
  request.walk(null);
  const before = process.cpuUsage();
  const counts = db.append(request, null);
  const { user, system } = process.cpuUsage(before);
  request.release();
  const accepted = counts.byVerdict[0] as number;
  if (accepted === 0) throw new Error(`nothing was accepted: ${counts.byVerdict.join(" ")}`);
  return user + system;
}

/** Resident bytes of this process now. */
export function residentBytes(): number {
  globalThis.gc?.();
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

export function peakResidentBytes(): number {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
