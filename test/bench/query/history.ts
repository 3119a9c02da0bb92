/** A day of samples by remote write, the same to every system: several rounds of every series in one request. */

import { snappyEncode } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";
import { Population, seriesLabels } from "../load/population.ts";
import { send } from "../load/sender.ts";

export const STEP_MS = 15_000;
const ROUNDS_PER_REQUEST = 20;

/**
 * Samples of `series` series, 15 s apart, the last one at `endMs`.
 *
 * @param hours How long a history.
 */
export async function writeHistory(
  urls: readonly string[],
  series: number,
  hours: number,
  endMs: number,
): Promise<void> {
  const population = new Population(series);
  const labels = Array.from({ length: series }, (_, i) => seriesLabels(i));
  const rounds = Math.floor((hours * 3_600_000) / STEP_MS);
  const firstMs = endMs - (rounds - 1) * STEP_MS;
  for (let from = 0; from < rounds; from += ROUNDS_PER_REQUEST) {
    const count = Math.min(ROUNDS_PER_REQUEST, rounds - from);
    const timestamps = Float64Array.from(
      { length: count },
      (_, i) => firstMs + (from + i) * STEP_MS,
    );
    const request = labels.map((own, index) => ({
      labels: own,
      timestamps,
      values: timestamps.map((_, i) => population.next(index, from + i, STEP_MS / 1000)),
    }));
    const body = snappyEncode(encodeWriteRequest(request));
    await Promise.all(urls.map((url) => send([url], [body], 1)));
  }
}
