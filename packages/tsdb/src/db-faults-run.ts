/** What db-faults.test.ts and its runner tell each other. */

import type { Kind, Place, Plan } from "./faults/plan.ts";

/** What the life is at when an operation fails. */
export const PHASES = [
  "open",
  "append",
  "cut",
  "compact",
  "retention",
  "snapshot",
  "close",
] as const;

export type FaultCase = { name: string; plan: Plan };

export type FaultOutcome = {
  name: string;
  /** Operations that failed as planned. */
  hits: number;
  /** What the database answered. */
  errors: string[];
  /** Lines of its log. */
  said: string[];
  /** What should not be: samples lost, twice or invented, files left open, calls refused after the fault. */
  problems: string[];
  /** The operations of a life without faults. */
  trace: { kind: Kind; place: Place; phase: number }[];
};
