/** From what became of a message or a share to the copies of its series in the decision. */

import { Cause } from "./cause.ts";
import type { WriteDecision } from "./quorum.ts";
import type { SeriesCauses } from "./verdicts.ts";

/** As many as there may be of a series in a request: refused are all that there are. */
const MOST_SAMPLES = 2 ** 32 - 1;

/**
 * Counts one copy of each series that a message held, each once however many entries it had: those in `failed` with
 * their gravest cause, the others as `rest`.
 */
export function countEntries(
  decision: WriteDecision,
  entries: Uint32Array,
  failed: SeriesCauses,
  rest: Cause = Cause.STORED,
): void {
  const causes = new Map<number, Cause>();
  const samples = new Map<number, number>();
  for (const [at, cause, refused] of failed) {
    const index = entries[at] as number;
    causes.set(index, Math.max(causes.get(index) ?? 0, cause) as Cause);
    samples.set(index, Math.min(MOST_SAMPLES, (samples.get(index) ?? 0) + refused));
  }
  for (const [index, refused] of samples) decision.noteRefused(index, refused);
  let last = -1;
  for (let i = 0; i < entries.length; i++) {
    const index = entries[i] as number;
    // The samples of a series stand side by side.
    if (index === last) continue;
    last = index;
    const cause = causes.size === 0 ? rest : (causes.get(index) ?? rest);
    if (cause !== Cause.STORED && causes.size === 0) decision.noteRefused(index, MOST_SAMPLES);
    decision.count(index, cause);
  }
}

/** Counts one copy of each series of a share: those in `failed` with their cause, the others as stored. */
export function countShare(
  decision: WriteDecision,
  series: Uint32Array | null,
  count: number,
  failed: SeriesCauses,
): void {
  if (failed.length === 0) {
    countWhole(decision, series, count, Cause.STORED);
    return;
  }
  const causes = new Map(failed.map(([index, cause]) => [index, cause]));
  for (const [index, , samples] of failed) decision.noteRefused(index, samples);
  const entries = series === null ? count : series.length;
  for (let i = 0; i < entries; i++) {
    const index = series === null ? i : (series[i] as number);
    decision.count(index, causes.get(index) ?? Cause.STORED);
  }
}

export function countWhole(
  decision: WriteDecision,
  series: Uint32Array | null,
  count: number,
  cause: Cause,
): void {
  const entries = series === null ? count : series.length;
  for (let i = 0; i < entries; i++) {
    const index = series === null ? i : (series[i] as number);
    // Whoever says no more than "conflict" may have refused every sample.
    if (cause !== Cause.STORED) decision.noteRefused(index, MOST_SAMPLES);
    decision.count(index, cause);
  }
}
