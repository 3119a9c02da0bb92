/**
 * Prometheus' HTTP API on a query node: parameters in, a job for a query thread out, its bytes to the client.
 * Every failure becomes an answer in `apiError`.
 */

import type { Matcher } from "@torus/model";
import type { EngineFeature } from "@torus/promql";
import type { MetricMetadata, WireExemplars } from "@torus/protocol";
import type { ExemplarsCall } from "@torus/store";
import express, { type Express, type Request, type Response } from "express";
import { type Answer, send } from "./answer.ts";
import { ApiError, apiError } from "./api-error.ts";
import {
  type DataRequest,
  explainRequest,
  federateRequest,
  instantRequest,
  labelNamesRequest,
  labelValuesRequest,
  type RequestDefaults,
  rangeRequest,
  readRequest,
  seriesRequest,
  statisticsRequest,
  textRequest,
} from "./data-requests.ts";
import { exemplarsJson } from "./exemplars-json.ts";
import { CONSTANT_ANSWERS, noRules } from "./expression-endpoints.ts";
import { featuresJson } from "./features.ts";
import { answer, errorAnswer } from "./json-writer.ts";
import { metadataJson, metadataWanted } from "./metadata-json.ts";
import { MAX_TIME, MIN_TIME, Parameters } from "./parameters.ts";
import type { TaskAnswer, TaskRunner } from "./query-job.ts";
import { MAX_READ_REQUEST_BYTES } from "./remote-read.ts";
import { buildInfoJson, type ProcessInfo, runtimeInfoJson } from "./status.ts";

export type ApiOptions = RequestDefaults & {
  run: TaskRunner;
  /** Metadata of one metric, or of all for "", from whoever has some. */
  metadata: (call: {
    metric: string;
    timeoutMs: number;
    signal: AbortSignal;
  }) => Promise<ReadonlyMap<string, readonly MetricMetadata[]>>;
  /** Exemplars of what the query selects; times in ms. `replicaLabels` is null for the node's own. */
  exemplars: (
    call: Pick<ExemplarsCall, "query" | "start" | "end" | "timeoutMs" | "signal" | "onWarning"> & {
      dedup: boolean;
      replicaLabels: readonly string[] | null;
      storeMatch: readonly (readonly Matcher[])[];
    },
  ) => Promise<readonly WireExemplars[]>;
  /** JSON of `/api/v1/stores`' data. */
  stores: () => string;
  /** Flags with their values, for `/api/v1/status/flags`. */
  flags: Readonly<Record<string, string>>;
  features: readonly EngineFeature[];
  process: ProcessInfo;
  /** Threads of the process that run queries. */
  threads: () => number;
  timeoutMs: number;
  corsDisabled: boolean;
};

/** As many as Go's forms take. */
const MAX_FORM_BYTES = "10mb";

/** What differs beside the JSON API: a body that is no form, errors as plain text. */
type RouteKind = { isRawBody: boolean; isPlain: boolean };
const JSON_API: RouteKind = { isRawBody: false, isPlain: false };

/** One request: its parameters and what ends it. */
type ApiCall = {
  request: Request;
  parameters: Parameters;
  /** Aborted when the client leaves or the timeout passes. */
  signal: AbortSignal;
  timeoutMs: number;
};

type Answered = Omit<TaskAnswer, "parts"> & Pick<Answer, "parts">;

/** JSON of the answer's data, an answer in bytes, or none at all. */
type Handler = (call: ApiCall) => Promise<Answered | string | null> | string;

export function mountApi(app: Express, options: ApiOptions): void {
  const form = express.text({ type: "application/x-www-form-urlencoded", limit: MAX_FORM_BYTES });
  const route = (
    methods: readonly ("GET" | "POST" | "PUT")[],
    path: string,
    handler: Handler,
    kind: RouteKind = JSON_API,
  ) => {
    app.all(path.startsWith("/") ? path : `/api/v1/${path}`, (request, response) => {
      if (request.method === "OPTIONS") {
        cors(request, response, options);
        response.status(204).end();
      } else if (!methods.some((method) => method === request.method)) {
        response.setHeader("allow", [...methods, "OPTIONS"].join(", "));
        response.status(405).type("text/plain").send("Method Not Allowed\n");
      } else if (request.method === "POST") {
        const read = kind.isRawBody ? readBody : form;
        read(request, response, (error: unknown) => {
          if (error === undefined) void answerOne(request, response, options, handler, kind);
          else void fail(request, response, formError(error), kind);
        });
      } else void answerOne(request, response, options, handler, kind);
    });
  };
  const data =
    (read: DataRequest): Handler =>
    ({ request, parameters, signal, timeoutMs }) => {
      const { task, data: wanted, storeMatch } = read(parameters, request, options);
      const askedAtMs = options.now();
      return options.run({ task, data: wanted, timeoutMs, askedAtMs }, storeMatch, signal);
    };
  route(["GET", "POST"], "query", data(instantRequest));
  route(["GET", "POST"], "query_range", data(rangeRequest));
  route(["GET", "POST"], "query_explain", data(explainRequest(instantRequest)));
  route(["GET", "POST"], "query_range_explain", data(explainRequest(rangeRequest)));
  route(["GET", "POST"], "labels", data(labelNamesRequest));
  route(["GET"], "label/:name/values", data(labelValuesRequest));
  route(["GET", "POST"], "series", data(seriesRequest));
  route(["GET", "POST"], "format_query", data(textRequest("format")));
  route(["GET", "POST"], "parse_query", data(textRequest("parse")));
  const checkExemplars = data(textRequest("exemplars"));
  route(["GET", "POST"], "query_exemplars", async (call) => {
    // Parsed in a thread, as every query; without a selector there is no answer.
    const checked = await checkExemplars(call);
    if (await isNoData(checked)) return null;
    return exemplarsAnswer(call, options);
  });
  route(["GET"], "status/tsdb", data(statisticsRequest));
  route(["GET"], "/federate", data(federateRequest), { isRawBody: false, isPlain: true });
  route(["POST"], "read", data(readRequest), { isRawBody: true, isPlain: true });
  route(["GET"], "metadata", async ({ parameters, signal, timeoutMs }) => {
    const wanted = metadataWanted(parameters);
    const { metric } = wanted;
    return metadataJson(await options.metadata({ metric, timeoutMs, signal }), wanted);
  });
  route(["GET"], "rules", ({ parameters }) => noRules(parameters));
  for (const [path, json] of Object.entries(CONSTANT_ANSWERS)) route(["GET"], path, () => json);
  route(["GET"], "stores", () => options.stores());
  route(["GET"], "features", () => featuresJson(options.features));
  route(["GET"], "status/buildinfo", () => buildInfoJson(options.process));
  route(["GET"], "status/runtimeinfo", () => runtimeInfoJson(options.process, options.threads()));
  route(["GET"], "status/flags", () => JSON.stringify(options.flags));
  for (const path of ["delete_series", "clean_tombstones", "snapshot"]) {
    route(["POST", "PUT"], `admin/tsdb/${path}`, () => {
      throw new ApiError("unavailable", "admin APIs disabled", { status: 500 });
    });
  }
  app.options("/api/v1/*path", (request, response) => {
    cors(request, response, options);
    response.status(204).end();
  });
}

async function isNoData(found: Answered | string | null): Promise<boolean> {
  if (found === null || typeof found === "string") return found === null;
  const parts: Uint8Array[] = [];
  for await (const part of found.parts) parts.push(part);
  return Buffer.concat(parts).includes('"data":null');
}

async function exemplarsAnswer(
  { request, parameters, signal, timeoutMs }: ApiCall,
  options: ApiOptions,
): Promise<Answered> {
  const { data, storeMatch } = textRequest("exemplars")(parameters, request, options);
  const warnings: string[] = [];
  const found = await options.exemplars({
    query: parameters.text("query"),
    start: parameters.time("start", MIN_TIME),
    end: parameters.time("end", MAX_TIME),
    timeoutMs,
    signal,
    onWarning: (warning) => void warnings.push(warning),
    dedup: data.dedup,
    replicaLabels: data.replicaLabels,
    storeMatch,
  });
  if (warnings.length > 0 && !data.partialResponse) {
    throw new ApiError("execution", warnings.join("; "));
  }
  return {
    warned: warnings.length > 0,
    contentType: "application/json",
    contentEncoding: null,
    parts: [answer(exemplarsJson(found), warnings)],
  };
}

async function answerOne(
  request: Request,
  response: Response,
  options: ApiOptions,
  handler: Handler,
  kind: RouteKind,
): Promise<void> {
  cors(request, response, options);
  const left = new AbortController();
  response.once("close", () => {
    if (!response.writableEnded) left.abort(new ApiError("canceled", "the client left"));
  });
  try {
    const [, query = ""] = request.url.split(/\?(.*)/s);
    const body: unknown = request.body;
    const parameters = new Parameters(query, typeof body === "string" ? body : null);
    const timeoutMs = Math.min(
      options.timeoutMs,
      parameters.duration("timeout", options.timeoutMs),
    );
    const late = () =>
      left.abort(new ApiError("timeout", "query timed out in expression evaluation"));
    if (timeoutMs <= 0) late();
    const timer = setTimeout(late, timeoutMs);
    let found: Answered | string | null;
    try {
      found = await handler({ request, parameters, signal: left.signal, timeoutMs });
    } finally {
      clearTimeout(timer);
    }
    if (found === null) {
      response.status(204).end();
      return;
    }
    if (typeof found === "string") {
      await send(request, response, {
        status: 200,
        contentType: "application/json",
        parts: [answer(found)],
      });
      return;
    }
    const { warned, ...rest } = found;
    if (warned) response.setHeader("cache-control", "no-store");
    await send(request, response, { status: 200, ...rest });
  } catch (error) {
    await fail(request, response, apiError(left.signal.aborted ? left.signal.reason : error), kind);
  }
}

/** An answer that has begun can only be cut off: the client sees that it is not whole. */
async function fail(
  request: Request,
  response: Response,
  error: ApiError,
  { isPlain }: RouteKind,
): Promise<void> {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.setHeader("cache-control", "no-store");
  try {
    await send(request, response, {
      status: error.status,
      contentType: isPlain ? "text/plain; charset=utf-8" : "application/json",
      parts: [isPlain ? Buffer.from(`${error.message}\n`) : errorAnswer(error.type, error.message)],
    });
  } catch {
    // Whoever cannot be told why does not get an answer either.
    response.destroy();
  }
}

/** Of any content encoding, as `request.body`. @param done Told of an error. */
function readBody(request: Request, _: Response, done: (error?: unknown) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  request.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= MAX_READ_REQUEST_BYTES) chunks.push(chunk);
    else chunks.length = 0;
  });
  request.once("error", done);
  request.once("end", () => {
    request.body = Buffer.concat(chunks);
    if (size <= MAX_READ_REQUEST_BYTES) done();
    else
      done(
        new Error(`the body has ${size} bytes, of which there may be ${MAX_READ_REQUEST_BYTES}`),
      );
  });
}

/** What is wrong with the body of a POST. */
function formError(error: unknown): ApiError {
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError("bad_data", `error parsing form values: ${message}`);
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
