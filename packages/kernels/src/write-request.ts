/**
 * The seam between the wire and the head: one remote write request in the kernels' linear memory.
 *
 * A body enters once (`reserve`, then `decompress`), is walked once (`walk`), and from then on a series is a
 * byte range: a router forwards the range as it stands, the head appends it. The table `series` holds
 * SERIES_WORDS 32-bit words for each TimeSeries, in request order.
 */

/** Words of one entry of `WriteRequestBuffer.series`. */
export const SeriesWord = {
  /** Byte offset of the TimeSeries field in the buffer's memory, its tag included. */
  START: 0,
  /** Length in bytes of the field, tag included: [START, START + LENGTH) may be copied into another WriteRequest. */
  LENGTH: 1,
  /** XXH64 of tenant ff name ff value ff …, the hashring's key: low and high half. */
  HASH_LOW: 2,
  HASH_HIGH: 3,
  /** `SeriesFlag` bits found by the walk. */
  FLAGS: 4,
  /** Number of float samples. */
  SAMPLES: 5,
  /** Filled by an append: the gravest `Verdict` of the series' samples. */
  VERDICT: 6,
  /** Filled by an append: how many of its samples were rejected. */
  REJECTED: 7,
} as const;
export const SERIES_WORDS = 8;

export const SeriesFlag = {
  HISTOGRAMS: 1,
  EXEMPLARS: 2,
  /** Labels are not in ascending order of names. */
  UNSORTED: 4,
  DUPLICATE_LABEL: 8,
  /** An empty label name or value. */
  EMPTY_LABEL: 16,
  NO_LABELS: 32,
  INVALID_UTF8: 64,
  /** No __name__, or one that is no metric name. Prometheus stores such series all the same. */
} as const;

/** Per-sample verdicts of the head, gravest last. */
export const Verdict = {
  ACCEPTED: 0,
  /** Same timestamp and same value as the last sample: success, nothing is stored. */
  DUPLICATE: 1,
  OUT_OF_ORDER: 2,
  TOO_OLD: 3,
  TOO_FAR_IN_FUTURE: 4,
  /** Same timestamp, another value. */
  CONFLICT: 5,
  INVALID_LABELS: 6,
  /** The tenant's limit of head series is reached. */
  SERIES_LIMIT: 7,
  /** A native histogram that contradicts itself. */
  INVALID_HISTOGRAM: 8,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** How many `Verdict`s there are. */
export const VERDICTS = 9;
