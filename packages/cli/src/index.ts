export { type Command, type CommandEnv, defineCommand, UsageError } from "./command.ts";
export {
  type ClusterOptions,
  type ClusterPlan,
  type ComponentPlan,
  planCluster,
} from "./demo/plan.ts";
export { ComponentProcess, ComponentStartError } from "./demo/process.ts";
export { RemoteWriter, type WriteResult } from "./demo/remote-write.ts";
export { type Config, type Flag, FlagError, flag, flagGroup, parseFlags } from "./flags.ts";
