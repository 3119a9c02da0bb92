/** Samples as records of a log: floats and the kinds of native histograms, with start timestamps and without, each have a type. */

import { CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import type { LogRecord } from "../wlog/records.ts";

/** A sample's value: the bits of a float, or a histogram. */
export type SampleValue = bigint | StoredHistogram;
/** Times in ms; `startTime` is 0 where there is none. */
export type LoggedSample = { ref: number; time: number; startTime: number; value: SampleValue };

/**
 * Records of samples in their order. One record has one kind of sample, and a replay takes record after record: where a
 * series changes its kind, all that follows goes into further records.
 */
export function sampleRecords(samples: readonly LoggedSample[]): LogRecord[] {
  const out: LogRecord[] = [];
  let batch = new Map<number, LoggedSample[]>();
  let kinds = new Map<number, number>();
  const flush = (): void => {
    for (const type of [...batch.keys()].sort((a, b) => a - b)) {
      out.push(recordOf(type, batch.get(type) as LoggedSample[]));
    }
    batch = new Map();
    kinds = new Map();
  };
  for (const sample of samples) {
    const type = recordType(sample);
    const before = kinds.get(sample.ref);
    if (before !== undefined && before !== type) flush();
    kinds.set(sample.ref, type);
    const list = batch.get(type);
    if (list === undefined) batch.set(type, [sample]);
    else list.push(sample);
  }
  flush();
  return out;
}

function recordType({ value, startTime }: LoggedSample): number {
  if (typeof value === "bigint") return startTime === 0 ? 2 : 11;
  if (startTime !== 0) return value.float ? 13 : 12;
  const custom = value.layout.schema === CUSTOM_BUCKETS_SCHEMA;
  return (custom ? 9 : 7) + (value.float ? 1 : 0);
}

function recordOf(type: number, samples: readonly LoggedSample[]): LogRecord {
  const [first] = samples as [LoggedSample];
  const base = { ref: first.ref, time: BigInt(first.time) };
  const place = ({ ref, time, startTime }: LoggedSample) => ({
    ref,
    time: BigInt(time),
    startTime: BigInt(startTime),
  });
  if (type === 2 || type === 11) {
    const floats = samples.map((each) => ({ ...place(each), value: each.value as bigint }));
    return { type, base, samples: floats };
  }
  const histograms = samples.map((each) => ({
    ...place(each),
    histogram: each.value as StoredHistogram,
  }));
  return { type: type as 7 | 8 | 9 | 10 | 12 | 13, base, samples: histograms };
}
