/** Every sample of a `SampleStream` that a query of the database finds: series, step and value in turn. */

import { labelValue, Matcher } from "@torus/model";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import type { Tsdb } from "../db.ts";
import { countOf, STEP_MS, seriesOf } from "./sample-stream.ts";

export async function foundSamples(db: Tsdb): Promise<Float64Array> {
  const out: number[] = [];
  const asValue = new Float64Array(1);
  const bits = new BigUint64Array(asValue.buffer);
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const { labels, chunks } of batch) {
      const job = labelValue(labels, "job");
      for (const chunk of chunks) {
        const { times, values, histograms } = decodeSamples(chunk);
        for (let i = 0; i < times.length; i++) {
          const step = Number(times[i]) / STEP_MS;
          bits[0] = values[i] as bigint;
          const series = seriesOf(job, step);
          // A histogram that is another than that of its time was never sent.
          const count = histograms?.[i]?.count;
          const isOwn = count === undefined || Number(count) === countOf(series, step);
          out.push(series, step, isOwn ? (asValue[0] as number) : Number.NaN);
        }
      }
    }
  }
  return Float64Array.from(out);
}
