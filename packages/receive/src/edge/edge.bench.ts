/**
 * What the edge costs a request of 2,000 series that it has seen before, by what is configured, beside the walk that
 * every request has. Where nothing is configured a request does not come here: the first case.
 */

import { parseRelabelConfigs, type Relabel, relabelWith } from "@torus/model";
import { encodeWriteRequest } from "@torus/protocol";
import { Registry } from "prom-client";
import { bench, describe } from "vitest";
import { withDecodedRequest } from "../decode.ts";
import { createReceiveMetrics } from "../metrics.ts";
import { quiet } from "../test-cluster.ts";
import { Edge, type EdgeOptions } from "./edge.ts";
import { HaElector } from "./ha-elector.ts";

const TENANT = "default-tenant";
const body = encodeWriteRequest(
  Array.from({ length: 2000 }, (_, i) => ({
    labels: [
      ["__name__", "node_network_receive_bytes_total"],
      ["__replica__", "a"],
      ["cluster", "production-eu-west-1"],
      ["device", `eth${i % 20}`],
      ["instance", `host-${String(Math.floor(i / 20)).padStart(4, "0")}.example.net:9100`],
      ["job", "node-exporter"],
      ["namespace", `team-${i % 10}`],
    ].flat(),
    timestamps: Float64Array.of(1_700_000_000_000),
    values: Float64Array.of(i),
  })),
);

const NOTHING: EdgeOptions = {
  relabel: () => null,
  splitTenantLabel: "",
  ha: null,
  labelLimits: () => null,
  maxBytes: 64 << 20,
};

function rules(text: string): () => Relabel {
  const relabel = relabelWith(parseRelabelConfigs(text, "utf8"));
  return () => relabel;
}

const elector = new HaElector({
  failoverMs: 30_000,
  maxClusters: 100,
  localEndpoint: "",
  connect: () => {
    throw new Error("there is nobody else");
  },
  metrics: createReceiveMetrics(new Registry()),
  log: quiet,
  now: Date.now,
});
const ha = { elector, clusterLabel: "cluster", replicaLabel: "__replica__" };
const drop = rules("[{source_labels: [__name__], regex: 'go_.*', action: drop}]");
const replace = rules("[{target_label: region, replacement: eu}]");

describe("2,000 series", () => {
  let parts = 0;
  bench("off: asked whether there is anything to do", () => {
    if (new Edge(NOTHING).isActive(TENANT)) parts++;
  });
  bench("the walk of the same request", () => {
    parts += withDecodedRequest(body, null, (walked) => walked.count);
  });
  const cases: [name: string, options: Partial<EdgeOptions>][] = [
    ["a rule that drops none of them", { relabel: drop }],
    ["a rule that adds a label", { relabel: replace }],
    ["an HA pair", { ha }],
    ["limits on labels", { labelLimits: () => ({ count: 30, nameLength: 100, valueLength: 100 }) }],
    ["ten tenants by a label", { splitTenantLabel: "namespace" }],
    [
      "an HA pair, a rule and limits",
      {
        ha,
        relabel: replace,
        labelLimits: () => ({ count: 30, nameLength: 100, valueLength: 100 }),
      },
    ],
  ];
  for (const [name, options] of cases) {
    const edge = new Edge({ ...NOTHING, ...options });
    bench(name, async () => {
      parts += (await edge.shape(body, TENANT, () => undefined)).parts.length;
    });
  }
  bench("a rule that adds a label, labels never seen before", async () => {
    const edge = new Edge({ ...NOTHING, relabel: replace });
    parts += (await edge.shape(body, TENANT, () => undefined)).parts.length;
  });
  if (parts < 0) throw new Error("unused");
});
