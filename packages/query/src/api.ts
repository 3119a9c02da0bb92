/**
 * Prometheus' HTTP API on a query node (Prometheus' HTTP API): parameters in, engine or storage asked, JSON out.
 * Every failure becomes an answer in `apiError`.
 */

import { compareLabels, type Labels, type Matcher, type Queryable } from "@torus/model";
import type { QueryResult } from "@torus/promql";
import express, { type Express, type Request, type Response } from "express";
import { Admission } from "./admission.ts";
import { send } from "./answer.ts";
import { ApiError, apiError, badParameter } from "./api-error.ts";
import {
  formatQuery,
  NO_ALERTS,
  NO_TARGETS,
  noExemplars,
  noMetadata,
  noRules,
} from "./expression-endpoints.ts";
import { answer, errorAnswer, queryAnswer, seriesList, stringList } from "./json-writer.ts";
import { MAX_TIME, MIN_TIME, Parameters, unescapeLabelName } from "./parameters.ts";

/** How one request wants its data: Thanos' parameters beyond Prometheus'. */
export type DataOptions = {
  dedup: boolean;
  /** Null: those of the flags. */
  replicaLabels: readonly string[] | null;
  partialResponse: boolean;
  /** Milliseconds; 0 for raw data only. */
  maxResolutionMs: number;
  /** Selectors on `__address__`; empty for all endpoints. */
  storeMatch: readonly (readonly Matcher[])[];
  tenant: string;
};

export type EngineOptions = { signal: AbortSignal; lookbackDeltaMs: number };

/** What evaluates expressions. */
export interface QueryEngine {
  instant(
    data: Queryable,
    query: string,
    timeMs: number,
    options: EngineOptions,
  ): Promise<QueryResult>;
  range(
    data: Queryable,
    query: string,
    range: { startMs: number; endMs: number; stepMs: number },
    options: EngineOptions,
  ): Promise<QueryResult>;
}

export type ApiOptions = {
  engine: QueryEngine;
  data: (options: DataOptions) => Queryable;
  /** JSON of `/api/v1/stores`' data. */
  stores: () => string;
  /** Flags with their values, for `/api/v1/status/flags`. */
  flags: Readonly<Record<string, string>>;
  buildInfo: Readonly<Record<string, string>>;
  timeoutMs: number;
  maxConcurrent: number;
  lookbackDeltaMs: number;
  /** Step of range queries that name none; at least range/250 then. */
  defaultStepMs: number;
  partialResponse: boolean;
  /** Resolution is chosen by the step when a request names none. */
  autoDownsampling: boolean;
  tenantHeader: string;
  defaultTenant: string;
  corsDisabled: boolean;
  now: () => number;
};

const MAX_POINTS = 11_000;
const MAX_FORM_BYTES = "16mb";

type Handler = (call: ApiCall) => Promise<Iterable<Buffer>> | Iterable<Buffer>;

/** One request: its parameters and what ends it. */
type ApiCall = {
  request: Request;
  parameters: Parameters;
  /** Aborted when the client leaves or the timeout passes. */
  signal: AbortSignal;
  warnings: string[];
  onWarning: (text: string) => void;
};

export function mountApi(app: Express, options: ApiOptions): void {
  const admission = new Admission(options.maxConcurrent);
  const form = express.text({ type: "application/x-www-form-urlencoded", limit: MAX_FORM_BYTES });
  const route = (methods: readonly ("get" | "post")[], path: string, handler: Handler) => {
    const handle = (request: Request, response: Response) =>
      answerOne(request, response, options, handler);
    for (const method of methods) app[method](`/api/v1/${path}`, form, handle);
    app.all(`/api/v1/${path}`, (request, response) => {
      if (request.method === "OPTIONS") {
        cors(request, response, options);
        response.status(204).end();
        return;
      }
      const allowed = [...methods.map((method) => method.toUpperCase()), "OPTIONS"].join(", ");
      response.setHeader("allow", allowed);
      response.status(405).type("text/plain").send("Method Not Allowed\n");
    });
  };
  route(["get", "post"], "query", (call) => instant(call, options, admission));
  route(["get", "post"], "query_range", (call) => range(call, options, admission));
  route(["get", "post"], "labels", (call) => labelNames(call, options));
  route(["get"], "label/:name/values", (call) => labelValues(call, options));
  route(["get", "post"], "series", (call) => series(call, options));
  route(["get", "post"], "format_query", ({ parameters }) => [answer(formatQuery(parameters))]);
  route(["get", "post"], "query_exemplars", ({ parameters }) => [answer(noExemplars(parameters))]);
  route(["get"], "metadata", ({ parameters }) => [answer(noMetadata(parameters))]);
  route(["get"], "rules", ({ parameters }) => [answer(noRules(parameters))]);
  route(["get"], "alerts", () => [answer(NO_ALERTS)]);
  route(["get"], "targets", () => [answer(NO_TARGETS)]);
  route(["get"], "stores", () => [answer(options.stores())]);
  route(["get"], "status/buildinfo", () => [answer(JSON.stringify(options.buildInfo))]);
  route(["get"], "status/flags", () => [answer(JSON.stringify(options.flags))]);
}

async function answerOne(
  request: Request,
  response: Response,
  options: ApiOptions,
  handler: Handler,
): Promise<void> {
  cors(request, response, options);
  const left = new AbortController();
  response.once("close", () => {
    if (!response.writableEnded) left.abort(new ApiError("canceled", "the client left"));
  });
  const warnings: string[] = [];
  try {
    const [, query = ""] = request.url.split(/\?(.*)/s);
    const body: unknown = request.body;
    const parameters = new Parameters(query, typeof body === "string" ? body : null);
    const timeoutMs = Math.min(
      options.timeoutMs,
      parameters.duration("timeout", options.timeoutMs),
    );
    const timer = setTimeout(
      () => left.abort(new ApiError("timeout", "query timed out in expression evaluation")),
      timeoutMs,
    );
    let parts: Iterable<Buffer>;
    try {
      parts = await handler({
        request,
        parameters,
        signal: left.signal,
        warnings,
        onWarning: (text) => {
          if (!warnings.includes(text)) warnings.push(text);
        },
      });
    } finally {
      clearTimeout(timer);
    }
    if (warnings.length > 0) response.setHeader("cache-control", "no-store");
    await send(request, response, 200, parts);
  } catch (error) {
    const failed = apiError(left.signal.aborted ? left.signal.reason : error);
    if (response.headersSent) {
      response.destroy();
      return;
    }
    response.setHeader("cache-control", "no-store");
    await send(request, response, failed.status, [errorAnswer(failed.type, failed.message)]);
  }
}

function cors(
  request: Request,
  response: Response,
  { corsDisabled, tenantHeader }: ApiOptions,
): void {
  response.setHeader("vary", "Origin");
  if (corsDisabled || request.headers.origin === undefined) return;
  response.setHeader(
    "access-control-allow-headers",
    `Accept, Accept-Encoding, Authorization, Content-Type, Origin, ${tenantHeader}`,
  );
  response.setHeader("access-control-allow-methods", "GET, POST, OPTIONS");
  response.setHeader("access-control-expose-headers", "Date");
  response.setHeader("access-control-allow-origin", "*");
}

function dataOptions(
  { parameters, request }: ApiCall,
  options: ApiOptions,
  stepMs: number,
): DataOptions {
  const engine = parameters.text("engine");
  if (engine !== "" && engine !== "prometheus" && engine !== "thanos") {
    throw new ApiError("bad_data", `'${engine}' bad engine`);
  }
  const replicaLabels = parameters.all("replicaLabels[]").filter((label) => label !== "");
  const resolution = parameters.text("max_source_resolution");
  const auto = resolution === "auto" || (resolution === "" && options.autoDownsampling);
  return {
    dedup: parameters.boolean("dedup", true),
    replicaLabels: replicaLabels.length > 0 ? replicaLabels : null,
    partialResponse: parameters.boolean("partial_response", options.partialResponse),
    maxResolutionMs: auto
      ? Math.floor(stepMs / 5)
      : resolution === ""
        ? 0
        : parameters.duration("max_source_resolution", 0),
    storeMatch: parameters.selectors("storeMatch[]"),
    tenant: request.get(options.tenantHeader) ?? options.defaultTenant,
  };
}

function engineOptions(call: ApiCall, options: ApiOptions): EngineOptions {
  const lookbackDeltaMs = call.parameters.duration("lookback_delta", options.lookbackDeltaMs);
  return { signal: call.signal, lookbackDeltaMs };
}

function queryParts(call: ApiCall, result: QueryResult): Iterable<Buffer> {
  const limit = call.parameters.limit();
  let limited = result;
  if (
    limit > 0 &&
    (result.type === "vector" || result.type === "matrix") &&
    result.series.length > limit
  ) {
    limited = { ...result, series: result.series.slice(0, limit) };
    call.onWarning("results truncated due to limit");
  }
  const stats =
    call.parameters.text("stats") === ""
      ? null
      : JSON.stringify({
          samples: {
            totalQueryableSamples: result.stats.totalQueryableSamples,
            peakSamples: result.stats.peakSamples,
          },
        });
  const warnings = [...call.warnings, ...result.warnings.filter((w) => !call.warnings.includes(w))];
  return queryAnswer(limited, { stats, warnings, infos: result.infos });
}

async function instant(
  call: ApiCall,
  options: ApiOptions,
  admission: Admission,
): Promise<Iterable<Buffer>> {
  const { parameters } = call;
  parameters.limit();
  const time = parameters.time("time", options.now());
  const data = watched(options.data(dataOptions(call, options, 0)), call);
  const result = await admission.run(call.signal, () =>
    options.engine.instant(data, parameters.text("query"), time, engineOptions(call, options)),
  );
  return queryParts(call, result);
}

async function range(
  call: ApiCall,
  options: ApiOptions,
  admission: Admission,
): Promise<Iterable<Buffer>> {
  const { parameters } = call;
  parameters.limit();
  const startMs = parameters.requiredTime("start");
  const endMs = parameters.requiredTime("end");
  if (endMs < startMs) throw badParameter("end", "end timestamp must not be before start time");
  const missingStep = Math.max(options.defaultStepMs, Math.floor((endMs - startMs) / 250));
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
  const data = watched(options.data(dataOptions(call, options, stepMs)), call);
  const result = await admission.run(call.signal, () =>
    options.engine.range(
      data,
      parameters.text("query"),
      { startMs, endMs, stepMs },
      engineOptions(call, options),
    ),
  );
  return queryParts(call, result);
}

/** Storage warnings reach the answer, whatever the engine makes of them. */
function watched(data: Queryable, call: ApiCall): Queryable {
  const tell = (onWarning: (text: string) => void) => (text: string) => {
    call.onWarning(text);
    onWarning(text);
  };
  return {
    select: (select) => data.select({ ...select, onWarning: tell(select.onWarning) }),
    labelNames: (select) => data.labelNames({ ...select, onWarning: tell(select.onWarning) }),
    labelValues: (name, select) =>
      data.labelValues(name, { ...select, onWarning: tell(select.onWarning) }),
  };
}

function labelRange({ parameters }: ApiCall): { mint: number; maxt: number } {
  const mint = parameters.time("start", MIN_TIME);
  const maxt = parameters.time("end", MAX_TIME);
  if (maxt < mint) throw badParameter("end", "end timestamp must not be before start time");
  return { mint, maxt };
}

/** The union over all `match[]` of what `ask` gives for one, sorted and cut at the limit. */
async function labelUnion(
  call: ApiCall,
  ask: (matchers: readonly Matcher[]) => Promise<string[]>,
): Promise<Iterable<Buffer>> {
  const limit = call.parameters.limit();
  const selectors = call.parameters.selectors();
  const lists = await Promise.all((selectors.length === 0 ? [[]] : selectors).map(ask));
  let strings = lists[0] ?? [];
  if (lists.length > 1) {
    strings = [...new Set(lists.flat())].sort((a, b) => compareLabels([a], [b]));
  }
  if (limit > 0 && strings.length > limit) {
    strings = strings.slice(0, limit);
    call.onWarning("results truncated due to limit");
  }
  return [answer(stringList(strings), call.warnings)];
}

function labelNames(call: ApiCall, options: ApiOptions): Promise<Iterable<Buffer>> {
  const times = labelRange(call);
  const data = options.data(dataOptions(call, options, 0));
  return labelUnion(call, (matchers) =>
    data.labelNames({
      ...times,
      matchers,
      limit: 0,
      signal: call.signal,
      onWarning: call.onWarning,
    }),
  );
}

function labelValues(call: ApiCall, options: ApiOptions): Promise<Iterable<Buffer>> {
  const given = String(call.request.params["name"] ?? "");
  const name = unescapeLabelName(given);
  if (name === null || name === "")
    throw new ApiError("bad_data", `invalid label name: "${given}"`);
  const times = labelRange(call);
  const data = options.data(dataOptions(call, options, 0));
  return labelUnion(call, (matchers) =>
    data.labelValues(name, {
      ...times,
      matchers,
      limit: 0,
      signal: call.signal,
      onWarning: call.onWarning,
    }),
  );
}

async function series(call: ApiCall, options: ApiOptions): Promise<Iterable<Buffer>> {
  const limit = call.parameters.limit();
  const selectors = call.parameters.selectors();
  if (selectors.length === 0) throw new ApiError("bad_data", "no match[] parameter provided");
  const { mint, maxt } = labelRange(call);
  const data = options.data(dataOptions(call, options, 0));
  const found = new Map<string, Labels>();
  for (const matchers of selectors) {
    const batches = data.select({
      mint,
      maxt,
      matchers,
      skipChunks: true,
      limit: limit === 0 ? 0 : limit + 1,
      signal: call.signal,
      hints: { stepMs: 0, rangeMs: 0, func: "series", grouping: [], by: false },
      onWarning: call.onWarning,
    });
    for await (const batch of batches) {
      for (const { labels } of batch) found.set(JSON.stringify(labels), labels);
    }
  }
  let all = [...found.values()];
  if (selectors.length > 1) all.sort(compareLabels);
  if (limit > 0 && all.length > limit) {
    all = all.slice(0, limit);
    call.onWarning("results truncated due to limit");
  }
  return [answer(seriesList(all), call.warnings)];
}
