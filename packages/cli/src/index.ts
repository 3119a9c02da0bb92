export { type Command, type CommandEnv, defineCommand, UsageError } from "./command.ts";
export { type Config, type Flag, FlagError, flag, flagGroup, parseFlags } from "./flags.ts";
