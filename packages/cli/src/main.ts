/**
 * `torus COMMAND [flags]`. Commands are imported when they are asked for, so that one command's libraries
 * cost another's start nothing.
 */

import { type Command, type CommandEnv, UsageError } from "./command.ts";
import { FlagError, nearest, parseFlags } from "./flags.ts";
import { commandHelp, overviewHelp } from "./help.ts";

type CommandEntry = { summary: string; load: () => Promise<Command> };

/** A line per command: its name, the summary of the overview, where it is. Keep it in the order of the help. */
const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  receive: {
    summary: "take remote write into a hashring of receivers and serve it over StoreAPI",
    load: async () => (await import("./commands/receive.ts")).receive,
  },
  demo: {
    summary: "run a whole cluster on this machine, fed with its own metrics",
    load: async () => (await import("./commands/demo.ts")).demo,
  },
  uploader: {
    summary: "ship finished blocks of local TSDB directories into the bucket",
    load: async () => (await import("./commands/uploader.ts")).uploader,
  },
  store: {
    summary: "serve blocks from the bucket over StoreAPI",
    load: async () => (await import("./commands/store.ts")).store,
  },
  query: {
    summary: "answer the Prometheus HTTP API from the StoreAPI of many endpoints",
    load: async () => (await import("./commands/query.ts")).query,
  },
  "tools hashring": {
    summary: "print the owners of the series on standard input",
    load: async () => (await import("./commands/tools-hashring.ts")).toolsHashring,
  },
  "tools query instant": {
    summary: "run an instant query against a server or a data directory",
    load: async () => (await import("./commands/tools-query.ts")).toolsQueryInstant,
  },
  "tools query range": {
    summary: "run a range query against a server or a data directory",
    load: async () => (await import("./commands/tools-query.ts")).toolsQueryRange,
  },
  "tools query series": {
    summary: "list series of a server or a data directory",
    load: async () => (await import("./commands/tools-query.ts")).toolsQuerySeries,
  },
  "tools query labels": {
    summary: "list the values of a label of a server or a data directory",
    load: async () => (await import("./commands/tools-query.ts")).toolsQueryLabels,
  },
  "tools promqltest": {
    summary: "run PromQL script tests",
    load: async () => (await import("./commands/tools-promqltest.ts")).toolsPromqltest,
  },
  "tools tsdb dump": {
    summary: "print the samples of blocks and data directories",
    load: async () => (await import("./commands/tools-tsdb.ts")).toolsTsdbDump,
  },
  "tools tsdb list": {
    summary: "list the blocks of data directories",
    load: async () => (await import("./commands/tools-tsdb.ts")).toolsTsdbList,
  },
  "tools tsdb analyze": {
    summary: "show where the series of blocks come from",
    load: async () => (await import("./commands/tools-tsdb.ts")).toolsTsdbAnalyze,
  },
  "tools tsdb verify": {
    summary: "check every checksum, offset and order of blocks and data directories",
    load: async () => (await import("./commands/tools-tsdb.ts")).toolsTsdbVerify,
  },
  "tools tsdb create-blocks-from openmetrics": {
    summary: "make blocks of two hours from OpenMetrics text with timestamps",
    load: async () => (await import("./commands/tools-tsdb.ts")).toolsTsdbCreateBlocks,
  },
};

// Named through the global: the bundler writes the version in for exactly this expression.
const version = process.env.TORUS_VERSION ?? "0.0.0-source";

async function main(argv: readonly string[], env: Omit<CommandEnv, "args">): Promise<number> {
  const name = commandName(argv);
  const entry = name === undefined ? undefined : COMMANDS[name];
  if (name === undefined || entry === undefined) return noCommand(argv, env);
  const command = await entry.load();
  const rest = argv.slice(name.split(" ").length);
  const end = rest.indexOf("--");
  const flags = end === -1 ? rest : rest.slice(0, end);
  if (flags.includes("--help") || flags.includes("-h")) {
    env.stdout.write(commandHelp(command));
    return 0;
  }
  if (flags.includes("--version")) return printVersion(env);
  try {
    const { config, args } = parseFlags(command.flags, rest);
    if (args.length > 0 && command.positional === undefined) {
      throw new FlagError(`unexpected argument '${args[0]}'`);
    }
    return await command.run(config, { ...env, args });
  } catch (error) {
    if (error instanceof FlagError) {
      env.stderr.write(`torus: error: ${error.message}, try --help\n`);
      return 1;
    }
    if (error instanceof UsageError) {
      env.stderr.write(`torus: error: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

/** The longest run of leading words that names a command. */
function commandName(argv: readonly string[]): string | undefined {
  for (let words = 4; words > 0; words--) {
    const name = argv.slice(0, words).join(" ");
    if (Object.hasOwn(COMMANDS, name)) return name;
  }
  return undefined;
}

function noCommand(argv: readonly string[], env: Omit<CommandEnv, "args">): number {
  const [first = "--help"] = argv;
  const overview = Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary] as const);
  if (first === "--version") return printVersion(env);
  if (first === "--help" || first === "-h" || first === "help") {
    env.stdout.write(overviewHelp(overview));
    return argv.length === 0 ? 1 : 0;
  }
  const below = overview.filter(([name]) => name.startsWith(`${first} `));
  if (below.length > 0 && (argv.length === 1 || argv[1] === "--help" || argv[1] === "-h")) {
    env.stdout.write(overviewHelp(below));
    return argv.length === 1 ? 1 : 0;
  }
  if (first.startsWith("-")) {
    env.stderr.write(`torus: error: a command comes before the flags, try --help\n`);
    return 1;
  }
  const written = argv.filter((word) => !word.startsWith("-")).slice(0, 2);
  const near =
    nearest(written.join(" "), Object.keys(COMMANDS)) ?? nearest(first, Object.keys(COMMANDS));
  const hint = near === undefined ? "" : `, did you mean '${near}'?`;
  const shown = below.length > 0 ? written.join(" ") : first;
  env.stderr.write(
    `torus: error: unknown command '${shown}'${hint === "" ? ", try --help" : hint}\n`,
  );
  return 1;
}

function printVersion(env: Omit<CommandEnv, "args">): number {
  env.stdout.write(`torus, version ${env.version} (node ${process.version})\n`);
  return 0;
}

const { stdin, stdout, stderr } = process;
main(process.argv.slice(2), { version, stdin, stdout, stderr }).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    stderr.write(
      `torus: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exitCode = 1;
  },
);
