/**
 * A whole cluster on one machine, as data: which processes, with which flags, in which order. `torus demo` runs it,
 * and so do the tests that need a cluster.
 */

import path from "node:path";

export type ClusterOptions = {
  dataDir: string;
  receivers: number;
  replicationFactor: number;
  /** Gives each listener its port; called once for each, in the order of the plan. */
  port: (component: string, listener: "http" | "grpc" | "remote-write") => number;
  /** bucket.yml; a directory beside the data when it is not given. */
  bucketConfig?: string;
  /** How often the uploader looks for new blocks, and the store gateway into the bucket: `30s`. */
  syncInterval: string;
  /** Further flags by command. */
  extra?: Readonly<Record<string, readonly string[]>>;
};

export type ComponentPlan = {
  /** `receive-0`: also the name of its log file. */
  name: string;
  command: "receive" | "uploader" | "store" | "query";
  args: readonly string[];
  /** host:port */
  http: string;
  grpc: string;
  /** Receivers only: the listener's host:port, and --tsdb.path. */
  remoteWrite: string | undefined;
  tsdbPath: string | undefined;
};

export type ClusterPlan = {
  dataDir: string;
  /** Files to be written before anything starts, by absolute path. */
  files: Readonly<Record<string, string>>;
  /** In the order of starting. */
  components: readonly ComponentPlan[];
};

/** The label that tells the ring's replicas apart, on receivers and on the query node. */
const REPLICA_LABEL = "receive_replica";

export function planCluster(options: ClusterOptions): ClusterPlan {
  const { dataDir, receivers, replicationFactor, port, extra = {} } = options;
  const at = (...parts: string[]) => path.join(dataDir, ...parts);
  const hashrings = at("hashrings.json");
  const bucket = at("bucket.yml");

  const component = (
    name: string,
    command: ComponentPlan["command"],
    args: readonly string[],
  ): ComponentPlan => {
    const http = `127.0.0.1:${port(name, "http")}`;
    const grpc = `127.0.0.1:${port(name, "grpc")}`;
    const remoteWrite =
      command === "receive" ? `127.0.0.1:${port(name, "remote-write")}` : undefined;
    const listeners = [`--http-address=${http}`, `--grpc-address=${grpc}`];
    if (remoteWrite !== undefined) {
      listeners.push(`--remote-write.address=${remoteWrite}`, `--receive.local-endpoint=${grpc}`);
    }
    const all = [...listeners, ...args, ...(extra[command] ?? [])];
    const tsdbPath = command === "receive" ? at(name) : undefined;
    return { name, command, args: all, http, grpc, remoteWrite, tsdbPath };
  };

  const names = Array.from({ length: receivers }, (_, i) => `receive-${i}`);
  const ring = names.map((name) =>
    component(name, "receive", [
      `--tsdb.path=${at(name)}`,
      `--label=${REPLICA_LABEL}="${name}"`,
      `--receive.hashrings-file=${hashrings}`,
      "--receive.hashrings-algorithm=ketama",
      `--receive.replication-factor=${replicationFactor}`,
    ]),
  );
  const uploader = component("uploader", "uploader", [
    ...names.map((name) => `--tsdb.path=${at(name)}`),
    `--shipper.sync-interval=${options.syncInterval}`,
    `--objstore.config-file=${bucket}`,
  ]);
  const store = component("store", "store", [
    `--data-dir=${at("store")}`,
    `--sync-block-duration=${options.syncInterval}`,
    `--objstore.config-file=${bucket}`,
  ]);
  const query = component("query", "query", [
    ...[...ring, store].map(({ grpc }) => `--endpoint=${grpc}`),
    `--query.ring-replica-label=${REPLICA_LABEL}`,
    `--query.ring-replication-factor=${replicationFactor}`,
  ]);
  return {
    dataDir,
    files: {
      [hashrings]: `${JSON.stringify([{ hashring: "default", endpoints: ring.map(({ grpc }) => grpc) }], null, 2)}\n`,
      [bucket]:
        options.bucketConfig ??
        `type: FILESYSTEM\nconfig:\n  directory: ${JSON.stringify(at("bucket"))}\n`,
    },
    components: [...ring, uploader, store, query],
  };
}
