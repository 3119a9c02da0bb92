/** Sends samples of a `SampleStream` to a database. */

import { SERIES_WORDS, SeriesWord, Verdict } from "@torus/kernels";
import type { Tsdb } from "../db.ts";
import { walkedRequest } from "../head/test-requests.ts";
import { requestOf, type SentSample } from "./sample-stream.ts";

/** @returns A bit for each sample that is stored. @throws {LogWriteError} none of them is acknowledged. */
export function send(db: Tsdb, samples: readonly SentSample[]): bigint {
  const request = walkedRequest(requestOf(samples));
  try {
    db.append(request, null);
    let stored = 0n;
    for (let i = 0; i < samples.length; i++) {
      const verdict = request.series[i * SERIES_WORDS + SeriesWord.VERDICT] as number;
      if (verdict <= Verdict.DUPLICATE) stored |= 1n << BigInt(i);
    }
    return stored;
  } finally {
    request.release();
  }
}
