/** The relabelling rules of `--receive.relabel-config[-file]`, followed. */

import { parseRelabelConfigs, type Relabel, relabelWith } from "@torus/model";
import {
  ConfigError,
  type ConfigSource,
  type Logger,
  readConfig,
  watchConfig,
} from "@torus/server";

const NAME = "receive.relabel-config";

export type FollowedRelabel = {
  /** The rules as they are now; null for none. */
  current: () => Relabel | null;
  check: () => Promise<void>;
  stop: () => Promise<void>;
};

/** @throws {ConfigError} for rules that cannot be used at the start; later ones leave the last good ones in place. */
export async function followRelabel(
  source: ConfigSource,
  refreshMs: number,
  log: Logger,
): Promise<FollowedRelabel> {
  const text = await readConfig(NAME, source);
  let relabel: Relabel | null = null;
  const apply = (next: string) => {
    const rules = parseRelabelConfigs(next, "utf8");
    relabel = rules.length === 0 ? null : relabelWith(rules);
  };
  const current = () => relabel;
  try {
    if (text !== undefined) apply(text);
  } catch (error) {
    throw new ConfigError(NAME, { cause: error });
  }
  if (text === undefined || source.file === "") {
    return { current, check: () => Promise.resolve(), stop: () => Promise.resolve() };
  }
  return { current, ...watchConfig(text, { file: source.file, refreshMs, log, apply }) };
}
