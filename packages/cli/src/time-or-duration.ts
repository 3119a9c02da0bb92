/** `--min-time` and `--max-time`: a time in RFC 3339, or a duration from now such as `-1d` or `2h45m`. */

import { FlagValueError, parseDuration } from "./flag-values.ts";

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/;

/**
 * @returns Unix milliseconds at the given time; a duration moves with it.
 * @throws {FlagValueError}
 */
export function parseTimeOrDuration(text: string): (nowMs: number) => number {
  if (RFC3339.test(text)) {
    const time = Date.parse(text);
    if (!Number.isNaN(time)) return () => time;
  }
  const sign = text.startsWith("-") ? -1 : 1;
  try {
    const offset = sign * parseDuration(text.replace(/^[+-]/, ""));
    return (nowMs) => nowMs + offset;
  } catch (error) {
    if (!(error instanceof FlagValueError)) throw error;
    throw new FlagValueError(
      `neither a time as 2026-01-02T15:04:05Z nor a duration as -1d: "${text}"`,
    );
  }
}
