/** `/api/v1/metadata`: type, help and unit of metrics as endpoints tell them (Prometheus' HTTP API). */

import type { MetricMetadata } from "@torus/protocol";
import { ApiError } from "./api-error.ts";
import { goString } from "./json-writer.ts";
import type { Parameters } from "./parameters.ts";

/** Limits as Prometheus takes them: none below 0, and at 0 nothing for metrics and no limit for their entries. */
export type MetadataWanted = { metric: string; limit: number; limitPerMetric: number };

/** @throws {ApiError} */
export function metadataWanted(parameters: Parameters): MetadataWanted {
  const number = (name: string) => {
    const text = parameters.text(name);
    if (text === "") return -1;
    if (!/^[+-]?\d+$/.test(text)) throw new ApiError("bad_data", `${name} must be a number`);
    return Number(text);
  };
  return {
    metric: parameters.text("metric"),
    limit: number("limit"),
    limitPerMetric: number("limit_per_metric"),
  };
}

/** The JSON of the answer's data, metrics in ascending order. */
export function metadataJson(
  all: ReadonlyMap<string, readonly MetricMetadata[]>,
  { limit, limitPerMetric }: MetadataWanted,
): string {
  const names = [...all.keys()].sort();
  const parts = (limit < 0 ? names : names.slice(0, limit)).map((name) => {
    const entries = all.get(name) as readonly MetricMetadata[];
    const some = limitPerMetric > 0 ? entries.slice(0, limitPerMetric) : entries;
    const list = some.map(
      ({ type, help, unit }) =>
        `{"type":${goString(type)},"help":${goString(help)},"unit":${goString(unit)}}`,
    );
    return `${goString(name)}:[${list.join(",")}]`;
  });
  return `{${parts.join(",")}}`;
}
