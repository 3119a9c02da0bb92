/** Whether two answers are the same, and if not, where. */

import type { Answer } from "./systems.ts";

const TOLERANCE = 1e-9;

function isSame(a: number, b: number): boolean {
  if (Object.is(a, b) || a === b) return true;
  return Math.abs(a - b) <= TOLERANCE * Math.max(Math.abs(a), Math.abs(b));
}

/** The first difference in words; null when there is none. */
export function differenceOf(want: Answer, got: Answer): string | null {
  if (want.size !== got.size) return `${got.size} series instead of ${want.size}`;
  for (const [key, points] of want) {
    const found = got.get(key);
    if (found === undefined) return `no series ${key}`;
    if (found.size !== points.size) {
      return `${found.size} points instead of ${points.size} of ${key}`;
    }
    for (const [time, value] of points) {
      const other = found.get(time);
      if (other === undefined) return `no point at ${time} of ${key}`;
      if (!isSame(value, other)) return `${other} instead of ${value} at ${time} of ${key}`;
    }
  }
  return null;
}
