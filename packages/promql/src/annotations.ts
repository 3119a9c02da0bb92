/** The texts of warnings and infos (Prometheus, util/annotations), without their prefix and position. */

/** Where an evaluation notes what it met. The texts are deduplicated per query. */
export type Notes = { warn(text: string): void; info(text: string): void };

function forMetric(name: string): string {
  return name === "" ? "" : ` for metric name ${JSON.stringify(name)}`;
}

export type HistogramOperation = "addition" | "subtraction" | "aggregation";

export const warnings = {
  mixedFloatsHistograms: (name: string) =>
    `encountered a mix of histograms and floats${forMetric(name)}`,
  mixedInAggregation: "encountered a mix of histograms and floats for aggregation",
  mixedSchemas: (name: string) =>
    `vector contains a mix of histograms with exponential and custom buckets schemas${forMetric(name)}`,
  mixedClassicNative: (name: string) =>
    `vector contains a mix of classic and native histograms${forMetric(name)}`,
  notCounter: (name: string) =>
    `this native histogram metric is not a counter: ${JSON.stringify(name)}`,
  notGauge: (name: string) =>
    `this native histogram metric is not a gauge: ${JSON.stringify(name)}`,
  resetCollision: (operation: HistogramOperation) =>
    `conflicting counter resets during histogram ${operation}`,
  binaryLayout: (op: string) => `incompatible bucket layout encountered for binary operator ${op}`,
  startOverlap: (name: string) =>
    `sample has start time that overlaps with previous sample timestamp for metric ${JSON.stringify(name)}`,
  sortInRange: "sort is ineffective for range queries since results are always ordered by labels",
  ratio: (given: string, capped: string) =>
    `ratio value should be between -1 and 1, got ${given}, capping to ${capped}`,
} as const;

export const infos = {
  reconciled: (operation: HistogramOperation) =>
    `mismatched custom buckets were reconciled during ${operation}`,
  ignoredInMixedRange: (name: string) =>
    `ignored histograms in a range containing both floats and histograms${forMetric(name)}`,
  ignoredInAggregation: (op: string) => `ignored histogram in ${op} aggregation`,
  binaryTypes: (left: string, op: string, right: string) =>
    `incompatible sample types encountered for binary operator ${JSON.stringify(op)}: ${left} ${op} ${right}`,
  quantileNan: (what: string, name: string) =>
    `input to histogram_quantile has NaN observations, ${what}${forMetric(name)}`,
  fractionNan: (name: string) =>
    `input to histogram_fraction has NaN observations, which are excluded from all fractions${forMetric(name)}`,
} as const;
