/** Exemplars of a request, after its samples: they are stored for series that the head has by then. */

import {
  DETAIL_BYTES,
  SERIES_WORDS,
  SeriesFlag,
  SeriesWord,
  Verdict,
  type WriteRequestBuffer,
} from "@torus/kernels";
import { type Exemplar, exemplarRecord } from "./exemplars.ts";
import { findSeries } from "./metric-limit.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
import type { HeadState } from "./state.ts";
import { readWireExemplars } from "./wire-samples.ts";

export type ExemplarCounts = {
  /** In memory and log, copies of such among them. */
  stored: number;
  outOfOrder: number;
  /** Their labels have more than 128 characters. */
  tooLong: number;
  /** No valid message, or of a series that the head does not have. */
  invalid: number;
};

export function newExemplarCounts(): ExemplarCounts {
  return { stored: 0, outOfOrder: 0, tooLong: 0, invalid: 0 };
}

export function refusedExemplars({ outOfOrder, tooLong, invalid }: ExemplarCounts): number {
  return outOfOrder + tooLong + invalid;
}

/**
 * Entries some of whose exemplars are refused get the verdict CONFLICT, unless a sample's is graver. Where the head
 * keeps none, they are passed over.
 *
 * @param chosen Indexes of entries; null for all.
 * @throws {LogWriteError} no exemplar is stored.
 */
export function appendExemplars(
  state: HeadState,
  log: RecordLog,
  request: WriteRequestBuffer,
  chosen: Uint32Array | null,
): ExemplarCounts {
  const counts = newExemplarCounts();
  if (state.exemplars.max === 0) return counts;
  const table = request.series;
  const entries = chosen === null ? request.count : chosen.length;
  const accepted: (Exemplar & { ref: number })[] = [];
  for (let i = 0; i < entries; i++) {
    const index = chosen === null ? i : (chosen[i] as number);
    const at = index * SERIES_WORDS;
    if (((table[at + SeriesWord.FLAGS] as number) & SeriesFlag.EXEMPLARS) === 0) continue;
    const refused = refusedExemplars(counts);
    appendOf(state, request, index, counts, accepted);
    const verdict = table[at + SeriesWord.VERDICT] as number;
    if (refusedExemplars(counts) > refused && verdict < Verdict.CONFLICT) {
      table[at + SeriesWord.VERDICT] = Verdict.CONFLICT;
    }
  }
  if (accepted.length === 0) return counts;
  const exemplars = accepted.map(({ ref, time, value, labels }) => ({
    ref,
    time: BigInt(time),
    value,
    labels,
  }));
  try {
    log.log([exemplarRecord(exemplars)]);
  } catch (error) {
    throw new LogWriteError(error);
  }
  // Two that come together may be copies of each other, or out of order.
  for (const exemplar of accepted) {
    if (state.exemplars.judge(exemplar.ref, exemplar) === "stored") {
      state.exemplars.add(exemplar.ref, exemplar);
    }
  }
  return counts;
}

function appendOf(
  state: HeadState,
  request: WriteRequestBuffer,
  index: number,
  counts: ExemplarCounts,
  accepted: (Exemplar & { ref: number })[],
): void {
  const { kernel: k } = state;
  const word = (request.detailAddress + index * DETAIL_BYTES) >>> 2;
  const [from = 0, size = 0, , end = 0] = k.words.subarray(word, word + 4);
  const series = findSeries(state, from, size, end);
  for (const exemplar of readWireExemplars(k.bytes, from, end)) {
    if (exemplar === null || series === 0 || !Number.isSafeInteger(exemplar.time)) {
      counts.invalid++;
      continue;
    }
    const ref = state.refOf(series);
    const verdict = state.exemplars.judge(ref, exemplar);
    if (verdict === "out of order") counts.outOfOrder++;
    else if (verdict === "too long") counts.tooLong++;
    else {
      counts.stored++;
      if (verdict === "stored") accepted.push({ ref, ...exemplar });
    }
  }
}
