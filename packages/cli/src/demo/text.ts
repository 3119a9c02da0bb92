/** What `torus demo` tells its user once the cluster answers. */

import type { ClusterPlan } from "./plan.ts";

export const QUERIES = [
  "up",
  "sum by (job) (rate(process_cpu_seconds_total[1m]))",
  "histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[1m])))",
] as const;

export function queryUrl(plan: ClusterPlan, query: string): string {
  const node = plan.components.find(({ command }) => command === "query");
  return `http://${node?.http}/api/v1/query?query=${encodeURIComponent(query)}`;
}

export function demoText(plan: ClusterPlan, pid: (name: string) => number): string {
  const width = Math.max(...plan.components.map(({ name }) => name.length));
  const lines = ["", "The cluster answers.", ""];
  for (const { name, http, grpc, remoteWrite } of plan.components) {
    const write = remoteWrite === undefined ? "" : `  remote write ${remoteWrite}`;
    lines.push(`  ${name.padEnd(width)}  pid ${pid(name)}  HTTP ${http}  gRPC ${grpc}${write}`);
  }
  lines.push("", "Try these queries:", "");
  for (const query of QUERIES) lines.push(`  ${query}`, `    curl '${queryUrl(plan, query)}'`, "");
  const receivers = plan.components.filter(({ command }) => command === "receive");
  const [first, second = first] = receivers;
  lines.push("Send a Prometheus' samples here, in its prometheus.yml:", "");
  lines.push("  remote_write:", `    - url: http://${first?.remoteWrite}/api/v1/receive`, "");
  if (receivers.length > 1) {
    lines.push(`Kill a receiver, and ask again: kill -9 ${pid(second?.name ?? "")}`);
    lines.push('Then type "start" and Enter here, and it comes back with its data.');
  }
  lines.push(`Logs: ${plan.dataDir}/logs. Ctrl-C stops everything; the data stays.`, "");
  return lines.join("\n");
}
