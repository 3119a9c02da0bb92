/**
 * A configuration that is given inline or as a file, and re-read while the process runs. Kubernetes replaces a
 * mounted ConfigMap by renaming a symbolic link two directories up, which a watch on the file does not see: so the
 * directory is watched, and the file is polled besides. An invalid new version is logged and counted, and the last
 * valid one stays.
 */

import { watch } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { errorText, type Logger } from "./log.ts";

/** Where a configuration comes from; "" where a flag was not given. */
export type ConfigSource = { file: string; inline: string };

export class ConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ConfigError";
  }
}

/**
 * The text of a pair of flags `--NAME-file` and `--NAME`; undefined when neither was given.
 *
 * @throws {ConfigError} when both were given or the file cannot be read.
 */
export async function readConfig(name: string, source: ConfigSource): Promise<string | undefined> {
  const { file, inline } = source;
  if (file !== "" && inline !== "") {
    throw new ConfigError(`both ${name} and ${name}-file are given`);
  }
  if (file === "") return inline === "" ? undefined : inline;
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new ConfigError(`read ${name}-file`, { cause: error });
  }
}

export type ConfigWatchOptions = {
  file: string;
  /** Milliseconds between two looks at the file, besides the watch. */
  refreshMs: number;
  log: Logger;
  /** Takes a text that differs from the last one. What it throws means that the text is invalid. */
  apply: (text: string) => void | Promise<void>;
  /** Called after each attempt on a changed or unreadable file. */
  onResult?: (result: "applied" | "invalid" | "unreadable") => void;
};

/**
 * Follows the file from the text that is already applied. `check` looks at once; `stop` resolves when no look is
 * under way any more.
 */
export function watchConfig(
  applied: string,
  options: ConfigWatchOptions,
): { check: () => Promise<void>; stop: () => Promise<void> } {
  const { file, log, apply, onResult } = options;
  let last = applied;
  let stopped = false;
  let running: Promise<void> = Promise.resolve();

  const look = async () => {
    if (stopped) return;
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      log.error("read configuration, keeping the last one", { file, err: errorText(error) });
      onResult?.("unreadable");
      return;
    }
    if (text === last) return;
    last = text;
    try {
      await apply(text);
      log.info("applied new configuration", { file });
      onResult?.("applied");
    } catch (error) {
      log.error("new configuration is invalid, keeping the last one", {
        file,
        err: errorText(error),
      });
      onResult?.("invalid");
    }
  };
  // One look after the other: two that overlap could apply an old text over a new one.
  const check = () => {
    running = running.then(look);
    return running;
  };

  const timer = setInterval(() => void check(), options.refreshMs);
  // Editors and ConfigMaps cause several events for one change; the last one counts.
  let settling: NodeJS.Timeout | undefined;
  const watcher = watch(path.dirname(file), () => {
    clearTimeout(settling);
    settling = setTimeout(() => void check(), 50);
  });
  watcher.on("error", (error) => log.warn("watch configuration", { file, err: errorText(error) }));
  return {
    check,
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      clearTimeout(settling);
      watcher.close();
      await running;
    },
  };
}
