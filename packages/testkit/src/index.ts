export {
  type Cluster,
  type ClusterNode,
  type ClusterOptions,
  type ReceiverNode,
  startCluster,
  torusProgram,
} from "./cluster.ts";
export { freePorts } from "./ports.ts";
export { Random } from "./random.ts";
export { type ProcessOptions, type RunningProcess, startProcess } from "./running-process.ts";
export { findS3Server, S3_SERVER_MISSING, type S3Server, startS3Server } from "./s3-server.ts";
