/**
 * The Kubernetes manifests and the compose file agree with each other and with the flags' defaults: names,
 * ports, selectors, hashring, probes, budgets. The schema itself is checked by kubernetes-validate (PyPI)
 * where that is installed.
 */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";

const ROOT = path.join(import.meta.dirname, "../..");
const MANIFESTS = path.join(ROOT, "deploy/kubernetes");

type Container = {
  name: string;
  image: string;
  args?: string[];
  ports?: { name: string; containerPort: number }[];
  livenessProbe?: unknown;
  readinessProbe?: unknown;
  resources?: { requests?: object; limits?: object };
  securityContext?: { allowPrivilegeEscalation?: boolean };
  volumeMounts?: { name: string }[];
};
type PodSpec = {
  containers: Container[];
  volumes?: { name: string; configMap?: { name: string }; secret?: { secretName: string } }[];
  securityContext?: { runAsNonRoot?: boolean };
  automountServiceAccountToken?: boolean;
};
type Manifest = {
  kind: string;
  metadata: { name: string; namespace?: string };
  data?: Record<string, string>;
  spec?: {
    replicas?: number;
    serviceName?: string;
    selector?: { matchLabels?: Record<string, string> } & Record<string, unknown>;
    ports?: { name: string; port: number; targetPort: string }[];
    template?: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    volumeClaimTemplates?: { metadata: { name: string } }[];
  };
};

const files = readdirSync(MANIFESTS).filter((file) => file.endsWith(".yaml"));
const manifests: Manifest[] = files.flatMap((file) =>
  parseAllDocuments(readFileSync(path.join(MANIFESTS, file), "utf8")).map(
    (document) => document.toJS() as Manifest,
  ),
);
const ofKind = (...kinds: string[]) => manifests.filter(({ kind }) => kinds.includes(kind));
const named = (kind: string, name: string): Manifest => {
  const found = manifests.find((m) => m.kind === kind && m.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
};
const workloads = ofKind("StatefulSet", "Deployment");
const podOf = (workload: Manifest): PodSpec => {
  const pod = workload.spec?.template?.spec;
  if (pod === undefined) throw new Error(`${workload.metadata.name} has no pod`);
  return pod;
};
const torusWorkloads = workloads.filter((w) =>
  podOf(w).containers.some(({ image }) => image.startsWith("torus:")),
);

test("every manifest is in the namespace that the manifests make", () => {
  expect(ofKind("Namespace").map(({ metadata }) => metadata.name)).toEqual(["torus"]);
  for (const manifest of manifests) {
    if (manifest.kind !== "Namespace") expect(manifest.metadata.namespace).toBe("torus");
  }
});

test("a kustomization lists every manifest file", () => {
  const { resources } = parse(
    readFileSync(path.join(ROOT, "deploy/kustomization.yaml"), "utf8"),
  ) as { resources: string[] };
  expect([...resources].sort()).toEqual(files.map((file) => `kubernetes/${file}`).sort());
});

describe.each(workloads.map((w) => [w.metadata.name, w] as const))("%s", (_, workload) => {
  const pod = podOf(workload);

  test("runs as a user without rights, with requests, limits and no service account token", () => {
    expect(pod.securityContext?.runAsNonRoot).toBe(true);
    expect(pod.automountServiceAccountToken).toBe(false);
    for (const container of pod.containers) {
      expect(container.securityContext?.allowPrivilegeEscalation).toBe(false);
      expect(container.resources?.requests).toHaveProperty("memory");
      expect(container.resources?.limits).toHaveProperty("memory");
    }
  });

  test("mounts only volumes that exist, from config maps and secrets that exist", () => {
    const volumes = new Set([
      ...(pod.volumes ?? []).map(({ name }) => name),
      ...(workload.spec?.volumeClaimTemplates ?? []).map(({ metadata }) => metadata.name),
    ]);
    for (const { volumeMounts } of pod.containers) {
      for (const { name } of volumeMounts ?? []) expect(volumes).toContain(name);
    }
    for (const { configMap, secret } of pod.volumes ?? []) {
      // The dashboards are a ConfigMap that kustomize makes.
      if (configMap !== undefined && configMap.name !== "torus-dashboards") {
        named("ConfigMap", configMap.name);
      }
      if (secret !== undefined) named("Secret", secret.secretName);
    }
  });

  test("has probes and selects its own pods", () => {
    for (const container of pod.containers) {
      expect(container).toHaveProperty("livenessProbe");
      expect(container).toHaveProperty("readinessProbe");
    }
    expect(workload.spec?.template?.metadata.labels).toMatchObject(
      workload.spec?.selector?.matchLabels ?? { none: "none" },
    );
  });
});

test("every service finds pods that have its ports", () => {
  for (const service of ofKind("Service")) {
    const selector = service.spec?.selector as Record<string, string>;
    const pods = workloads.filter((w) =>
      Object.entries(selector).every(
        ([key, value]) => w.spec?.template?.metadata.labels[key] === value,
      ),
    );
    expect(pods.length, service.metadata.name).toBe(1);
    const ports = podOf(pods[0] as Manifest).containers.flatMap((c) =>
      (c.ports ?? []).map(({ name }) => name),
    );
    for (const { targetPort } of service.spec?.ports ?? []) expect(ports).toContain(targetPort);
  }
});

test("every disruption budget selects one workload", () => {
  const budgets = ofKind("PodDisruptionBudget");
  expect(budgets.map(({ metadata }) => metadata.name).sort()).toEqual([
    "torus-query",
    "torus-receive",
    "torus-store",
  ]);
  for (const budget of budgets) {
    const labels = budget.spec?.selector?.matchLabels ?? {};
    const hits = workloads.filter((w) =>
      Object.entries(labels).every(([k, v]) => w.spec?.template?.metadata.labels[k] === v),
    );
    expect(hits).toHaveLength(1);
  }
});

test("the hashring, the receivers' own endpoints and the query node name the same addresses", () => {
  const receive = named("StatefulSet", "torus-receive");
  const pods = Array.from({ length: receive.spec?.replicas ?? 0 }, (_, i) => `torus-receive-${i}`);
  const endpoints = pods.map(
    (pod) => `${pod}.${receive.spec?.serviceName}.torus.svc.cluster.local:10901`,
  );
  const [ring] = JSON.parse(
    named("ConfigMap", "torus-hashring").data?.["hashrings.json"] ?? "[]",
  ) as { endpoints: string[] }[];
  expect(ring?.endpoints).toEqual(endpoints);

  const args = podOf(receive).containers[0]?.args ?? [];
  const local = args.find((arg) => arg.startsWith("--receive.local-endpoint="));
  expect(pods.map((pod) => local?.split("=")[1]?.replace("$(NAME)", pod))).toEqual(endpoints);

  const queried = (podOf(named("Deployment", "torus-query")).containers[0]?.args ?? [])
    .filter((arg) => arg.startsWith("--endpoint="))
    .map((arg) => arg.slice("--endpoint=".length));
  expect(queried).toEqual([
    ...endpoints,
    "torus-store-0.torus-store.torus.svc.cluster.local:10901",
  ]);
});

test("the program knows every flag that manifests and the compose file give it", () => {
  const compose = parse(readFileSync(path.join(ROOT, "docker-compose.yml"), "utf8"), {
    merge: true,
  }) as { services: Record<string, { image: string; command: string[] }> };
  const commands = [
    ...Object.values(compose.services)
      .filter(({ image }) => image.includes("torus:"))
      .map(({ command }) => command),
    ...torusWorkloads.map((w) => podOf(w).containers[0]?.args ?? []),
  ];
  expect(commands.length).toBeGreaterThan(6);
  for (const command of commands) {
    const subcommand = command.filter((word) => !word.startsWith("-"));
    const help = spawnSync(
      process.execPath,
      [path.join(ROOT, "dist/torus.mjs"), ...subcommand, "--help"],
      { encoding: "utf8" },
    );
    expect(help.status, help.stderr).toBe(0);
    for (const word of command) {
      const flag = /^--[^=]+/.exec(word)?.[0];
      if (flag !== undefined) expect(help.stdout, subcommand.join(" ")).toContain(flag);
    }
  }
});

const validator = process.env.KUBERNETES_VALIDATE ?? "kubernetes-validate";
const hasValidator = spawnSync(validator, ["--version"]).status === 0;

test.skipIf(!hasValidator).each(["1.25", "1.30", "1.37"])(
  "the manifests fit the schema of Kubernetes %s (needs kubernetes-validate)",
  (version) => {
    const paths = files.map((file) => path.join(MANIFESTS, file));
    const run = spawnSync(validator, ["--strict", "--kubernetes-version", version, ...paths], {
      encoding: "utf8",
    });
    expect(run.status, run.stdout + run.stderr).toBe(0);
  },
);
