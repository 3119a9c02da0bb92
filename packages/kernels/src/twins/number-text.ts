/** The plain twin of the number texts: JavaScript's shortest digits, exponents as Go writes them. */

/** A sample value: `1e-07`, `+Inf`, `-0`. */
export function valueText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  if (Number.isFinite(value)) {
    const text = String(value);
    // The thresholds of the two forms are the same, but Go's exponents have at least two digits.
    return text.includes("e") ? text.replace(/e([+-])(\d)$/, "e$10$2") : text;
  }
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}

/** Whole milliseconds as seconds: `1700000000`, `1700000000.140`. */
export function timeText(ms: number): string {
  const absolute = Math.abs(ms);
  const seconds = Math.floor(absolute / 1000);
  const rest = absolute - seconds * 1000;
  const sign = ms < 0 ? "-" : "";
  if (rest === 0) return `${sign}${seconds}`;
  return `${sign}${seconds}.${rest < 10 ? "00" : rest < 100 ? "0" : ""}${rest}`;
}

export function sampleTexts(times: Float64Array, values: Float64Array): string {
  let out = "";
  for (let i = 0; i < times.length; i++) {
    out += `[${timeText(times[i] as number)},"${valueText(values[i] as number)}"],`;
  }
  return out;
}
