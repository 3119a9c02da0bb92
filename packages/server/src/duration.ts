/** Durations as Prometheus and Go write them: `15d`, `1h30m`, `0.5s`, `0`. */

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  y: 365 * 86_400_000,
};

/**
 * Milliseconds. Thanos mixes Prometheus durations (days, no fractions) and Go durations (fractions, no days); here
 * both are taken everywhere.
 *
 * @returns Null for what is none, NaN for one that is out of range.
 */
export function durationMs(text: string): number | null {
  if (text === "0") return 0;
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w|y))+$/.test(text)) return null;
  let ms = 0;
  for (const [, number, unit = ""] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)/g)) {
    ms += Number(number) * (UNIT_MS[unit] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(ms)) ? ms : Number.NaN;
}
