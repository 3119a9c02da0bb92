/** `/api/v1/query_exemplars` (Prometheus' HTTP API). */

import { timeText, valueText } from "@torus/kernels";
import type { Labels } from "@torus/model";
import type { WireExemplars } from "@torus/protocol";
import { goString } from "./json-writer.ts";

/** The JSON of the answer's data. */
export function exemplarsJson(all: readonly WireExemplars[]): string {
  const series = all.map(({ labels, exemplars }) => {
    const list = exemplars.map(
      (each) =>
        `{"labels":${labelsJson(each.labels)},"value":"${valueText(each.value)}","timestamp":${timeText(each.time)}}`,
    );
    return `{"seriesLabels":${labelsJson(labels)},"exemplars":[${list.join(",")}]}`;
  });
  return `[${series.join(",")}]`;
}

function labelsJson(labels: Labels): string {
  const pairs: string[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    pairs.push(`${goString(labels[i] as string)}:${goString(labels[i + 1] as string)}`);
  }
  return `{${pairs.join(",")}}`;
}
