/** From the parameters of a request to the job that a query thread runs (Prometheus' HTTP API, Thanos' parameters). */

import type { Matcher } from "@torus/model";
import type { Request } from "express";
import { ApiError, badParameter } from "./api-error.ts";
import type { TextTask } from "./expression-endpoints.ts";
import { federateFormat } from "./federate-format.ts";
import {
  MAX_TIME,
  MIN_TIME,
  type Parameters,
  readSelectors,
  unescapeLabelName,
} from "./parameters.ts";
import type { DataOptions, QueryTask } from "./query-job.ts";

export type RequestDefaults = {
  lookbackDeltaMs: number;
  /** Step of range queries that name none; at least range/250 then. */
  defaultStepMs: number;
  partialResponse: boolean;
  /** Resolution is chosen by the step when a request names none. */
  autoDownsampling: boolean;
  tenantHeader: string;
  defaultTenant: string;
  now: () => number;
};

const MAX_POINTS = 11_000;

/** What a request wants to be run, and over which endpoints. */
export type Wanted = {
  task: QueryTask;
  data: DataOptions;
  /** Selectors on `__address__`; empty for all endpoints. */
  storeMatch: readonly (readonly Matcher[])[];
};

export type DataRequest = (
  parameters: Parameters,
  request: Request,
  defaults: RequestDefaults,
) => Wanted;

export const instantRequest: DataRequest = (parameters, request, defaults) => ({
  ...dataOptions(parameters, request, defaults, 0),
  task: {
    kind: "instant",
    ...evaluated(parameters, defaults),
    timeMs: parameters.time("time", defaults.now()),
  },
});

export const rangeRequest: DataRequest = (parameters, request, defaults) => {
  const startMs = parameters.requiredTime("start");
  const endMs = parameters.requiredTime("end");
  if (endMs < startMs) throw badParameter("end", "end timestamp must not be before start time");
  const missingStep = Math.max(defaults.defaultStepMs, Math.floor((endMs - startMs) / 250));
  const stepMs = parameters.duration("step", missingStep);
  if (stepMs <= 0) {
    throw badParameter(
      "step",
      "zero or negative query resolution step widths are not accepted. Try a positive integer",
    );
  }
  if (Math.floor((endMs - startMs) / stepMs) > MAX_POINTS) {
    throw new ApiError(
      "bad_data",
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
  }
  return {
    ...dataOptions(parameters, request, defaults, stepMs),
    task: { kind: "range", ...evaluated(parameters, defaults), startMs, endMs, stepMs },
  };
};

/** The plan of what the other request would evaluate. */
export function explainRequest(of: DataRequest): DataRequest {
  return (parameters, request, defaults) => {
    const { task, ...wanted } = of(parameters, request, defaults);
    if (task.kind !== "instant" && task.kind !== "range") return { ...wanted, task };
    const times =
      task.kind === "range"
        ? { startMs: task.startMs, endMs: task.endMs, stepMs: task.stepMs }
        : { startMs: task.timeMs, endMs: task.timeMs, stepMs: 0 };
    const { query, lookbackDeltaMs } = task;
    return { ...wanted, task: { kind: "explain", query, lookbackDeltaMs, ...times } };
  };
}

export const seriesRequest: DataRequest = (parameters, request, defaults) => {
  const task = { kind: "series" as const, ...selected(parameters) };
  if (task.selectors.length === 0) throw new ApiError("bad_data", "no match[] parameter provided");
  return { ...dataOptions(parameters, request, defaults, 0), task };
};

export const labelNamesRequest: DataRequest = (parameters, request, defaults) => ({
  ...dataOptions(parameters, request, defaults, 0),
  task: { kind: "labelNames", ...selected(parameters) },
});

export const labelValuesRequest: DataRequest = (parameters, request, defaults) => {
  const given = String(request.params["name"] ?? "");
  const name = unescapeLabelName(given);
  if (name === null || name === "")
    throw new ApiError("bad_data", `invalid label name: "${given}"`);
  return {
    ...dataOptions(parameters, request, defaults, 0),
    task: { kind: "labelValues", name, ...selected(parameters) },
  };
};

const STATISTICS_LIMIT = 10;
const MAX_STATISTICS_LIMIT = 10_000;
/** Where no times are given, what Prometheus' head holds. */
const STATISTICS_RANGE_MS = 2 * 3_600_000;

export const statisticsRequest: DataRequest = (parameters, request, defaults) => {
  const text = parameters.text("limit");
  const limit = text === "" ? STATISTICS_LIMIT : Number(text);
  if (!Number.isInteger(limit) || limit < 1) {
    throw new ApiError("bad_data", "limit must be a positive number");
  }
  if (limit > MAX_STATISTICS_LIMIT) {
    throw new ApiError("bad_data", `limit must not exceed ${MAX_STATISTICS_LIMIT}`);
  }
  const maxt = parameters.time("end", defaults.now());
  const mint = parameters.time("start", maxt - STATISTICS_RANGE_MS);
  const given = parameters.all("match[]");
  const selectors = given.length === 0 ? ['{__name__!=""}'] : given;
  return {
    ...dataOptions(parameters, request, defaults, 0),
    task: { kind: "statistics", selectors, mint, maxt, limit },
  };
};

export const federateRequest: DataRequest = (parameters, request, defaults) => {
  const wanted = dataOptions(parameters, request, defaults, 0);
  return {
    ...wanted,
    // Whoever stores the answer cannot tell that it is half of one.
    data: { ...wanted.data, partialResponse: parameters.boolean("partial_response", false) },
    task: {
      kind: "federate",
      selectors: parameters.all("match[]"),
      nowMs: defaults.now(),
      lookbackMs: defaults.lookbackDeltaMs,
      format: federateFormat(request.get("accept") ?? ""),
    },
  };
};

export const readRequest: DataRequest = (parameters, request, defaults) => {
  const wanted = dataOptions(parameters, request, defaults, 0);
  const body: unknown = request.body;
  return {
    ...wanted,
    data: { ...wanted.data, partialResponse: false },
    task: { kind: "read", body: body instanceof Uint8Array ? body : new Uint8Array(0) },
  };
};

export function textRequest(task: TextTask): DataRequest {
  return (parameters, request, defaults) => {
    if (task === "exemplars") {
      const start = parameters.time("start", MIN_TIME);
      const end = parameters.time("end", MAX_TIME);
      if (end < start)
        throw new ApiError("bad_data", "end timestamp must not be before start timestamp");
    }
    return {
      ...dataOptions(parameters, request, defaults, 0),
      task: { kind: "text", task, query: parameters.text("query") },
    };
  };
}

function evaluated(parameters: Parameters, { lookbackDeltaMs }: RequestDefaults) {
  return {
    query: parameters.text("query"),
    lookbackDeltaMs: parameters.duration("lookback_delta", lookbackDeltaMs),
    limit: parameters.limit(),
    stats: parameters.text("stats") !== "",
    analyze: parameters.boolean("analyze", false),
  };
}

function selected(parameters: Parameters) {
  const limit = parameters.limit();
  const mint = parameters.time("start", MIN_TIME);
  const maxt = parameters.time("end", MAX_TIME);
  if (maxt < mint) throw badParameter("end", "end timestamp must not be before start timestamp");
  return { selectors: parameters.all("match[]"), mint, maxt, limit };
}

/** They are read on the main thread, so they have to be short. */
const MAX_STORE_SELECTORS = 16_384;

function storeSelectors(texts: readonly string[]): Matcher[][] {
  const size = texts.reduce((sum, text) => sum + text.length, 0);
  if (size > MAX_STORE_SELECTORS) {
    throw badParameter(
      "storeMatch[]",
      `${size} characters, of which there may be ${MAX_STORE_SELECTORS}`,
    );
  }
  return readSelectors(texts, "storeMatch[]");
}

export function dataOptions(
  parameters: Parameters,
  request: Request,
  defaults: RequestDefaults,
  stepMs: number,
): Pick<Wanted, "data" | "storeMatch"> {
  const engine = parameters.text("engine");
  if (engine !== "" && engine !== "prometheus" && engine !== "thanos") {
    throw new ApiError("bad_data", `'${engine}' bad engine`);
  }
  const replicaLabels = parameters.all("replicaLabels[]").filter((label) => label !== "");
  const resolution = parameters.text("max_source_resolution");
  const auto = resolution === "auto" || (resolution === "" && defaults.autoDownsampling);
  return {
    storeMatch: storeSelectors(parameters.all("storeMatch[]")),
    data: {
      dedup: parameters.boolean("dedup", true),
      replicaLabels: replicaLabels.length > 0 ? replicaLabels : null,
      partialResponse: parameters.boolean("partial_response", defaults.partialResponse),
      maxResolutionMs: auto
        ? Math.floor(stepMs / 5)
        : resolution === ""
          ? 0
          : parameters.duration("max_source_resolution", 0),
      tenant: request.get(defaults.tenantHeader) ?? defaults.defaultTenant,
    },
  };
}
