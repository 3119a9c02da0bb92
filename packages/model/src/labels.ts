/**
 * Label sets, as every package passes them: one flat array of names and values in turn, sorted by name
 * in byte order, no name twice, no empty value: `["__name__", "up", "job", "node"]`.
 *
 * Order is that of Prometheus and Thanos: strings compare as UTF-8 bytes, label sets pair by pair, a set
 * that is a prefix of another comes first. JavaScript's `<` compares UTF-16 units, which puts characters
 * outside the Basic Multilingual Plane before U+E000..U+FFFF; `compareStrings` does not.
 */

export type Labels = readonly string[];

export const METRIC_NAME = "__name__";

export const EMPTY_LABELS: Labels = [];

/** Negative, zero or positive as `a` sorts before, with or after `b` by UTF-8 bytes. */
export function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  const shorter = a.length < b.length ? a.length : b.length;
  for (let i = 0; i < shorter; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above U+FFFF, so they sort after U+E000..U+FFFF.
    if (x >= 0xd800 && y >= 0xd800) {
      const xSurrogate = x < 0xe000;
      const ySurrogate = y < 0xe000;
      if (xSurrogate !== ySurrogate) return xSurrogate ? 1 : -1;
    }
    return x - y;
  }
  return a.length - b.length;
}

/** Byte order of label sets: name, then value, pair by pair; the shorter first when one is a prefix. */
export function compareLabels(a: Labels, b: Labels): number {
  if (a === b) return 0;
  const shorter = a.length < b.length ? a.length : b.length;
  for (let i = 0; i < shorter; i++) {
    const x = a[i] as string;
    const y = b[i] as string;
    if (x !== y) return compareStrings(x, y);
  }
  return a.length - b.length;
}

export function labelsEqual(a: Labels, b: Labels): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The value of `name`, or the empty string when the set has no such label (which is the same to a matcher). */
export function labelValue(labels: Labels, name: string): string {
  for (let i = 0; i < labels.length; i += 2) if (labels[i] === name) return labels[i + 1] as string;
  return "";
}

/** Sorts pairs by name and drops empty values; of a name given twice the last one stays. */
export function labelsFromPairs(pairs: Iterable<readonly [name: string, value: string]>): Labels {
  const byName = new Map<string, string>();
  for (const [name, value] of pairs) byName.set(name, value);
  const names = [...byName.keys()].sort(compareStrings);
  const out: string[] = [];
  for (const name of names) {
    const value = byName.get(name) as string;
    if (value !== "") out.push(name, value);
  }
  return out;
}

export function labelsFromObject(object: Readonly<Record<string, string>>): Labels {
  return labelsFromPairs(Object.entries(object));
}

/** For JSON: an object whose keys stand in label order. */
export function labelsToObject(labels: Labels): Record<string, string> {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (let i = 0; i < labels.length; i += 2) out[labels[i] as string] = labels[i + 1] as string;
  return out;
}

/** The labels without the given names, in the same order. */
export function withoutLabels(labels: Labels, names: ReadonlySet<string>): Labels {
  let hit = false;
  for (let i = 0; i < labels.length && !hit; i += 2) hit = names.has(labels[i] as string);
  if (!hit) return labels;
  const out: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    if (!names.has(labels[i] as string)) out.push(labels[i] as string, labels[i + 1] as string);
  }
  return out;
}

/** Both sets in one, sorted; on the same name the label of `winner` stays, as Thanos does with external labels. */
export function mergeLabels(labels: Labels, winner: Labels): Labels {
  if (winner.length === 0) return labels;
  const out: string[] = [];
  let i = 0;
  let j = 0;
  while (i < labels.length || j < winner.length) {
    const order =
      i >= labels.length
        ? 1
        : j >= winner.length
          ? -1
          : compareStrings(labels[i] as string, winner[j] as string);
    if (order < 0) {
      out.push(labels[i] as string, labels[i + 1] as string);
      i += 2;
    } else {
      out.push(winner[j] as string, winner[j + 1] as string);
      j += 2;
      if (order === 0) i += 2;
    }
  }
  return out;
}

/** `{a="1", b="2"}` with the metric name in front, as Prometheus prints a series. */
export function formatLabels(labels: Labels): string {
  let name = "";
  const rest: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const label = labels[i] as string;
    const value = labels[i + 1] as string;
    if (label === METRIC_NAME && /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(value)) name = value;
    else rest.push(`${quoteName(label)}=${JSON.stringify(value)}`);
  }
  return rest.length === 0 && name !== "" ? name : `${name}{${rest.join(", ")}}`;
}

function quoteName(name: string): string {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) ? name : JSON.stringify(name);
}
