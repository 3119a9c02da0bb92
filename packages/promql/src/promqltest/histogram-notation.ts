/**
 * Native histograms as script tests write them: `{{schema:0 count:5 sum:4 buckets:[1 2 1] offset:-1}}`.
 * All fields may be left out and are 0 then.
 */

import {
  type BucketSpan,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  type Histogram,
} from "@torus/model";
import { parseNumber } from "../parse/numbers.ts";
import { ScriptError } from "./script-error.ts";

export type NotedHistogram = { histogram: Histogram; hintGiven: boolean };

const hints: ReadonlySet<string> = new Set(["unknown", "reset", "not_reset", "gauge"]);

/** Reads the text between `{{` and `}}`. @throws {ScriptError} */
export function parseHistogram(text: string): NotedHistogram {
  const fields = new Map<string, string>();
  for (const match of text.matchAll(/\s*([a-z_]+):(\[[^\]]*\]|\S+)\s*|(\S+)/g)) {
    const [, key, value, stray] = match;
    if (stray !== undefined || key === undefined || value === undefined) {
      throw new ScriptError(`bad histogram description: ${text}`);
    }
    if (fields.has(key)) throw new ScriptError(`duplicate key "${key}" in histogram`);
    fields.set(key, value);
  }
  const number = (key: string): number => {
    const value = fields.get(key);
    fields.delete(key);
    return value === undefined ? 0 : numberOf(value);
  };
  const list = (key: string): Float64Array => {
    const value = fields.get(key) ?? "[]";
    fields.delete(key);
    const inner = value.replace(/^\[|\]$/g, "").trim();
    return Float64Array.from(inner === "" ? [] : inner.split(/\s+/).map(numberOf));
  };
  const hint = fields.get("counter_reset_hint");
  fields.delete("counter_reset_hint");
  if (hint !== undefined && !hints.has(hint))
    throw new ScriptError(`unknown counter reset hint ${hint}`);
  const positiveBuckets = list("buckets");
  const negativeBuckets = list("n_buckets");
  const histogram: Histogram = {
    isInteger: false,
    counterResetHint: (hint ?? "unknown") as CounterResetHint,
    schema: number("schema"),
    zeroThreshold: number("z_bucket_w"),
    zeroCount: number("z_bucket"),
    count: number("count"),
    sum: number("sum"),
    sumIsStale: false,
    positiveSpans: spansOf(number("offset"), positiveBuckets.length),
    negativeSpans: spansOf(number("n_offset"), negativeBuckets.length),
    positiveBuckets,
    negativeBuckets,
    customValues: list("custom_values"),
  };
  const [unknown] = fields.keys();
  if (unknown !== undefined) throw new ScriptError(`unknown histogram field "${unknown}"`);
  return { histogram, hintGiven: hint !== undefined };
}

function numberOf(text: string): number {
  const value = parseNumber(text);
  if (value === null) throw new ScriptError(`not a number in a histogram: ${text}`);
  return value;
}

function spansOf(offset: number, length: number): BucketSpan[] {
  return length === 0 ? [] : [{ offset, length }];
}

/** Bucket counts by index, empty buckets left out: two histograms are laid out alike when these are equal. */
export function bucketMap(
  spans: readonly BucketSpan[],
  buckets: Float64Array,
): Map<number, number> {
  const out = new Map<number, number>();
  let index = 0;
  let at = 0;
  for (const span of spans) {
    index += span.offset;
    for (let i = 0; i < span.length; i++) {
      const count = buckets[at++] as number;
      if (count !== 0) out.set(index, count);
      index++;
    }
  }
  return out;
}

/** `a + sign * b`, at the coarser of the two resolutions. @throws {ScriptError} when the layouts cannot meet. */
export function addHistograms(a: Histogram, b: Histogram, sign: 1 | -1): Histogram {
  const custom = (h: Histogram) => h.schema === CUSTOM_BUCKETS_SCHEMA;
  if (custom(a) !== custom(b))
    throw new ScriptError(`cannot add schema ${b.schema} to ${a.schema}`);
  const schema = Math.min(a.schema, b.schema);
  const side = (name: "positive" | "negative") => {
    const sum = new Map<number, number>();
    for (const [h, factor] of [
      [a, 1],
      [b, sign],
    ] as const) {
      const width = custom(h) ? 1 : 2 ** (h.schema - schema);
      for (const [index, count] of bucketMap(h[`${name}Spans`], h[`${name}Buckets`])) {
        const merged = Math.ceil(index / width);
        sum.set(merged, (sum.get(merged) ?? 0) + factor * count);
      }
    }
    return layOut(sum);
  };
  const positive = side("positive");
  const negative = side("negative");
  return {
    ...a,
    schema,
    zeroCount: a.zeroCount + sign * b.zeroCount,
    count: a.count + sign * b.count,
    sum: a.sum + sign * b.sum,
    positiveSpans: positive.spans,
    positiveBuckets: positive.buckets,
    negativeSpans: negative.spans,
    negativeBuckets: negative.buckets,
  };
}

/** Spans and counts of buckets given by index. */
export function layOut(counts: ReadonlyMap<number, number>): {
  spans: BucketSpan[];
  buckets: Float64Array;
} {
  const indexes = [...counts.keys()].sort((x, y) => x - y);
  const spans: BucketSpan[] = [];
  let end = 0;
  for (const index of indexes) {
    const last = spans.at(-1);
    if (last !== undefined && index === end) last.length++;
    else spans.push({ offset: index - end, length: 1 });
    end = index + 1;
  }
  return { spans, buckets: Float64Array.from(indexes, (index) => counts.get(index) as number) };
}

/** As a failure shows it. */
export function formatHistogram(h: Histogram): string {
  const side = (name: string, spans: readonly BucketSpan[], buckets: Float64Array) => {
    const map = bucketMap(spans, buckets);
    return map.size === 0 ? "" : ` ${name}:{${[...map].map(([i, n]) => `${i}:${n}`).join(" ")}}`;
  };
  const custom = h.customValues.length > 0 ? ` custom_values:[${h.customValues.join(" ")}]` : "";
  const zero =
    h.zeroCount !== 0 || h.zeroThreshold !== 0
      ? ` z_bucket:${h.zeroCount} z_bucket_w:${h.zeroThreshold}`
      : "";
  const hint = h.counterResetHint === "unknown" ? "" : ` counter_reset_hint:${h.counterResetHint}`;
  return `{{schema:${h.schema} count:${h.count} sum:${h.sum}${zero}${side("buckets", h.positiveSpans, h.positiveBuckets)}${side("n_buckets", h.negativeSpans, h.negativeBuckets)}${custom}${hint}}}`;
}
