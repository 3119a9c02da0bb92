/** Numbers and durations as PromQL writes them. */

const unitMs: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** The longest time Go's Duration holds, in milliseconds. */
export const MAX_DURATION_MS = 9_223_372_036_854;

/** `1h30m` in milliseconds, or null: units fall from year to millisecond, each at most once. */
export function parseDurationMs(text: string): number | null {
  if (text === "0") return 0;
  const match =
    /^(?:([0-9]+)y)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?$/.exec(
      text,
    );
  if (match === null || text === "") return null;
  const units = ["y", "w", "d", "h", "m", "s", "ms"];
  let ms = 0;
  for (let i = 0; i < units.length; i++) {
    const digits = match[i + 1];
    if (digits !== undefined) ms += Number(digits) * (unitMs[units[i] as string] as number);
  }
  return ms;
}

/** As Prometheus prints a duration: `1h30m`, weeks and years only when they come out even. */
export function formatDurationMs(ms: number): string {
  if (ms === 0) return "0s";
  let rest = ms;
  let out = "";
  const take = (unit: string, exact: boolean) => {
    const size = unitMs[unit] as number;
    if (exact && rest % size !== 0) return;
    const count = Math.floor(rest / size);
    if (count > 0) {
      out += `${count}${unit}`;
      rest -= count * size;
    }
  };
  take("y", true);
  take("w", true);
  for (const unit of ["d", "h", "m", "s", "ms"]) take(unit, false);
  return out;
}

/** Decimal, hexadecimal, octal with a leading zero, underscores, Inf and NaN in any case; null for anything else. */
export function parseNumber(text: string): number | null {
  const lower = text.toLowerCase();
  const sign = lower.startsWith("-") ? -1 : 1;
  const digits = lower.replace(/^[+-]/, "");
  if (digits === "inf" || digits === "infinity") return sign * Number.POSITIVE_INFINITY;
  if (digits === "nan") return Number.NaN;
  const plain = digits.replaceAll("_", "");
  if (/^0[0-7]+$/.test(plain)) return sign * Number.parseInt(plain, 8);
  if (/^0x[0-9a-f]+$/.test(plain)) return sign * Number(plain);
  if (!/^(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?$/.test(plain)) return null;
  return sign * Number(plain);
}

/** As Go's strconv.FormatFloat(value, 'f', -1) with Prometheus' infinities. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  if (Object.is(value, -0)) return "-0";
  const text = String(value);
  const match = /^(-?)([0-9])(?:\.([0-9]+))?e([+-][0-9]+)$/.exec(text);
  if (match === null) return text;
  const [, minus = "", first = "", fraction = "", exponent = "0"] = match;
  const shift = Number(exponent);
  const digits = first + fraction;
  if (shift < 0) return `${minus}0.${"0".repeat(-shift - 1)}${digits}`;
  return `${minus}${digits}${"0".repeat(Math.max(0, shift - fraction.length))}`;
}
