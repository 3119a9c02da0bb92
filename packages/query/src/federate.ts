/**
 * `/federate`: the newest sample of each series, as a Prometheus answers. Staleness markers leave a series out; native
 * histograms have a text only when their bounds are custom ones, so the others go to clients that take protobuf.
 */

import {
  compareLabels,
  type Histogram,
  isStale,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  wordsOf,
} from "@torus/model";
import type { FederateFormat } from "./federate-format.ts";
import type { Newest } from "./federate-labels.ts";
import { federateProtobuf } from "./federate-protobuf.ts";
import { federateText } from "./federate-text.ts";

export type FederateOptions = {
  data: Queryable;
  /** The samples of the last `lookbackMs` up to now. */
  nowMs: number;
  lookbackMs: number;
  format: FederateFormat;
  signal: AbortSignal;
  onWarning: (text: string) => void;
  charge: (bytes: number) => void;
};

/** The answer, in parts. @param selectors A series that several of them select is there once. */
export async function federate(
  selectors: readonly (readonly Matcher[])[],
  options: FederateOptions,
): Promise<Iterable<Uint8Array>> {
  const found = new Map<string, Newest>();
  for (const matchers of selectors) {
    const batches = options.data.select({
      mint: options.nowMs - options.lookbackMs,
      maxt: options.nowMs,
      matchers,
      skipChunks: false,
      limit: 0,
      signal: options.signal,
      hints: { stepMs: 0, rangeMs: 0, func: "", grouping: [], by: false },
      onWarning: options.onWarning,
    });
    for await (const batch of batches) {
      for (const { labels, timestamps, values, histograms } of batch) {
        const last = timestamps.length - 1;
        if (last < 0) continue;
        const histogram = histograms?.[last];
        const isGone =
          histogram === undefined ? isStale(wordsOf(values), last) : histogram.sumIsStale;
        if (isGone || labelValue(labels, "__name__") === "") continue;
        const key = JSON.stringify(labels);
        if (!found.has(key)) options.charge(3 * key.length + 200 + bytesOf(histogram));
        found.set(key, {
          labels,
          timeMs: timestamps[last] as number,
          value: values[last] as number,
          histogram,
        });
      }
    }
  }
  const all = [...found.values()].sort(
    (a, b) => compareNames(a.labels, b.labels) || compareLabels(a.labels, b.labels),
  );
  const { kind, escaping } = options.format;
  return kind === "text" ? federateText(all, escaping) : federateProtobuf(all, escaping);
}

/** Roughly, with its place in the answer. */
function bytesOf(histogram: Histogram | undefined): number {
  if (histogram === undefined) return 0;
  const { positiveBuckets, negativeBuckets, positiveSpans, negativeSpans } = histogram;
  const buckets = positiveBuckets.length + negativeBuckets.length + histogram.customValues.length;
  return 200 + 24 * buckets + 60 * (positiveSpans.length + negativeSpans.length);
}

function compareNames(a: Labels, b: Labels): number {
  return compareLabels([labelValue(a, "__name__")], [labelValue(b, "__name__")]);
}
