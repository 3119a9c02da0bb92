/**
 * What a query gives, in a shape from which JSON is written without another pass over the samples.
 * Series of a matrix are sorted by labels; those of a vector are in the order that the expression gives.
 */

import type { Histogram, Labels } from "@torus/model";
import type { AnalysisNode } from "./plan/explain.ts";

export type ResultSeries = {
  labels: Labels;
  /** Milliseconds, ascending; one for a series of a vector. */
  timestamps: Float64Array;
  /** As long as `timestamps`; undefined content where `histograms` has a sample. */
  values: Float64Array;
  /** The histogram of sample i, or undefined where it is a float; null for floats only. */
  histograms: readonly (Histogram | undefined)[] | null;
};

export type QueryStats = {
  /** Samples that selectors gave to the evaluation, each step counted. */
  totalQueryableSamples: number;
  /** The most samples held at a time. */
  peakSamples: number;
};

export type QueryResult = (
  | { type: "vector"; series: readonly ResultSeries[] }
  | { type: "matrix"; series: readonly ResultSeries[] }
  | { type: "scalar"; timestampMs: number; value: number }
  | { type: "string"; timestampMs: number; value: string }
) & {
  /** `PromQL warning: …` or what the storage said; with ` (line:column)` where there is a place. */
  warnings: readonly string[];
  infos: readonly string[];
  stats: QueryStats;
  /** Where it was asked for. */
  analysis?: AnalysisNode;
};
