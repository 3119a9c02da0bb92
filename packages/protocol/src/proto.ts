/**
 * The control messages (Info), by proto-loader from the project's .proto files: they are small and rare, so a generic
 * codec serves them. The files stand in `proto/` at the repository's root, and beside the bundled program.
 */

import { existsSync } from "node:fs";
import path from "node:path";
import { loadSync, type MethodDefinition, type ServiceDefinition } from "@grpc/proto-loader";
import { type Labels, labelsFromPairs } from "@torus/model";

/** The folder of the .proto files. */
export function protoDir(): string {
  const bundled = path.join(import.meta.dirname, "proto");
  return existsSync(bundled) ? bundled : path.join(import.meta.dirname, "../../../proto");
}

export const PROTO_FILES = ["types.proto", "info.proto", "store.proto"] as const;

export type TsdbInfo = { labels: Labels; minTime: number; maxTime: number };

export type EndpointInfo = {
  labelSets: Labels[];
  componentType: string;
  /** Null when the endpoint serves no StoreAPI. */
  store: {
    minTime: number;
    maxTime: number;
    supportsSharding: boolean;
    supportsWithoutReplicaLabels: boolean;
    tsdbInfos: TsdbInfo[];
  } | null;
  /** Whether it serves thanos.Metadata. */
  metricMetadata: boolean;
  /** Whether it serves thanos.Exemplars. */
  exemplars: boolean;
};

type LabelSetMessage = { labels?: { name?: string; value?: string }[] };
type InfoMessage = {
  label_sets?: LabelSetMessage[];
  ComponentType?: string;
  store?: {
    min_time?: string;
    max_time?: string;
    supports_sharding?: boolean;
    supports_without_replica_labels?: boolean;
    tsdb_infos?: { labels?: LabelSetMessage; min_time?: string; max_time?: string }[];
  };
  metric_metadata?: object | null;
  exemplars?: object | null;
};

let method: MethodDefinition<object, object> | undefined;

function infoMethod(): MethodDefinition<object, object> {
  if (method === undefined) {
    const definition = loadSync("info.proto", {
      includeDirs: [protoDir()],
      keepCase: true,
      longs: String,
    });
    const service = definition["thanos.info.Info"] as ServiceDefinition;
    method = service["Info"] as MethodDefinition<object, object>;
  }
  return method;
}

function labelSet(labels: Labels): LabelSetMessage {
  const out: { name: string; value: string }[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    out.push({ name: labels[i] as string, value: labels[i + 1] as string });
  }
  return { labels: out };
}

function labelsOf(set: LabelSetMessage | undefined): Labels {
  return labelsFromPairs(
    (set?.labels ?? []).map(({ name, value }) => [name ?? "", value ?? ""] as const),
  );
}

/** A number as the decimal text of the nearest int64. */
function int64(value: number): string {
  if (value >= 2 ** 63) return "9223372036854775807";
  if (value <= -(2 ** 63)) return "-9223372036854775808";
  return BigInt(value).toString();
}

export function encodeInfo(info: EndpointInfo): Uint8Array {
  const message: InfoMessage = {
    label_sets: info.labelSets.map(labelSet),
    ComponentType: info.componentType,
  };
  if (info.metricMetadata) message.metric_metadata = {};
  if (info.exemplars) message.exemplars = {};
  if (info.store !== null) {
    // Zero values are left out, as proto3 writes them.
    message.store = {
      ...times(info.store),
      ...(info.store.supportsSharding ? { supports_sharding: true } : {}),
      ...(info.store.supportsWithoutReplicaLabels ? { supports_without_replica_labels: true } : {}),
      tsdb_infos: info.store.tsdbInfos.map((tsdb) => ({
        labels: labelSet(tsdb.labels),
        ...times(tsdb),
      })),
    };
  }
  return new Uint8Array(infoMethod().responseSerialize(message));
}

function times({ minTime, maxTime }: { minTime: number; maxTime: number }) {
  return {
    ...(minTime === 0 ? {} : { min_time: int64(minTime) }),
    ...(maxTime === 0 ? {} : { max_time: int64(maxTime) }),
  };
}

export function decodeInfo(bytes: Uint8Array): EndpointInfo {
  const message = infoMethod().responseDeserialize(Buffer.from(bytes)) as InfoMessage;
  const { store } = message;
  return {
    exemplars: message.exemplars !== undefined && message.exemplars !== null,
    metricMetadata: message.metric_metadata !== undefined && message.metric_metadata !== null,
    labelSets: (message.label_sets ?? []).map(labelsOf),
    componentType: message.ComponentType ?? "",
    store:
      store === undefined || store === null
        ? null
        : {
            minTime: Number(store.min_time ?? 0),
            maxTime: Number(store.max_time ?? 0),
            supportsSharding: store.supports_sharding ?? false,
            supportsWithoutReplicaLabels: store.supports_without_replica_labels ?? false,
            tsdbInfos: (store.tsdb_infos ?? []).map((tsdb) => ({
              labels: labelsOf(tsdb.labels),
              minTime: Number(tsdb.min_time ?? 0),
              maxTime: Number(tsdb.max_time ?? 0),
            })),
          },
  };
}
