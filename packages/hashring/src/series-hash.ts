/** The ring's key of a series: XXH64 over tenant ff name ff value ff name ff value ff …, labels as they came. */

import { xxh64 } from "@torus/encoding";

const SEPARATOR = Buffer.of(0xff);

/** @param labels Names and values in turn. For tools; the write path has it from the kernels' walk. */
export function seriesHash(tenant: string, labels: readonly (string | Uint8Array)[]): bigint {
  const parts: Uint8Array[] = [Buffer.from(tenant), SEPARATOR];
  for (const each of labels) {
    parts.push(typeof each === "string" ? Buffer.from(each) : each, SEPARATOR);
  }
  return xxh64(Buffer.concat(parts));
}
