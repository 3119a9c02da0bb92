/** `torus query`: Prometheus' HTTP API over the StoreAPI of many endpoints, replicas made one. */

import type { Matcher } from "@torus/model";
import {
  ENGINE_FEATURES,
  EndpointAddressError,
  EndpointFileError,
  EndpointSource,
  mountApi,
  parseEndpointAddress,
  parseEndpointFile,
  systemDns,
  WorkerPool,
} from "@torus/query";
import { ConfigError, errorText, readConfig, watchConfig } from "@torus/server";
import {
  type ClientTls,
  type Endpoint,
  EndpointSet,
  type EndpointSpec,
  fanOutExemplars,
  fanOutMetadata,
  openStoreClient,
  spareReplicas,
} from "@torus/store";
import { defineCommand, UsageError } from "../command.ts";
import { commonFlags, runComponent } from "../component.ts";
import { enabledFeatures } from "../features.ts";
import { flag, flagGroup } from "../flags.ts";

export const query = defineCommand({
  name: "query",
  summary: "answer the Prometheus HTTP API from the StoreAPI of many endpoints",
  flags: {
    ...commonFlags,
    ...flagGroup("Endpoints", {
      endpoint: flag.strings(
        "Address of a StoreAPI endpoint, or dns+HOST:PORT, dnssrv+NAME, dnssrvnoa+NAME for all that DNS tells; repeatable.",
        { placeholder: "HOST:PORT" },
      ),
      "endpoint-strict": flag.strings("An endpoint that is asked also while its Info fails.", {
        placeholder: "HOST:PORT",
      }),
      "endpoint.sd-config": flag.string("YAML with endpoints, instead of the file.", {
        default: "",
        placeholder: "YAML",
      }),
      "endpoint.sd-config-file": flag.string("YAML file with endpoints; it is followed.", {
        default: "",
        placeholder: "FILE",
      }),
      "endpoint.sd-config-reload-interval": flag.duration(
        "Time between two looks at the file, besides a watch on it.",
        { default: "5m" },
      ),
      "store.sd-dns-interval": flag.duration("Time between two questions to DNS.", {
        default: "30s",
      }),
      "grpc-client-tls-secure": flag.boolean("TLS towards endpoints."),
      "grpc-client-tls-skip-verify": flag.boolean("Take any certificate of an endpoint."),
      "grpc-client-tls-cert": flag.string("TLS certificate of the client.", {
        default: "",
        placeholder: "FILE",
      }),
      "grpc-client-tls-key": flag.string("TLS key of the client.", {
        default: "",
        placeholder: "FILE",
      }),
      "grpc-client-tls-ca": flag.string("CA that signs the endpoints' certificates.", {
        default: "",
        placeholder: "FILE",
      }),
      "grpc-client-server-name": flag.string(
        "Name expected in the endpoints' certificates instead of the address' host.",
        { default: "" },
      ),
      "endpoint.info-interval": flag.duration("Pause between two Info calls.", {
        default: "5s",
        hidden: true,
      }),
      "endpoint.info-timeout": flag.duration("Time that an Info call may take.", {
        default: "5s",
        hidden: true,
      }),
      "store.unhealthy-timeout": flag.duration(
        "Time after which a silent endpoint is neither listed nor missed.",
        {
          default: "5m",
        },
      ),
      "store.response-timeout": flag.duration("Longest wait for a frame; 0 for no limit.", {
        default: "0s",
      }),
    }),
    ...flagGroup("Queries", {
      "query.replica-label": flag.strings("Label that tells replicas apart; repeatable."),
      "query.ring-replica-label": flag.strings(
        "Label that tells a hashring's copies of the same samples apart; repeatable.",
      ),
      "query.ring-replication-factor": flag.integer(
        "Copies that the hashring makes. With 3 or more, one node of the ring may be silent (with 5, two) without a warning: its samples are in the answers of others.",
        { default: "1" },
      ),
      "deduplication.func": flag.choice("How replicas become one.", ["penalty", "chain"], {
        default: "penalty",
      }),
      "query.timeout": flag.duration("Time that a query may take.", { default: "2m" }),
      "query.max-concurrent": flag.integer("Queries at a time.", { default: "20" }),
      "query.max-samples": flag.integer("Samples that a query may hold at a time.", {
        default: "50000000",
      }),
      "query.max-bytes": flag.bytes(
        "Bytes that a query may hold at a time; one that needs more ends with an error. 0 for no limit.",
        { default: "1GiB" },
      ),
      "query.max-total-bytes": flag.bytes(
        "Bytes that all queries together may hold; one that would bring them above ends with an error. 0 for no limit.",
        { default: "4GiB" },
      ),
      "query.lookback-delta": flag.duration("How far an instant selector looks back.", {
        default: "5m",
      }),
      "query.default-evaluation-interval": flag.duration("Step of a subquery that names none.", {
        default: "1m",
      }),
      "enable-feature": flag.strings(
        `Experimental parts of the language, as Prometheus names them: ${ENGINE_FEATURES.join(", ")}; repeatable, or with commas.`,
        { placeholder: "NAME" },
      ),
      "query.default-step": flag.duration("Least step of a range query that names none.", {
        default: "1s",
      }),
      "query.partial-response": flag.boolean("Answer without the endpoints that fail.", {
        default: true,
      }),
      "query.auto-downsampling": flag.boolean("Choose the resolution by the step."),
      "query.tenant-header": flag.string("Header that names the tenant.", {
        default: "THANOS-TENANT",
      }),
      "query.default-tenant-id": flag.string("Tenant of requests that name none.", {
        default: "default-tenant",
      }),
      "web.disable-cors": flag.boolean("Send no CORS headers."),
    }),
  },
  run: (config, env) =>
    runComponent("query", config, env, async ({ log, metrics, lifecycle, http }) => {
      const maxMessageBytes = config["grpc-max-message-size"];
      const endpoints = new EndpointSet({
        connect: (spec) => openStoreClient(spec, maxMessageBytes),
        infoIntervalMs: config["endpoint.info-interval"],
        infoTimeoutMs: config["endpoint.info-timeout"],
        unhealthyTimeoutMs: config["store.unhealthy-timeout"],
        now: Date.now,
        log,
      });
      lifecycle.add("endpoints", { stop: () => endpoints.stop() });
      const source = new EndpointSource({ endpoints, dns: systemDns, log });
      lifecycle.add("endpoint source", { stop: () => source.stop() });
      const tls = clientTls(config);
      const sd = {
        file: config["endpoint.sd-config-file"],
        inline: config["endpoint.sd-config"],
      };
      const sdText = await readConfig("--endpoint.sd-config", sd);
      const applySd = (text: string) => source.setFile(parseEndpointFile(text, tls));
      try {
        await source.setFlags(specsOf(config["endpoint-strict"], config.endpoint, tls));
        if (sdText !== undefined) await applySd(sdText);
      } catch (error) {
        if (!(error instanceof EndpointFileError || error instanceof EndpointAddressError))
          throw error;
        throw new ConfigError(errorText(error), { cause: error });
      }
      if (sd.file !== "" && sdText !== undefined) {
        const watch = watchConfig(sdText, {
          file: sd.file,
          refreshMs: config["endpoint.sd-config-reload-interval"],
          log,
          apply: applySd,
        });
        lifecycle.add("endpoint configuration", { stop: () => watch.stop() });
      }
      source.start(config["store.sd-dns-interval"]);
      const maxConcurrent = config["query.max-concurrent"];
      if (maxConcurrent < 1) throw new UsageError("--query.max-concurrent must be at least 1");
      const features = enabledFeatures(ENGINE_FEATURES, config["enable-feature"], log);
      const pool = new WorkerPool({
        settings: {
          ringReplicaLabels: config["query.ring-replica-label"],
          replicaLabels: config["query.replica-label"],
          algorithm: config["deduplication.func"],
          spareReplicas: spareReplicas(config["query.ring-replication-factor"]),
          responseTimeoutMs: config["store.response-timeout"],
          maxSamples: config["query.max-samples"],
          maxBytes: config["query.max-bytes"],
          maxTotalBytes: config["query.max-total-bytes"],
          lookbackDeltaMs: config["query.lookback-delta"],
          noStepSubqueryIntervalMs: config["query.default-evaluation-interval"],
          features,
          maxMessageBytes,
        },
        maxConcurrent,
        log,
        metrics,
      });
      lifecycle.add("query threads", { stop: () => pool.stop() });
      mountApi(http.app, {
        run: async (job, storeMatch, signal) => {
          const asked = chosen(await endpoints.stores(), storeMatch);
          return pool.run(
            job,
            asked.map(({ state }) => state),
            signal,
          );
        },
        stores: () => storesJson(endpoints.listed()),
        exemplars: async ({ dedup, replicaLabels, storeMatch, ...call }) => {
          const own = config["query.replica-label"];
          return fanOutExemplars(chosen(endpoints.listed(), storeMatch), {
            ...call,
            replicaLabels: dedup
              ? [...config["query.ring-replica-label"], ...(replicaLabels ?? own)]
              : [],
          });
        },
        metadata: (call) =>
          fanOutMetadata(endpoints.listed(), {
            ...call,
            limit: 0,
            onWarning: (warning) => log.warn("metadata", { warning }),
          }),
        flags: Object.fromEntries(
          Object.entries(config).map(([name, value]) => [name, String(value)]),
        ),
        features,
        process: { version: env.version, startMs: Date.now(), now: Date.now },
        threads: () => pool.threads,
        timeoutMs: config["query.timeout"],
        lookbackDeltaMs: config["query.lookback-delta"],
        defaultStepMs: config["query.default-step"],
        partialResponse: config["query.partial-response"],
        autoDownsampling: config["query.auto-downsampling"],
        tenantHeader: config["query.tenant-header"],
        defaultTenant: config["query.default-tenant-id"],
        corsDisabled: config["web.disable-cors"],
        now: Date.now,
      });
      await endpoints.start();
    }),
});

/** @throws {UsageError} */
function clientTls(config: {
  readonly "grpc-client-tls-secure": boolean;
  readonly "grpc-client-tls-skip-verify": boolean;
  readonly "grpc-client-tls-cert": string;
  readonly "grpc-client-tls-key": string;
  readonly "grpc-client-tls-ca": string;
  readonly "grpc-client-server-name": string;
}): ClientTls | null {
  const tls = {
    certFile: config["grpc-client-tls-cert"],
    keyFile: config["grpc-client-tls-key"],
    caFile: config["grpc-client-tls-ca"],
    serverName: config["grpc-client-server-name"],
    skipVerify: config["grpc-client-tls-skip-verify"],
  };
  if ((tls.certFile === "") !== (tls.keyFile === "")) {
    throw new UsageError("both --grpc-client-tls-cert and --grpc-client-tls-key must be given");
  }
  return config["grpc-client-tls-secure"] ? tls : null;
}

/** @throws {EndpointAddressError} */
function specsOf(
  strict: readonly string[],
  others: readonly string[],
  tls: ClientTls | null,
): EndpointSpec[] {
  const all = [
    ...strict.map((address) => ({ address, strict: true, tls })),
    ...others.map((address) => ({ address, strict: false, tls })),
  ];
  for (const { address } of all) parseEndpointAddress(address);
  return all;
}

/** Those that pass one of the selectors on `__address__`; all when there are none. */
function chosen(
  endpoints: readonly Endpoint[],
  storeMatch: readonly (readonly Matcher[])[],
): readonly Endpoint[] {
  if (storeMatch.length === 0) return endpoints;
  return endpoints.filter(({ address }) =>
    storeMatch.some((matchers) =>
      matchers.every((each) => each.name === "__address__" && each.matches(address)),
    ),
  );
}

/** The data of `/api/v1/stores`, as Thanos shows it: endpoints by component. */
function storesJson(endpoints: readonly Endpoint[]): string {
  const byComponent = new Map<string, string[]>();
  for (const { address, info, lastError, lastCheckMs } of endpoints) {
    const component = info?.componentType ?? "unknown";
    const labelSets = (info?.labelSets ?? []).map((labels) => {
      const pairs = labels.flatMap((name, i) => (i % 2 === 0 ? [[name, labels[i + 1] ?? ""]] : []));
      return Object.fromEntries(pairs) as Record<string, string>;
    });
    const fields = [
      `"name":${JSON.stringify(address)}`,
      `"lastCheck":${JSON.stringify(new Date(lastCheckMs).toISOString())}`,
      `"lastError":${lastError === "" ? "null" : JSON.stringify(lastError)}`,
      `"labelSets":${JSON.stringify(labelSets)}`,
      `"minTime":${int64(info?.store?.minTime ?? 0)}`,
      `"maxTime":${int64(info?.store?.maxTime ?? 0)}`,
    ];
    byComponent.set(component, [...(byComponent.get(component) ?? []), `{${fields.join(",")}}`]);
  }
  const all = [...byComponent].map(([name, list]) => `${JSON.stringify(name)}:[${list.join(",")}]`);
  return `{${all.join(",")}}`;
}

/** The ends of int64 are no float64: JSON gets them in full. */
function int64(ms: number): string {
  return BigInt.asIntN(64, ms >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(ms)).toString();
}
