/** info(): labels of info metrics, such as target_info, added to the series of the same instance and job. */

import { type Labels, labelValue, Matcher, METRIC_NAME } from "@torus/model";
import { type Column, joined, labelsKey, newColumn, withLabel } from "../column.ts";
import { QueryExecutionError } from "../query-errors.ts";

const identifying: readonly string[] = ["instance", "job"];

/** What the second argument asks for. */
export type InfoRequest = {
  /** Of the info series: names and labels. */
  matchers: readonly Matcher[];
  /** Labels to take; null for all. */
  wanted: ReadonlySet<string> | null;
  /** Series that nothing enriches stay. */
  keepsUnmatched: boolean;
  /** Series that are info metrics themselves pass as they are. */
  isInfo: (labels: Labels) => boolean;
};

export function infoRequest(given: readonly Matcher[]): InfoRequest {
  const names = given.filter((m) => m.name === METRIC_NAME);
  const data = given.filter((m) => m.name !== METRIC_NAME);
  const positive = names.some((m) => m.type === "=" || m.type === "=~");
  if (names.length === 0) names.push(new Matcher("=", METRIC_NAME, "target_info"));
  else if (!positive) names.push(new Matcher("=~", METRIC_NAME, ".+_info"));
  return {
    matchers: [...names, ...data],
    wanted: data.length === 0 ? null : new Set(data.map((m) => m.name)),
    keepsUnmatched: data.every((m) => m.matches("")),
    isInfo: (labels) => {
      const name = labelValue(labels, METRIC_NAME);
      return name !== "" && names.every((m) => m.matches(name));
    },
  };
}

function keyOf(labels: Labels): string {
  return identifying.map((name) => labelValue(labels, name)).join("\u0000");
}

/**
 * `times` are the info series with the times of their samples as values. Of two series of one info metric the one with
 * the newer sample counts.
 * @throws {QueryExecutionError} for labels that contradict each other.
 */
export function enriched(
  base: readonly Column[],
  times: readonly Column[],
  request: InfoRequest,
  count: number,
): Column[] {
  const byKey = new Map<string, Column[]>();
  for (const series of times) {
    const key = keyOf(series.labels);
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [series]);
    else list.push(series);
  }
  const nothing = keyOf([]);
  const out: Column[] = [];
  for (const column of base) {
    const key = keyOf(column.labels);
    if (request.isInfo(column.labels)) out.push(column);
    else if (key === nothing) {
      if (request.keepsUnmatched) out.push(column);
    } else out.push(...enrichedColumn(column, byKey.get(key) ?? [], request, count));
  }
  return joined(out);
}

function enrichedColumn(
  column: Column,
  candidates: readonly Column[],
  request: InfoRequest,
  count: number,
): Column[] {
  const results = new Map<string, Column>();
  const labelsOf = new Map<string, Labels>();
  for (let i = 0; i < count; i++) {
    if (column.present[i] === 0) continue;
    const matched = matchedAt(candidates, i);
    if (matched.length === 0 && !request.keepsUnmatched) continue;
    const combination = matched.map((series) => candidates.indexOf(series)).join();
    let labels = labelsOf.get(combination);
    if (labels === undefined) {
      labels = withInfo(column.labels, matched, request.wanted);
      labelsOf.set(combination, labels);
    }
    const key = labelsKey(labels);
    let result = results.get(key);
    if (result === undefined) {
      result = newColumn(labels, count, column.dropName);
      if (column.histograms !== null) result.histograms = column.histograms;
      results.set(key, result);
    }
    result.present[i] = 1;
    result.values[i] = column.values[i] as number;
  }
  return [...results.values()];
}

/** At most one series of each info metric. */
function matchedAt(candidates: readonly Column[], step: number): Column[] {
  const byName = new Map<string, Column>();
  for (const series of candidates) {
    if (series.present[step] === 0) continue;
    const name = labelValue(series.labels, METRIC_NAME);
    const other = byName.get(name);
    if (other === undefined) {
      byName.set(name, series);
      continue;
    }
    const mine = series.values[step] as number;
    const theirs = other.values[step] as number;
    if (mine === theirs) {
      throw new QueryExecutionError(`found duplicate series for info metric ${name}`);
    }
    if (mine > theirs) byName.set(name, series);
  }
  return [...byName.values()];
}

function withInfo(
  base: Labels,
  matched: readonly Column[],
  wanted: ReadonlySet<string> | null,
): Labels {
  let out = base;
  const added = new Map<string, string>();
  for (const { labels } of matched) {
    for (let i = 0; i < labels.length; i += 2) {
      const name = labels[i] as string;
      const value = labels[i + 1] as string;
      if (name === METRIC_NAME || identifying.includes(name)) continue;
      if (wanted !== null && !wanted.has(name)) continue;
      if (labelValue(base, name) !== "") continue;
      const before = added.get(name);
      if (before !== undefined && before !== value) {
        throw new QueryExecutionError(`conflicting label: ${name}`);
      }
      added.set(name, value);
      out = withLabel(out, name, value);
    }
  }
  return out;
}
