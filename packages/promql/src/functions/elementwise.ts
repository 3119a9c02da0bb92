/** Functions of one sample and scalars. Times and dates are in seconds and UTC. */

/** Undefined leaves the sample out. */
type Elementwise = (value: number, a: number, b: number) => number | undefined;

const degrees = Math.PI / 180;

/** Division first, as Go rounds half up by floor(x + 0.5) after it. */
function round(value: number, to: number): number {
  const inverse = 1 / to;
  return Math.floor(value * inverse + 0.5) / inverse;
}

/** The extreme of two as Go has it: an infinity that decides wins over NaN. */
export function larger(a: number, b: number): number {
  return a === Infinity || b === Infinity ? Infinity : Math.max(a, b);
}

export function smaller(a: number, b: number): number {
  return a === -Infinity || b === -Infinity ? -Infinity : Math.min(a, b);
}

const date =
  (read: (date: Date) => number): Elementwise =>
  (value) =>
    read(new Date(Math.trunc(value) * 1000));

const DAY_MS = 86_400_000;

export const dateFunctions: ReadonlyMap<string, Elementwise> = new Map<string, Elementwise>([
  ["day_of_month", date((d) => d.getUTCDate())],
  ["day_of_week", date((d) => d.getUTCDay())],
  [
    "day_of_year",
    date((d) => Math.floor((d.getTime() - Date.UTC(d.getUTCFullYear(), 0, 1)) / DAY_MS) + 1),
  ],
  [
    "days_in_month",
    date((d) => new Date(Date.UTC(d.getUTCFullYear(), d.getUTCMonth() + 1, 0)).getUTCDate()),
  ],
  ["hour", date((d) => d.getUTCHours())],
  ["minute", date((d) => d.getUTCMinutes())],
  ["month", date((d) => d.getUTCMonth() + 1)],
  ["year", date((d) => d.getUTCFullYear())],
]);

export const elementwise: ReadonlyMap<string, Elementwise> = new Map<string, Elementwise>([
  ["abs", Math.abs],
  ["acos", Math.acos],
  ["acosh", Math.acosh],
  ["asin", Math.asin],
  ["asinh", Math.asinh],
  ["atan", Math.atan],
  ["atanh", Math.atanh],
  ["ceil", Math.ceil],
  ["cos", Math.cos],
  ["cosh", Math.cosh],
  ["deg", (value) => (value * 180) / Math.PI],
  ["exp", Math.exp],
  ["floor", Math.floor],
  ["ln", Math.log],
  ["log10", Math.log10],
  ["log2", Math.log2],
  ["rad", (value) => value * degrees],
  ["sgn", Math.sign],
  ["sin", Math.sin],
  ["sinh", Math.sinh],
  ["sqrt", Math.sqrt],
  ["tan", Math.tan],
  ["tanh", Math.tanh],
  ["clamp", (value, min, max) => (max < min ? undefined : larger(min, smaller(max, value)))],
  ["clamp_max", (value, max) => smaller(max, value)],
  ["clamp_min", (value, min) => larger(min, value)],
  ["round", (value, to) => round(value, Number.isNaN(to) ? 1 : to)],
]);
