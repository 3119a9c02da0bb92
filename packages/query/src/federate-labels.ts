/** What is federated of a series, and how its names are written. */

import type { Histogram, Labels } from "@torus/model";
import type { NameEscaping } from "./federate-format.ts";

/** The newest sample of a series. */
export type Newest = {
  labels: Labels;
  timeMs: number;
  value: number;
  /** Instead of the value. */
  histogram: Histogram | undefined;
};

export const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
export const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/**
 * Every label but the name, as names and values in turn; an empty instance where there is none, so that whoever scrapes
 * this adds none.
 */
export function ownLabels(labels: Labels, escaping: NameEscaping): string[] {
  const out: string[] = [];
  let hasInstance = false;
  for (let i = 0; i < labels.length; i += 2) {
    const name = labels[i] as string;
    if (name === "__name__") continue;
    if (name === "instance") hasInstance = true;
    out.push(escapedName(name, escaping, LEGACY_LABEL), labels[i + 1] as string);
  }
  if (!hasInstance) out.push("instance", "");
  return out;
}

export function escapedName(name: string, escaping: NameEscaping, legacy: RegExp): string {
  if (escaping === "allow-utf-8" || legacy.test(name)) return name;
  const isValid = (char: string, i: number) => (i > 0 && /\d/.test(char)) || legacy.test(char);
  const chars = Array.from(name, (char, i) => {
    switch (escaping) {
      case "underscores":
        return isValid(char, i) ? char : "_";
      case "dots":
        return char === "." ? "_dot_" : char === "_" || !isValid(char, i) ? "__" : char;
      case "values":
        return char === "_"
          ? "__"
          : isValid(char, i)
            ? char
            : `_${(char.codePointAt(0) as number).toString(16)}_`;
    }
  });
  return (escaping === "values" ? "U__" : "") + chars.join("");
}
