/** A query's plan, and what its operators cost, as Thanos' query_explain and analyze answer them. */

import type { AnalysisNode, PlanNode } from "@torus/promql";
import { goString } from "./json-writer.ts";

export function planJson({ name, children }: PlanNode): string {
  return `{"name":${goString(name)}${below(children.map(planJson))}}`;
}

export function analysisJson(node: AnalysisNode): string {
  const { name, timeMs, samples, peakSamples, children } = node;
  const fields = [
    `"name":${goString(name)}`,
    `"executionTime":"${goDuration(timeMs)}"`,
    `"peakSamples":${peakSamples}`,
    `"totalSamples":${samples}`,
  ];
  return `{${fields.join(",")}${below(children.map(analysisJson))}}`;
}

function below(children: readonly string[]): string {
  return children.length === 0 ? "" : `,"children":[${children.join(",")}]`;
}

/** A duration as Go prints it, to the microsecond: `0s`, `12µs`, `1.5ms`, `1m2.25s`. */
export function goDuration(ms: number): string {
  const us = Math.round(ms * 1000);
  if (us === 0) return "0s";
  if (us < 1000) return `${us}µs`;
  if (us < 1_000_000) return `${us / 1000}ms`;
  const hours = Math.floor(us / 3.6e9);
  const minutes = Math.floor((us - hours * 3.6e9) / 6e7);
  const seconds = Math.round(us - hours * 3.6e9 - minutes * 6e7) / 1e6;
  return `${hours > 0 ? `${hours}h` : ""}${hours > 0 || minutes > 0 ? `${minutes}m` : ""}${seconds}s`;
}
