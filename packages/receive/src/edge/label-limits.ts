/** A tenant's limits on the labels of a series: how many, how long. */

import type { Labels } from "@torus/model";

/** 0 is no limit; lengths in bytes of UTF-8. */
export type LabelLimits = { count: number; nameLength: number; valueLength: number };

/** How many labels a series has, and the longest name and value among them. */
export type LabelSizes = { count: number; nameLength: number; valueLength: number };

export function labelSizes(labels: Labels): LabelSizes {
  const sizes = { count: labels.length / 2, nameLength: 0, valueLength: 0 };
  for (let i = 0; i < labels.length; i += 2) {
    sizes.nameLength = Math.max(sizes.nameLength, Buffer.byteLength(labels[i] as string));
    sizes.valueLength = Math.max(sizes.valueLength, Buffer.byteLength(labels[i + 1] as string));
  }
  return sizes;
}

/** The limit that is violated, by its name in the configuration; "" for none. */
export function violatedLabelLimit(sizes: LabelSizes, limits: LabelLimits): string {
  if (isOver(sizes.count, limits.count)) return "labels.names_per_series";
  if (isOver(sizes.nameLength, limits.nameLength)) return "labels.name_length";
  if (isOver(sizes.valueLength, limits.valueLength)) return "labels.value_length";
  return "";
}

function isOver(size: number, limit: number): boolean {
  return limit > 0 && size > limit;
}
