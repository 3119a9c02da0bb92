export type { BucketSpan, CounterResetHint, Histogram } from "./histogram.ts";
export { CUSTOM_BUCKETS_SCHEMA } from "./histogram.ts";
export type { Bucket } from "./histogram-buckets.ts";
export {
  allBuckets,
  exponentialBound,
  indexesOf,
  negativeBuckets,
  positiveBuckets,
  sameBounds,
  spansOf,
  upperBound,
  usesCustomBuckets,
} from "./histogram-buckets.ts";
export type { Addition } from "./histogram-sum.ts";
export {
  addHistograms,
  compacted,
  dividedHistogram,
  HistogramSum,
  histogramsEqual,
  IncompatibleHistogramsError,
  isCounterReset,
  scaledHistogram,
} from "./histogram-sum.ts";
export type { Labels } from "./labels.ts";
export {
  compareLabels,
  compareStrings,
  EMPTY_LABELS,
  formatLabels,
  labelsEqual,
  labelsFromObject,
  labelsFromPairs,
  labelsToObject,
  labelValue,
  METRIC_NAME,
  mergeLabels,
  withoutLabels,
} from "./labels.ts";
export type { MatchType } from "./matcher.ts";
export { Matcher, MatcherRegexError } from "./matcher.ts";
export { parseRelabelConfigs, RelabelConfigError, type RelabelRule } from "./relabel/config.ts";
export { type Relabel, relabelWith } from "./relabel/relabel.ts";
export { isStale, STALE_NAN_HIGH, STALE_NAN_LOW, setStale, wordsOf } from "./staleness.ts";
export type {
  Chunk,
  ChunkQueryable,
  ChunkSelect,
  ChunkSeries,
  EncodedSeries,
  LabelSelect,
  Queryable,
  SelectHints,
  SeriesColumns,
  SeriesSelect,
} from "./storage.ts";
export { ChunkEncoding } from "./storage.ts";
export { isUlid, newUlid, ulidTime } from "./ulid.ts";
