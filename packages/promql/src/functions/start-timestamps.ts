/**
 * Start timestamps: since when a counter counts. A sample whose start lies after the sample before it counts from zero
 * again; a first sample whose start lies in the window was zero then.
 */

import { type Notes, warnings } from "../annotations.ts";
import type { Windows } from "./range.ts";

/** Whether sample i (not the first) began anew, by the start timestamps. */
export function startsAnew(w: Windows, i: number): boolean {
  const starts = w.startTimestamps;
  if (starts === null) return false;
  const start = starts[i] as number;
  const previousTime = w.timestamps[i - 1] as number;
  if (start === 0 || start >= (w.timestamps[i] as number)) return false;
  if (start > previousTime) return true;
  // Deltas follow each other without a gap; a counter of unknown start gives its first sample none, or its own time.
  const previousStart = starts[i - 1] as number;
  return start === previousTime && previousStart !== 0 && previousStart < previousTime;
}

/** When the counter of the first sample was zero, when that is in the window (rangeStart, …]. */
export function zeroTime(w: Windows, first: number, rangeStart: number): number | null {
  const start = w.startTimestamps?.[first] ?? 0;
  return start !== 0 && start > rangeStart && start < (w.timestamps[first] as number)
    ? start
    : null;
}

/** Tells of samples that claim to count from within what the sample before them counted. */
export function noteOverlaps(
  w: Windows,
  lo: number,
  hi: number,
  context: { metric: string; notes: Notes },
): void {
  const starts = w.startTimestamps;
  if (starts === null) return;
  for (let i = lo + 1; i < hi; i++) {
    const start = starts[i] as number;
    if (start !== 0 && start < (w.timestamps[i - 1] as number) && start !== starts[i - 1]) {
      context.notes.warn(warnings.startOverlap(context.metric));
      return;
    }
  }
}
