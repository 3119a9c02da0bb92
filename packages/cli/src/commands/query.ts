/** `torus query`: Prometheus' HTTP API over the StoreAPI of many endpoints, replicas made one. */

import type { Matcher } from "@torus/model";
import type { EngineFeature } from "@torus/promql";
import { ENGINE_FEATURES, mountApi, WorkerPool } from "@torus/query";
import { createGrpcJsClient, type Logger } from "@torus/server";
import { type Endpoint, EndpointSet, spareReplicas } from "@torus/store";
import { defineCommand } from "../command.ts";
import { commonFlags, runComponent } from "../component.ts";
import { flag, flagGroup } from "../flags.ts";

export const query = defineCommand({
  name: "query",
  summary: "answer the Prometheus HTTP API from the StoreAPI of many endpoints",
  flags: {
    ...commonFlags,
    ...flagGroup("Endpoints", {
      endpoint: flag.strings("Address of a StoreAPI endpoint; repeatable.", {
        placeholder: "HOST:PORT",
      }),
      "endpoint-strict": flag.strings("An endpoint that is asked also while its Info fails.", {
        placeholder: "HOST:PORT",
      }),
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
        connect: (address) => createGrpcJsClient(address, { maxMessageBytes }),
        infoIntervalMs: config["endpoint.info-interval"],
        infoTimeoutMs: config["endpoint.info-timeout"],
        unhealthyTimeoutMs: config["store.unhealthy-timeout"],
        now: Date.now,
        log,
      });
      endpoints.set([
        ...config["endpoint-strict"].map((address) => ({ address, strict: true })),
        ...config.endpoint.map((address) => ({ address, strict: false })),
      ]);
      lifecycle.add("endpoints", { stop: () => endpoints.stop() });
      const features = enabledFeatures(config["enable-feature"], log);
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
          features,
          maxMessageBytes,
        },
        maxConcurrent: config["query.max-concurrent"],
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

/** Names that nothing here has are told and left out, as Prometheus does. */
function enabledFeatures(given: readonly string[], log: Logger): EngineFeature[] {
  const names = given.flatMap((text) => text.split(",")).filter((name) => name !== "");
  for (const name of names) {
    if (!ENGINE_FEATURES.some((feature) => feature === name)) {
      log.warn("unknown option for --enable-feature", { option: name });
    }
  }
  return ENGINE_FEATURES.filter((feature) => names.includes(feature));
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
