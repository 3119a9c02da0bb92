/** One task from storage to the bytes of its answer. Knows neither HTTP nor threads. */

import {
  compareLabels,
  type LabelSelect,
  type Labels,
  Matcher,
  type Queryable,
} from "@torus/model";
import { Engine, type QueryResult } from "@torus/promql";
import type { ByteBudget } from "./byte-budget.ts";
import { answer, queryAnswer, seriesList, stringList } from "./json-writer.ts";
import type { MatcherText, QuerySettings, QueryTask } from "./query-job.ts";

export type TaskContext = {
  data: Queryable;
  settings: Pick<QuerySettings, "maxSamples" | "lookbackDeltaMs">;
  timeoutMs: number;
  budget: ByteBudget;
  signal: AbortSignal;
  now: () => number;
};

export type TaskParts = { contentType: string; warned: boolean; parts: Iterable<Uint8Array> };

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
      const result = await evaluated(task, context, warnings);
      return json(queryParts(task, result, warnings), warnings, result.warnings.length > 0);
    }
    case "series":
      return json([await series(task, context, warnings)], warnings);
    case "labelNames":
      return json([await labels(task, context, warnings)], warnings);
    case "labelValues":
      return json([await labels(task, context, warnings)], warnings);
  }
}

function json(parts: Iterable<Uint8Array>, warnings: Warnings, warned = false): TaskParts {
  return {
    contentType: "application/json",
    warned: warned || warnings.texts.length > 0,
    parts,
  };
}

function evaluated(
  task: QueryTask & { kind: "instant" | "range" },
  { data, settings, timeoutMs, budget, signal, now }: TaskContext,
  warnings: Warnings,
): Promise<QueryResult> {
  const engine = new Engine({ ...settings, timeoutMs, now });
  const options = { signal, lookbackDeltaMs: task.lookbackDeltaMs, charge: budget.evaluation };
  const told = watched(data, warnings);
  return task.kind === "instant"
    ? engine.instant(told, task.query, task.timeMs, options)
    : engine.range(told, task.query, task.startMs, task.endMs, task.stepMs, options);
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
  const { totalQueryableSamples, peakSamples } = result.stats;
  for (const text of result.warnings) warnings.add(text);
  return queryAnswer(limited, {
    stats: stats ? JSON.stringify({ samples: { totalQueryableSamples, peakSamples } }) : null,
    warnings: warnings.texts,
    infos: result.infos,
  });
}

function matchersOf(texts: readonly MatcherText[]): Matcher[] {
  return texts.map(({ type, name, value }) => new Matcher(type, name, value));
}

/** The union over all selectors of their names or values, sorted and cut at the limit. */
async function labels(
  task: QueryTask & { kind: "labelNames" | "labelValues" },
  { data, signal, budget }: TaskContext,
  warnings: Warnings,
): Promise<Buffer> {
  const { selectors, mint, maxt, limit } = task;
  const all = selectors.length === 0 ? [[]] : selectors;
  const lists = await Promise.all(
    all.map((texts) => {
      const matchers = matchersOf(texts);
      const select: LabelSelect & { onWarning: (text: string) => void } = {
        mint,
        maxt,
        matchers,
        limit: 0,
        signal,
        onWarning: warnings.add,
      };
      return task.kind === "labelNames"
        ? data.labelNames(select)
        : data.labelValues(task.name, select);
    }),
  );
  for (const list of lists) budget.storage(list.reduce((sum, text) => sum + 24 + text.length, 0));
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
  for (const texts of selectors) {
    const batches = data.select({
      mint,
      maxt,
      matchers: matchersOf(texts),
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
