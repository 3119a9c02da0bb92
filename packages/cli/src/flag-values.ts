/** The values that flags take besides text: durations as Prometheus and Go write them, sizes in bytes. */

import { durationMs } from "@torus/server";

/** A flag's value cannot be read. The message stands after the flag's name. */
export class FlagValueError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "FlagValueError";
  }
}

/**
 * Milliseconds of `15d`, `1h30m`, `0.5s`, `0`. Thanos mixes Prometheus durations (days, no fractions) and Go
 * durations (fractions, no days); every flag here takes both.
 *
 * @throws {FlagValueError}
 */
export function parseDuration(text: string): number {
  const ms = durationMs(text);
  if (ms === null) throw new FlagValueError(`not a valid duration string: "${text}"`);
  if (Number.isNaN(ms)) throw new FlagValueError(`duration out of range: "${text}"`);
  return ms;
}

const SIZE_UNITS = "KMGTPE";

/**
 * Bytes of `250MB`, `1GiB`, `512`. K, M, G stand for powers of 1024 with and without the `i`, as in Thanos.
 *
 * @throws {FlagValueError}
 */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:([KMGTPE])i?)?B?$/i.exec(text);
  if (match === null) throw new FlagValueError(`not a valid size: "${text}"`);
  const [, number, unit = ""] = match;
  const exponent = unit === "" ? 0 : SIZE_UNITS.indexOf(unit.toUpperCase()) + 1;
  const bytes = Math.floor(Number(number) * 1024 ** exponent);
  if (!Number.isSafeInteger(bytes)) throw new FlagValueError(`size out of range: "${text}"`);
  return bytes;
}

/** @throws {FlagValueError} unless it is a decimal integer. */
export function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new FlagValueError(`not a whole number: "${text}"`);
  }
  return value;
}

/** @throws {FlagValueError} unless it is a finite decimal number. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) {
    throw new FlagValueError(`not a number: "${text}"`);
  }
  return value;
}

/** `name="value"` as Thanos' --label takes it; the quotes may be missing. @throws {FlagValueError} */
export function parseLabel(text: string): [name: string, value: string] {
  const match = /^([a-zA-Z_][a-zA-Z0-9_]*)=(.*)$/s.exec(text);
  if (match === null) throw new FlagValueError(`not a label, want name="value": ${text}`);
  const [, name = "", raw = ""] = match;
  if (!raw.startsWith('"')) return [name, raw];
  try {
    const value: unknown = JSON.parse(raw);
    if (typeof value === "string") return [name, value];
  } catch {
    // Falls through to the error below: what is wrong is the quoting, whatever JSON calls it.
  }
  throw new FlagValueError(`label value is not a quoted string: ${text}`);
}
