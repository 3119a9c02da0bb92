/** Binary operators over columns: with a scalar, matching of vectors, sets. */

import {
  compareLabels,
  type Histogram,
  type Labels,
  METRIC_NAME,
  withoutLabels,
} from "@torus/model";
import { infos, type Notes } from "./annotations.ts";
import { type Binary, type BinaryOp, isComparison, type VectorMatching } from "./ast.ts";
import {
  braced,
  type Column,
  dropMetadata,
  joined,
  labelsKey,
  newColumn,
  onlyLabels,
  withLabel,
} from "./column.ts";
import { QueryExecutionError } from "./query-errors.ts";
import { arithmetic, compare, histogramOperation, type Sample } from "./sample-operations.ts";

function setHistogram(out: Column, step: number, histogram: Histogram): void {
  out.histograms ??= Array.from<Histogram | undefined>({ length: out.present.length });
  out.histograms[step] = histogram;
}

/** Operators that are for histograms only. */
function trims(op: BinaryOp): boolean {
  return op === "</" || op === ">/";
}

function dropsName(node: Binary): boolean {
  return isComparison(node.op) ? node.returnBool : !trims(node.op);
}

/** A vector and a scalar; `scalarLeft` says on which side the scalar stands. */
export function withScalar(
  node: Binary,
  column: Column,
  scalar: Float64Array,
  scalarLeft: boolean,
  delayed: boolean,
  notes: Notes,
): Column {
  const count = column.present.length;
  const drop = dropsName(node);
  const out = newColumn(
    drop && !delayed ? dropMetadata(column.labels) : column.labels,
    count,
    column.dropName || drop,
  );
  const comparison = isComparison(node.op);
  for (let i = 0; i < count; i++) {
    if (column.present[i] === 0) continue;
    const histogram = column.histograms?.[i];
    if (histogram !== undefined) {
      const other = scalar[i] as number;
      const result = scalarLeft
        ? histogramOperation(node.op, other, histogram, notes)
        : histogramOperation(node.op, histogram, other, notes);
      if (typeof result !== "object") continue;
      setHistogram(out, i, result);
      out.present[i] = 1;
      continue;
    }
    const value = column.values[i] as number;
    if (trims(node.op)) {
      notes.info(infos.binaryTypes("float", node.op, "float"));
      continue;
    }
    const a = scalarLeft ? (scalar[i] as number) : value;
    const b = scalarLeft ? value : (scalar[i] as number);
    if (!comparison) out.values[i] = arithmetic(node.op, a, b);
    else {
      const keep = compare(node.op, a, b);
      if (!keep && !node.returnBool) continue;
      out.values[i] = node.returnBool ? Number(keep) : value;
    }
    out.present[i] = 1;
  }
  return out;
}

/** The labels that two sides must share. */
function signatureOf(matching: VectorMatching): (labels: Labels) => Labels {
  const names = new Set(matching.labels);
  if (matching.on) return (labels) => onlyLabels(labels, names);
  names.add(METRIC_NAME);
  return (labels) => withoutLabels(labels, names);
}

type Group = { labels: Labels; left: Column[]; right: Column[] };

function grouped(
  left: readonly Column[],
  right: readonly Column[],
  matching: VectorMatching,
): Group[] {
  const signature = signatureOf(matching);
  const groups = new Map<string, Group>();
  const groupOf = (column: Column): Group => {
    const labels = signature(column.labels);
    const key = labelsKey(labels);
    let group = groups.get(key);
    if (group === undefined) groups.set(key, (group = { labels, left: [], right: [] }));
    return group;
  };
  for (const column of left) groupOf(column).left.push(column);
  for (const column of right) groupOf(column).right.push(column);
  return [...groups.values()];
}

/** 1 at the steps where any column has a sample. */
function anyPresent(columns: readonly Column[], count: number): Uint8Array {
  const out = new Uint8Array(count);
  for (const column of columns)
    for (let i = 0; i < count; i++) out[i] = (out[i] as number) | (column.present[i] as number);
  return out;
}

function masked(column: Column, keep: (step: number) => boolean): Column {
  const present = new Uint8Array(column.present.length);
  for (let i = 0; i < present.length; i++) present[i] = column.present[i] === 1 && keep(i) ? 1 : 0;
  return { ...column, present };
}

export function setOperation(
  node: Binary,
  left: readonly Column[],
  right: readonly Column[],
  count: number,
): Column[] {
  const matching = node.matching as VectorMatching;
  const signature = signatureOf(matching);
  const [kept, other] = node.op === "or" ? [right, left] : [left, right];
  const byKey = new Map<string, Column[]>();
  for (const column of other) {
    const key = labelsKey(signature(column.labels));
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [column]);
    else list.push(column);
  }
  const presence = new Map<string, Uint8Array>();
  for (const [key, columns] of byKey) presence.set(key, anyPresent(columns, count));
  const out = kept.map((column) => {
    const there = presence.get(labelsKey(signature(column.labels)));
    return masked(column, (i) => (there?.[i] === 1) === (node.op === "and"));
  });
  return node.op === "or" ? joined([...left, ...out]) : out;
}

/** A vector and a vector with matching. @throws {QueryExecutionError} when a match is not unique. */
export function vectorOperation(
  node: Binary,
  left: readonly Column[],
  right: readonly Column[],
  count: number,
  delayed: boolean,
  notes: Notes,
): Column[] {
  const matching = node.matching as VectorMatching;
  const swapped = matching.card === "one-to-many";
  const many = swapped ? right : left;
  const one = swapped ? left : right;
  // As in Prometheus, fill_left stands for the many side also when that is written on the right.
  const fillMany = matching.fillLeft;
  const fillOne = matching.fillRight;
  const manyPresent = anyPresent(many, count);
  const results = new Map<string, { column: Column }>();
  /** The same by the very arrays that `labelsFor` gives, which are the same at every step. */
  const resultOf = new Map<Labels, { column: Column }>();
  const resultLabels = resultLabelsOf(node, matching, delayed);

  const emit = (
    step: number,
    labels: Labels,
    a: Column | null,
    b: Column | null,
    drop: boolean,
  ): void => {
    const sampleOf = (column: Column | null, fill: number | null): Sample =>
      column === null
        ? (fill as number)
        : (column.histograms?.[step] ?? (column.values[step] as number));
    const manySample = sampleOf(a, fillMany);
    const oneSample = sampleOf(b, fillOne);
    const l = swapped ? oneSample : manySample;
    const r = swapped ? manySample : oneSample;
    let value: Sample;
    if (typeof l === "number" && typeof r === "number") {
      if (isComparison(node.op)) {
        const keep = compare(node.op, l, r);
        if (!keep && !node.returnBool) return;
        value = node.returnBool ? Number(keep) : l;
      } else if (trims(node.op)) {
        notes.info(infos.binaryTypes("float", node.op, "float"));
        return;
      } else value = arithmetic(node.op, l, r);
    } else {
      const outcome = histogramOperation(node.op, l, r, notes);
      if (outcome === undefined) return;
      if (typeof outcome === "object") value = outcome;
      else if (node.returnBool) value = Number(outcome);
      else if (outcome) value = l;
      else return;
    }
    let result = resultOf.get(labels);
    if (result === undefined) {
      const key = labelsKey(labels);
      result = results.get(key);
      if (result === undefined) {
        result = { column: newColumn(labels, count, drop) };
        results.set(key, result);
      }
      resultOf.set(labels, result);
    }
    if (result.column.present[step] === 1) {
      throw new QueryExecutionError(
        matching.card === "one-to-one"
          ? "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
          : "multiple matches for labels: grouping labels must ensure unique matches",
      );
    }
    if (typeof value === "number") result.column.values[step] = value;
    else setHistogram(result.column, step, value);
    result.column.present[step] = 1;
  };

  for (const group of grouped(many, one, matching)) {
    const [partnerOfAll] = group.right;
    let rest = group.left;
    if (
      partnerOfAll !== undefined &&
      group.right.length === 1 &&
      partnerOfAll.histograms === null &&
      (group.left.length === 1 || matching.card !== "one-to-one") &&
      fillMany === null &&
      fillOne === null &&
      !trims(node.op)
    ) {
      // Nothing can meet at one step twice, but series whose labels become the same.
      rest = group.left.filter((column) => {
        if (column.histograms !== null) return true;
        const labels = resultLabels(column.labels, partnerOfAll.labels);
        const key = labelsKey(labels);
        if (results.has(key)) return true;
        const drop = delayed && (dropsName(node) || column.dropName);
        const result = newColumn(labels, count, drop);
        if (swapped) pairOperation(node, partnerOfAll, column, result);
        else pairOperation(node, column, partnerOfAll, result);
        results.set(key, { column: result });
        return false;
      });
      if (rest.length === 0) continue;
    }
    const labelCache = new Map<Column, Map<Column | null, Labels>>();
    const labelsFor = (a: Column, b: Column | null): Labels => {
      let inner = labelCache.get(a);
      if (inner === undefined) labelCache.set(a, (inner = new Map()));
      let labels = inner.get(b);
      if (labels === undefined)
        inner.set(b, (labels = resultLabels(a.labels, b?.labels ?? group.labels)));
      return labels;
    };
    for (let i = 0; i < count; i++) {
      if (manyPresent[i] === 0 && fillMany === null) continue;
      let partner: Column | null = null;
      for (const column of group.right) {
        if (column.present[i] === 0) continue;
        if (partner !== null) {
          throw new QueryExecutionError(
            `found duplicate series for the match group ${braced(group.labels)} on the ${swapped ? "left" : "right"} hand-side of the operation: [${braced(partner.labels)}, ${braced(column.labels)}];many-to-many matching not allowed: matching labels must be unique on one side`,
          );
        }
        partner = column;
      }
      let matched = false;
      for (const column of rest) {
        if (column.present[i] === 0) continue;
        if (partner === null && fillOne === null) {
          matched = true;
          continue;
        }
        if (matched && matching.card === "one-to-one") {
          throw new QueryExecutionError(
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
          );
        }
        matched = true;
        const drop = delayed && (dropsName(node) || column.dropName);
        emit(i, labelsFor(column, partner), column, partner, drop);
      }
      if (!matched && partner !== null && fillMany !== null) {
        emit(
          i,
          resultLabels(group.labels, partner.labels),
          null,
          partner,
          delayed && dropsName(node),
        );
      }
    }
  }
  return [...results.values()].map((result) => result.column);
}

/** Two series of floats, step by step. */
function pairOperation(node: Binary, left: Column, right: Column, out: Column): void {
  const { op, returnBool } = node;
  const { values, present } = out;
  const [a, b] = [left.values, right.values];
  for (let i = 0; i < present.length; i++) {
    if (left.present[i] === 0 || right.present[i] === 0) continue;
    const x = a[i] as number;
    const y = b[i] as number;
    if (isComparison(op)) {
      const keep = compare(op, x, y);
      if (!keep && !returnBool) continue;
      values[i] = returnBool ? Number(keep) : x;
    } else values[i] = arithmetic(op, x, y);
    present[i] = 1;
  }
}

function resultLabelsOf(
  node: Binary,
  matching: VectorMatching,
  delayed: boolean,
): (many: Labels, one: Labels) => Labels {
  const names = new Set(matching.labels);
  return (many, one) => {
    let labels = many;
    if (dropsName(node) && !delayed) labels = dropMetadata(labels);
    if (matching.card === "one-to-one") {
      labels = matching.on ? onlyLabels(labels, names) : withoutLabels(labels, names);
    }
    for (const name of matching.include) {
      const index = one.findIndex((text, i) => i % 2 === 0 && text === name);
      labels = withLabel(labels, name, index < 0 ? "" : (one[index + 1] as string));
    }
    return labels;
  };
}

export function sortedByLabels(columns: readonly Column[]): Column[] {
  return [...columns].sort((a, b) => compareLabels(a.labels, b.labels));
}
