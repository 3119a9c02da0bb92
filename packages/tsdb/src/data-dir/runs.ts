/**
 * One series' samples out of several sources that may overlap: runs, each ascending in time, become one.
 * What a histogram says about the sample before it holds only where that one is from the same run.
 */

import type { Chunk } from "@torus/model";
import type { Interval } from "../block/tombstones.ts";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";

/** Samples in columns that grow; a sample is a double or a histogram. */
export class SampleColumns {
  #times = new BigInt64Array(16);
  #values = new BigUint64Array(16);
  #startTimes: BigInt64Array | null = null;
  #histograms: StoredHistogram[] | null = null;
  length = 0;

  push(time: bigint, value: bigint, startTime: bigint, histogram?: StoredHistogram): void {
    const at = this.length++;
    if (at === this.#times.length) this.#grow();
    this.#times[at] = time;
    this.#values[at] = value;
    if (startTime !== 0n || this.#startTimes !== null) {
      this.#startTimes ??= new BigInt64Array(this.#times.length);
      this.#startTimes[at] = startTime;
    }
    if (histogram === undefined) return;
    // A hole is a float.
    this.#histograms ??= [];
    this.#histograms[at] = histogram;
  }

  #grow(): void {
    const capacity = this.#times.length * 2;
    const times = new BigInt64Array(capacity);
    times.set(this.#times);
    this.#times = times;
    const values = new BigUint64Array(capacity);
    values.set(this.#values);
    this.#values = values;
    if (this.#startTimes === null) return;
    const startTimes = new BigInt64Array(capacity);
    startTimes.set(this.#startTimes);
    this.#startTimes = startTimes;
  }

  take(): StoredSamples {
    return {
      times: this.#times.subarray(0, this.length),
      values: this.#values.subarray(0, this.length),
      startTimes: this.#startTimes?.subarray(0, this.length) ?? null,
      histograms: this.#histograms,
    };
  }
}

/** Chunks as runs: those that follow each other are one, one that reaches back begins another. */
export function runsOfChunks(chunks: readonly Chunk[]): StoredSamples[] {
  const lists: { maxTime: number; chunks: Chunk[] }[] = [];
  for (const chunk of [...chunks].sort((a, b) => a.minTime - b.minTime)) {
    const list = lists.find(({ maxTime }) => maxTime < chunk.minTime);
    if (list === undefined) lists.push({ maxTime: chunk.maxTime, chunks: [chunk] });
    else {
      list.chunks.push(chunk);
      list.maxTime = chunk.maxTime;
    }
  }
  return lists.map((list) => joined(list.chunks.map(decodeSamples)));
}

/** Runs that follow each other as one. */
export function joined(runs: readonly StoredSamples[]): StoredSamples {
  const [only] = runs;
  if (runs.length === 1 && only !== undefined) return only;
  const out = new SampleColumns();
  for (const run of runs) {
    for (let i = 0; i < run.times.length; i++) copySample(run, i, out, run.histograms?.[i]);
  }
  return out.take();
}

function copySample(
  run: StoredSamples,
  index: number,
  out: SampleColumns,
  histogram: StoredHistogram | undefined,
): void {
  const startTime = run.startTimes?.[index] ?? 0n;
  out.push(run.times[index] as bigint, run.values[index] as bigint, startTime, histogram);
}

/** The samples in [mint, maxt] that are in none of the deleted intervals. Hints stay as they were. */
export function without(
  run: StoredSamples,
  deleted: readonly Interval[],
  mint: number,
  maxt: number,
): StoredSamples {
  const out = new SampleColumns();
  for (let i = 0; i < run.times.length; i++) {
    const time = Number(run.times[i]);
    if (time < mint || time > maxt) continue;
    if (deleted.some((interval) => time >= interval.mint && time <= interval.maxt)) continue;
    copySample(run, i, out, run.histograms?.[i]);
  }
  return out.take();
}

/** All runs as one. Of samples of one time that of the first run stays. */
export function mergeRuns(runs: readonly StoredSamples[]): StoredSamples {
  const filled = runs.filter(({ times }) => times.length > 0);
  const [only] = filled;
  if (filled.length === 1 && only !== undefined) return only;
  const next = filled.map(() => 0);
  const out = new SampleColumns();
  let lastRun = -1;
  for (;;) {
    let least = -1;
    let time = 0n;
    for (const [i, run] of filled.entries()) {
      const at = run.times[next[i] as number];
      if (at === undefined || (least >= 0 && at >= time)) continue;
      least = i;
      time = at;
    }
    const run = filled[least];
    if (run === undefined) return out.take();
    const index = next[least] as number;
    const histogram = run.histograms?.[index];
    const changed = least !== lastRun;
    copySample(run, index, out, changed ? withoutMemory(histogram) : histogram);
    lastRun = least;
    for (const [i, other] of filled.entries()) {
      if (other.times[next[i] as number] !== time) continue;
      next[i] = (next[i] as number) + 1;
      // Behind a sample that was there twice nothing is known of the one before.
      if (i !== least) lastRun = -1;
    }
  }
}

function withoutMemory(histogram: StoredHistogram | undefined): StoredHistogram | undefined {
  if (histogram === undefined || histogram.hint === "gauge") return histogram;
  return { ...histogram, hint: "unknown" };
}
