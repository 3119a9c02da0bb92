/**
 * What a subcommand is. One file per command in `commands/`, one line per command in `main.ts`.
 * `torus tools hashring` is the command named "tools hashring".
 *
 * A complete example:
 *
 *     // commands/store.ts
 *     import { defineCommand } from "../command.ts";
 *     import { commonFlags, runComponent } from "../component.ts";
 *     import { flag, flagGroup } from "../flags.ts";
 *
 *     export const store = defineCommand({
 *       name: "store",
 *       summary: "serve blocks from the bucket over StoreAPI",
 *       flags: {
 *         ...commonFlags,
 *         ...flagGroup("Storage", {
 *           "data-dir": flag.string("Directory of index headers.", { default: "./data" }),
 *           "objstore.config-file": flag.string("Path of the bucket's YAML configuration.", { default: "" }),
 *           "sync-block-duration": flag.duration("Time between two looks at the bucket.", { default: "15m" }),
 *           "chunk-pool-size": flag.bytes("Bytes of chunks held at most.", { default: "2GB" }),
 *           "tsdb.path": flag.strings("Directory of a TSDB; may be repeated."),            // string[]
 *           "id": flag.required("Name of this gateway."),                                  // string
 *           "ignore-deletion-marks": flag.boolean("Serve marked blocks too.", { hidden: true }),
 *           "mode": flag.choice("What to serve.", ["all", "raw"], { default: "all" }),       // "all" | "raw"
 *         }),
 *       },
 *       run: (config, env) =>
 *         runComponent("store", config, env, async ({ log, metrics, lifecycle, http, grpc }) => {
 *           const cacheBytes = config["chunk-pool-size"]; // number; the names are those of the flags
 *           const gateway = await openGateway(config["data-dir"], cacheBytes, log, metrics);
 *           lifecycle.add("gateway", { stop: () => gateway.close() });
 *           grpc.add(storeMethods(gateway)); // probes, /metrics, both listeners come with runComponent
 *         }),
 *     });
 *
 * A command that is no component (tools) takes what it needs from `env` and returns its exit code.
 */

import type { Readable, Writable } from "node:stream";
import type { Config, FlagSpecs } from "./flags.ts";

/** What a command has of the process it runs in. */
export type CommandEnv = {
  version: string;
  stdin: Readable;
  stdout: Writable;
  stderr: Writable;
  /** Positional arguments; empty unless the command names some. */
  args: readonly string[];
};

export type Command<S extends FlagSpecs = FlagSpecs> = {
  /** Words after `torus`. */
  name: string;
  /** One line, lower case, no full stop. */
  summary: string;
  /** What positional arguments it takes, as in the usage line: `FILE...`. Absent: none are allowed. */
  positional?: string;
  flags: S;
  /**
   * Resolves with the exit code when the command has ended; a component ends when it was told to stop.
   * Declared as a method: a Command of given flags must be assignable to Command.
   *
   * @throws {UsageError} for combinations of flags that make no sense; main prints its message without a stack.
   */
  run(config: Config<S>, env: CommandEnv): Promise<number>;
};

/** Infers the config's type from the flags. */
export function defineCommand<const S extends FlagSpecs>(command: Command<S>): Command<S> {
  return command;
}

/** What the user asked for makes no sense, or the machine does not allow it; the message says what and why. */
export class UsageError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "UsageError";
  }
}
