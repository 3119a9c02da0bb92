/** Writes a request's series into a tenant's TSDB, and says which of them were not stored, and why. */

import { SERIES_WORDS, SeriesWord, Verdict, type WriteRequestBuffer } from "@torus/kernels";
import { type ExemplarCounts, refusedExemplars, type Tsdb } from "@torus/tsdb";
import { Cause, causeOfVerdict } from "./cause.ts";

export type LocalResult = {
  /** Series that were not stored whole, by index into the request's table. */
  failed: [index: number, cause: Cause, samples: number][];
  /** Samples refused, floats and native histograms, by `Verdict`. */
  byVerdict: Uint32Array;
  /** What is wrong with the first invalid histogram; "" when none is. */
  invalid: string;
  exemplars: ExemplarCounts;
};

/** @param chosen Indexes of series; null for all. What the storage throws is for the caller. */
export function writeLocal(
  db: Tsdb,
  request: WriteRequestBuffer,
  chosen: Uint32Array | null,
): LocalResult {
  const { byVerdict: floats, histograms, exemplars } = db.append(request, chosen);
  const byVerdict = floats.map((count, verdict) => count + (histograms.byVerdict[verdict] ?? 0));
  const failed: LocalResult["failed"] = [];
  const result = { failed, byVerdict, invalid: histograms.invalid, exemplars };
  let refused = refusedExemplars(exemplars);
  for (let verdict = Verdict.OUT_OF_ORDER; verdict < byVerdict.length; verdict++) {
    refused += byVerdict[verdict] as number;
  }
  // A series with invalid labels and no sample has a verdict without a count; the router refuses those by flags.
  if (refused === 0) return result;
  const table = request.series;
  const entries = chosen === null ? request.count : chosen.length;
  for (let i = 0; i < entries; i++) {
    const index = chosen === null ? i : (chosen[i] as number);
    const at = index * SERIES_WORDS;
    const cause = causeOfVerdict(table[at + SeriesWord.VERDICT] as number);
    if (cause !== Cause.STORED) {
      failed.push([index, cause, table[at + SeriesWord.REJECTED] as number]);
    }
  }
  return result;
}

const VERDICT_TEXTS: Readonly<Record<number, string>> = {
  [Verdict.OUT_OF_ORDER]: "out of order sample",
  [Verdict.TOO_OLD]: "out of bounds",
  [Verdict.TOO_FAR_IN_FUTURE]: "too far in the future",
  [Verdict.CONFLICT]: "duplicate sample for timestamp",
  [Verdict.INVALID_LABELS]: "invalid labels",
  [Verdict.SERIES_LIMIT]: "limit of head series reached",
  [Verdict.INVALID_HISTOGRAM]: "invalid native histogram",
};

/** `2 × out of order sample, 1 × invalid labels, 1 × out of order exemplar`; "" when nothing was refused. */
export function describeRefused({ byVerdict, invalid, exemplars }: LocalResult): string {
  const parts: string[] = [];
  for (const [verdict, text] of Object.entries(VERDICT_TEXTS)) {
    const count = byVerdict[Number(verdict)] ?? 0;
    if (count > 0) parts.push(`${count} × ${text}`);
  }
  if (invalid !== "") parts.push(invalid);
  const { outOfOrder, tooLong, invalid: unknown } = exemplars;
  if (outOfOrder > 0) parts.push(`${outOfOrder} × out of order exemplar`);
  if (tooLong > 0) parts.push(`${tooLong} × exemplar label set too long`);
  if (unknown > 0) parts.push(`${unknown} × exemplar malformed or of an unknown series`);
  return parts.join(", ");
}
