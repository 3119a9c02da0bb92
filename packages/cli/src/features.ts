/** What `--enable-feature` names. */

import type { Logger } from "@torus/server";

/** Those of `known` that are given, each name alone or several with commas. Others are told and left out, as Prometheus does. */
export function enabledFeatures<T extends string>(
  known: readonly T[],
  given: readonly string[],
  log: Logger,
): T[] {
  const names = given.flatMap((text) => text.split(",")).filter((name) => name !== "");
  for (const name of names) {
    if (!known.some((feature) => feature === name)) {
      log.warn("unknown option for --enable-feature", { option: name });
    }
  }
  return known.filter((feature) => names.includes(feature));
}
