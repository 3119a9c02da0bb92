/**
 * Native histograms, one shape for the integer and the float kind. Fields are those of Prometheus'
 * remote write message; the disk formats are in tsdb/chunkenc.
 */

export type CounterResetHint = "unknown" | "reset" | "not_reset" | "gauge";

/** A run of `length` buckets, `offset` buckets after the end of the one before (or after bucket 0). */
export type BucketSpan = { offset: number; length: number };

/** Schema of histograms with custom bucket bounds (`customValues`, upper bounds, +Inf implied). */
export const CUSTOM_BUCKETS_SCHEMA = -53;

/**
 * Bucket counts are absolute floats here, also for a histogram that was written as integers: `isInteger`
 * remembers the kind so that storage writes back what came in (counts above 2^53 lose their last bits).
 */
export type Histogram = {
  isInteger: boolean;
  counterResetHint: CounterResetHint;
  schema: number;
  zeroThreshold: number;
  zeroCount: number;
  count: number;
  /** The staleness marker when the sample is stale; see `sumIsStale`. */
  sum: number;
  /** True when `sum` carries the staleness marker's bits, which a plain number cannot be trusted to keep. */
  sumIsStale: boolean;
  positiveSpans: BucketSpan[];
  negativeSpans: BucketSpan[];
  positiveBuckets: Float64Array;
  negativeBuckets: Float64Array;
  customValues: Float64Array;
};
