/** One task from storage to the bytes of its answer. Knows neither HTTP nor threads. */

import {
  compareLabels,
  type LabelSelect,
  type Labels,
  type Matcher,
  MatcherRegexError,
  type Queryable,
} from "@torus/model";
import {
  Engine,
  type EngineFeature,
  type Feature,
  type PlanNode,
  PromqlParseError,
  parseExpr,
  parseMetricSelector,
  QueryExecutionError,
  type QueryResult,
  valueType,
} from "@torus/promql";
import { analysisJson, planJson } from "./analysis-json.ts";
import { ApiError, badParameter } from "./api-error.ts";
import type { ByteBudget } from "./byte-budget.ts";
import { textAnswer } from "./expression-endpoints.ts";
import { federate } from "./federate.ts";
import { contentTypeOf } from "./federate-format.ts";
import { answer, queryAnswer, seriesList, stringList } from "./json-writer.ts";
import { readSelectors } from "./parameters.ts";
import type { QuerySettings, QueryTask, TaskAnswer } from "./query-job.ts";
import { remoteRead } from "./remote-read.ts";
import { SeriesStatistics } from "./series-statistics.ts";

export type TaskContext = {
  data: Queryable;
  settings: Pick<
    QuerySettings,
    "maxSamples" | "lookbackDeltaMs" | "noStepSubqueryIntervalMs" | "features"
  >;
  timeoutMs: number;
  /** When the request came; its evaluation begins now. */
  askedAtMs: number;
  budget: ByteBudget;
  signal: AbortSignal;
  now: () => number;
};

export type TaskParts = Omit<TaskAnswer, "parts"> & {
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
};

const LIMITED = "results truncated due to limit";

/** What the storage says, each text once. */
class Warnings {
  readonly texts: string[] = [];
  readonly add = (text: string): void => {
    if (!this.texts.includes(text)) this.texts.push(text);
  };
}

export async function runTask(task: QueryTask, context: TaskContext): Promise<TaskParts> {
  const warnings = new Warnings();
  switch (task.kind) {
    case "instant":
    case "range": {
      const begunMs = context.now();
      const result = await evaluated(task, context, warnings);
      const evalSeconds = (context.now() - begunMs) / 1000;
      const queueSeconds = Math.max(0, begunMs - context.askedAtMs) / 1000;
      const parts = queryParts(
        task,
        result,
        warnings,
        statsJson(result, evalSeconds, queueSeconds),
      );
      return json(parts, warnings, result.warnings.length > 0);
    }
    case "explain":
      return json([answer(planJson(explained(task, context)))], warnings);
    case "series":
      return json([await series(task, context, warnings)], warnings);
    case "text":
      return json([answer(textAnswer(task.task, task.query))], warnings);
    case "read": {
      const { data, signal, budget, settings } = context;
      const { maxSamples } = settings;
      const read = await remoteRead(task.body, {
        data,
        signal,
        maxSamples,
        charge: budget.storage,
      });
      return { ...read, warned: false };
    }
    case "federate": {
      const { selectors, ...when } = task;
      const { data, signal, budget } = context;
      const onWarning = (text: string) => {
        throw new QueryExecutionError(text);
      };
      const options = { ...when, data, signal, onWarning, charge: budget.storage };
      return {
        contentType: contentTypeOf(task.format),
        contentEncoding: null,
        warned: false,
        parts: await federate(federated(selectors), options),
      };
    }
    case "statistics":
      return json([await statistics(task, context, warnings)], warnings);
    case "labelNames":
      return json([await labels(task, context, warnings)], warnings);
    case "labelValues":
      return json([await labels(task, context, warnings)], warnings);
  }
}

function json(parts: Iterable<Uint8Array>, warnings: Warnings, warned = false): TaskParts {
  return {
    contentType: "application/json",
    contentEncoding: null,
    warned: warned || warnings.texts.length > 0,
    parts,
  };
}

/** Unlike elsewhere, a selector may select everything. @throws {ApiError} */
function federated(texts: readonly string[]): (readonly Matcher[])[] {
  return texts.map((text) => {
    try {
      return parseMetricSelector(text);
    } catch (error) {
      if (!(error instanceof PromqlParseError || error instanceof MatcherRegexError)) throw error;
      throw new ApiError("bad_data", error.message);
    }
  });
}

function engineFor({ settings, timeoutMs, now }: TaskContext): Engine {
  const enabledFeatures = new Set(settings.features);
  return new Engine({
    ...settings,
    enabledFeatures,
    timeoutMs,
    now,
    clock: () => performance.now(),
  });
}

function explained(task: QueryTask & { kind: "explain" }, context: TaskContext): PlanNode {
  const { query, lookbackDeltaMs, ...times } = task;
  const kind = task.stepMs === 0 ? "instant" : "range";
  checkExpression({ kind, query }, context.settings.features);
  return engineFor(context).explain(query, times, { lookbackDeltaMs });
}

function evaluated(
  task: QueryTask & { kind: "instant" | "range" },
  context: TaskContext,
  warnings: Warnings,
): Promise<QueryResult> {
  const { data, settings, budget, signal } = context;
  checkExpression(task, settings.features);
  const engine = engineFor(context);
  const options = {
    signal,
    lookbackDeltaMs: task.lookbackDeltaMs,
    charge: budget.evaluation,
    analyze: task.analyze,
  };
  const told = watched(data, warnings);
  return task.kind === "instant"
    ? engine.instant(told, task.query, task.timeMs, options)
    : engine.range(told, task.query, task.startMs, task.endMs, task.stepMs, options);
}

/** What is wrong with the text is the request's fault, and no failure of its execution. @throws {ApiError} */
function checkExpression(
  { kind, query }: { kind: "instant" | "range"; query: string },
  features: readonly EngineFeature[],
): void {
  const enabledFeatures = new Set(features.filter(isParserFeature));
  let type: ReturnType<typeof valueType>;
  try {
    type = valueType(parseExpr(query, { enabledFeatures }));
  } catch (error) {
    if (!(error instanceof PromqlParseError || error instanceof MatcherRegexError)) throw error;
    throw badParameter("query", error.message);
  }
  if (kind === "range" && type !== "vector" && type !== "scalar") {
    const name = type === "matrix" ? "range vector" : type;
    throw badParameter(
      "query",
      `invalid expression type "${name}" for range query, must be Scalar or instant Vector`,
    );
  }
}

function isParserFeature(feature: EngineFeature): feature is Feature {
  return feature !== "promql-delayed-name-removal" && feature !== "use-start-timestamps";
}

/** Storage warnings reach the answer, whatever the engine makes of them. */
function watched(data: Queryable, warnings: Warnings): Queryable {
  const tell = (onWarning: (text: string) => void) => (text: string) => {
    warnings.add(text);
    onWarning(text);
  };
  return {
    select: (select) => data.select({ ...select, onWarning: tell(select.onWarning) }),
    labelNames: (select) => data.labelNames({ ...select, onWarning: tell(select.onWarning) }),
    labelValues: (name, select) =>
      data.labelValues(name, { ...select, onWarning: tell(select.onWarning) }),
  };
}

function queryParts(
  { limit, stats }: QueryTask & { kind: "instant" | "range" },
  result: QueryResult,
  warnings: Warnings,
  statsText: string,
): Iterable<Buffer> {
  let limited = result;
  if (
    limit > 0 &&
    (result.type === "vector" || result.type === "matrix") &&
    result.series.length > limit
  ) {
    limited = { ...result, series: result.series.slice(0, limit) };
    warnings.add(LIMITED);
  }
  const annotations = result.warnings.filter((text) => text.startsWith("PromQL "));
  for (const text of shortened(annotations, "warning")) warnings.add(text);
  for (const text of result.warnings) if (!text.startsWith("PromQL ")) warnings.add(text);
  return queryAnswer(limited, {
    stats: stats ? statsText : null,
    analysis: result.analysis === undefined ? null : analysisJson(result.analysis),
    warnings: warnings.texts,
    infos: shortened(result.infos, "info"),
  });
}

const MAX_ANNOTATIONS = 10;

function shortened(texts: readonly string[], kind: "warning" | "info"): readonly string[] {
  const more = texts.length - MAX_ANNOTATIONS;
  if (more <= 0) return texts;
  return [...texts.slice(0, MAX_ANNOTATIONS), `${more} more ${kind} annotations omitted`];
}

/** @param queueSeconds From the request until its evaluation began. */
function statsJson({ stats }: QueryResult, evalSeconds: number, queueSeconds: number): string {
  const { totalQueryableSamples, peakSamples } = stats;
  return JSON.stringify({
    timings: {
      evalTotalTime: evalSeconds,
      resultSortTime: 0,
      queryPreparationTime: 0,
      innerEvalTime: evalSeconds,
      execQueueTime: queueSeconds,
      execTotalTime: queueSeconds + evalSeconds,
    },
    samples: { totalQueryableSamples, peakSamples },
  });
}

/** The union over all selectors of their names or values, sorted and cut at the limit. */
async function labels(
  task: QueryTask & { kind: "labelNames" | "labelValues" },
  { data, signal, budget }: TaskContext,
  warnings: Warnings,
): Promise<Buffer> {
  const { selectors, mint, maxt, limit } = task;
  const all = selectors.length === 0 ? [[]] : readSelectors(selectors);
  const lists: string[][] = [];
  // One after another: a request may have any number of selectors.
  for (const matchers of all) {
    signal.throwIfAborted();
    const select: LabelSelect & { onWarning: (text: string) => void } = {
      mint,
      maxt,
      matchers,
      // The first of the union are among the first of each; one more tells that there are more.
      limit: limit === 0 ? 0 : limit + 1,
      signal,
      onWarning: warnings.add,
    };
    const list = await (task.kind === "labelNames"
      ? data.labelNames(select)
      : data.labelValues(task.name, select));
    budget.storage(list.reduce((sum, text) => sum + 24 + text.length, 0));
    lists.push(list);
  }
  let strings = lists[0] ?? [];
  if (lists.length > 1) {
    strings = [...new Set(lists.flat())].sort((a, b) => compareLabels([a], [b]));
  }
  if (limit > 0 && strings.length > limit) {
    strings = strings.slice(0, limit);
    warnings.add(LIMITED);
  }
  return answer(stringList(strings), warnings.texts);
}

async function series(
  { selectors, mint, maxt, limit }: QueryTask & { kind: "series" },
  { data, signal, budget }: TaskContext,
  warnings: Warnings,
): Promise<Buffer> {
  const found = new Map<string, Labels>();
  for (const matchers of readSelectors(selectors, "match[]")) {
    const batches = data.select({
      mint,
      maxt,
      matchers,
      skipChunks: true,
      limit: limit === 0 ? 0 : limit + 1,
      signal,
      hints: { stepMs: 0, rangeMs: 0, func: "series", grouping: [], by: false },
      onWarning: warnings.add,
    });
    for await (const batch of batches) {
      for (const { labels: each } of batch) {
        const key = JSON.stringify(each);
        if (found.has(key)) continue;
        budget.storage(3 * key.length + 24 * each.length);
        found.set(key, each);
      }
    }
  }
  let all = [...found.values()];
  if (selectors.length > 1) all.sort(compareLabels);
  if (limit > 0 && all.length > limit) {
    all = all.slice(0, limit);
    warnings.add(LIMITED);
  }
  return answer(seriesList(all), warnings.texts);
}

async function statistics(
  { selectors, mint, maxt, limit }: QueryTask & { kind: "statistics" },
  { data, signal, budget }: TaskContext,
  warnings: Warnings,
): Promise<Buffer> {
  const found = new SeriesStatistics(budget.storage);
  for (const matchers of readSelectors(selectors)) {
    const batches = data.select({
      mint,
      maxt,
      matchers,
      skipChunks: true,
      limit: 0,
      signal,
      hints: { stepMs: 0, rangeMs: 0, func: "series", grouping: [], by: false },
      onWarning: warnings.add,
    });
    for await (const batch of batches) for (const { labels: each } of batch) found.add(each);
  }
  return answer(found.json(limit, mint, maxt), warnings.texts);
}
