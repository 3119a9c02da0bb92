/**
 * Names of OpenTelemetry as names that every Prometheus knows (OpenTelemetry specification, "Prometheus and
 * OpenMetrics Compatibility"; Prometheus' UnderscoreEscapingWithSuffixes): other characters than letters and digits
 * become one underscore, units and kinds become suffixes.
 */

const UNITS: Readonly<Record<string, string>> = {
  d: "days",
  h: "hours",
  min: "minutes",
  s: "seconds",
  ms: "milliseconds",
  us: "microseconds",
  ns: "nanoseconds",
  By: "bytes",
  KiBy: "kibibytes",
  MiBy: "mebibytes",
  GiBy: "gibibytes",
  TiBy: "tibibytes",
  KBy: "kilobytes",
  MBy: "megabytes",
  GBy: "gigabytes",
  TBy: "terabytes",
  m: "meters",
  V: "volts",
  A: "amperes",
  J: "joules",
  W: "watts",
  g: "grams",
  Cel: "celsius",
  Hz: "hertz",
  "1": "",
  "%": "percent",
};

const PER: Readonly<Record<string, string>> = {
  s: "second",
  m: "minute",
  h: "hour",
  d: "day",
  w: "week",
  mo: "month",
  y: "year",
};

/** "" where nothing but underscores is left. */
export function metricName(
  name: string,
  unit: string,
  kind: "counter" | "gauge" | "other",
): string {
  let parts = name.split(/[^a-zA-Z0-9:]+/).filter((part) => part !== "");
  const [main, per] = unitSuffixes(unit);
  const isNew = (part: string) => part !== "" && !parts.includes(part);
  const added = [main.replace(per === "" ? /^$/ : /_$/, ""), per].filter(isNew);
  parts = [...parts, ...added];
  if (kind === "counter") parts = [...parts.filter((part) => part !== "total"), "total"];
  if (kind === "gauge" && unit === "1") {
    parts = [...parts.filter((part) => part !== "ratio"), "ratio"];
  }
  const joined = parts.join("_");
  if (/^_*$/.test(joined)) return "";
  return /^\d/.test(joined) ? `_${joined}` : joined;
}

/** A unit in words: `bytes_per_second` for `By/s`. */
export function unitName(unit: string): string {
  return unitSuffixes(unit)
    .filter((part) => part !== "")
    .join("_");
}

function unitSuffixes(unit: string): [main: string, per: string] {
  const slash = unit.indexOf("/");
  const main = (slash < 0 ? unit : unit.slice(0, slash)).trim();
  const per = slash < 0 ? "" : unit.slice(slash + 1).trim();
  const isUnit = (text: string) => text !== "" && !/[{}]/.test(text);
  const mainName = isUnit(main) ? cleaned(ownOr(UNITS, main)) : "";
  const perName = isUnit(per) ? cleaned(`per_${ownOr(PER, per)}`).replace(/_$/, "") : "";
  return [mainName, perName === "per" ? "" : perName];
}

function ownOr(names: Readonly<Record<string, string>>, unit: string): string {
  return Object.hasOwn(names, unit) ? (names[unit] as string) : unit;
}

function cleaned(unit: string): string {
  return unit.replace(/[^a-zA-Z0-9:]+/g, "_").replace(/^_/, "");
}

/** "" where nothing but underscores is left. */
export function labelName(name: string): string {
  const isReserved = name.length >= 4 && name.startsWith("__") && name.endsWith("__");
  const inner = isReserved ? name.slice(2, -2) : name;
  let out = inner.replace(/[^a-zA-Z0-9]+/gu, "_");
  if (isReserved) out = `__${out}__`;
  if (/^_*$/.test(out)) return "";
  return /^\d/.test(out) ? `key_${out}` : out;
}

/** A number as Go's 'f' format with as many digits as it takes: never with an exponent. */
export function plainNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const text = String(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return Object.is(value, -0) ? "-0" : text;
  const [, sign = "", first = "", rest = "", exponent = "0"] = match;
  const digits = first + rest;
  const point = 1 + Number(exponent);
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  return sign + digits.padEnd(point, "0");
}
