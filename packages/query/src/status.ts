/** `/api/v1/status/runtimeinfo` and `buildinfo` of a query node, with the fields that Prometheus' interface reads. */

import { availableParallelism, hostname } from "node:os";

export type ProcessInfo = { version: string; startMs: number; now: () => number };

export function runtimeInfoJson({ startMs, now }: ProcessInfo, threads: number): string {
  return JSON.stringify({
    startTime: new Date(startMs).toISOString(),
    CWD: process.cwd(),
    hostname: hostname(),
    serverTime: new Date(now()).toISOString(),
    reloadConfigSuccess: true,
    lastConfigTime: new Date(startMs).toISOString(),
    corruptionCount: 0,
    // Threads stand for what Prometheus counts here.
    goroutineCount: threads + 1,
    GOMAXPROCS: availableParallelism(),
    GOMEMLIMIT: 0,
    GOGC: "",
    GODEBUG: "",
    storageRetention: "",
  });
}

export function buildInfoJson({ version }: ProcessInfo): string {
  return JSON.stringify({
    version,
    revision: "",
    branch: "",
    buildUser: "",
    buildDate: "",
    goVersion: "",
  });
}
