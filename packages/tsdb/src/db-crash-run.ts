/** What db-crash.test.ts tells its writer. */

import type { Plan } from "./faults/plan.ts";

export type CrashRun = {
  dir: string;
  /** Where the found samples go: f64 series, step, value each. */
  found: string;
  seed: number;
  first: number;
  /** It ends by itself after so many, where the plan did not end it. */
  requests: number;
  compression: "none" | "snappy";
  blockDurationMs: number;
  retentionMs: number;
  outOfOrderWindowMs: number;
  /** Between requests; 0 for none. */
  pauseMs: number;
  plan: Plan | null;
};

/** What it is at when it dies. */
export const PHASES = [
  "open",
  "append",
  "cut",
  "compact",
  "retention",
  "snapshot",
  "close",
] as const;
