/** Samples of any kind as chunks: a chunk ends where the kind changes, a counter was reset, or it is full. */

import { type Chunk, ChunkEncoding } from "@torus/model";
import { type HistogramEncoding } from "./histogram.ts";
import { HistogramAppender, histogramEncoding } from "./histogram-appender.ts";
import type { StoredSamples } from "./samples.ts";
import { XorAppender } from "./xor.ts";
import { Xor2Appender } from "./xor2.ts";

const CHUNK_SAMPLES = 120;

/** @param startTimes Whether to use encodings that have start timestamps. Else they are left out. */
export function encodeSamples(samples: StoredSamples, startTimes: boolean): Chunk[] {
  const out: Chunk[] = [];
  const { times } = samples;
  for (let from = 0; from < times.length; ) {
    const kind = kindOf(samples, from);
    let to = from + 1;
    while (to < times.length && kindOf(samples, to) === kind) to++;
    if (kind === "float") encodeFloats(samples, from, to, startTimes, out);
    else {
      const encoding = histogramEncoding(kind === "float histogram", startTimes);
      encodeHistograms(samples, from, to, encoding, out);
    }
    from = to;
  }
  return out;
}

function kindOf({ histograms }: StoredSamples, index: number) {
  const histogram = histograms?.[index];
  if (histogram === undefined) return "float";
  return histogram.float ? "float histogram" : "integer histogram";
}

function encodeFloats(
  { times, values, startTimes }: StoredSamples,
  from: number,
  to: number,
  withStartTimes: boolean,
  out: Chunk[],
): void {
  for (let start = from; start < to; start += CHUNK_SAMPLES) {
    const end = Math.min(start + CHUNK_SAMPLES, to);
    const appender = withStartTimes ? new Xor2Appender() : new XorAppender();
    for (let i = start; i < end; i++) {
      appender.append(times[i] as bigint, values[i] as bigint, startTimes?.[i] ?? 0n);
    }
    out.push({
      encoding: withStartTimes ? ChunkEncoding.XOR2 : ChunkEncoding.XOR,
      minTime: Number(times[start]),
      maxTime: Number(times[end - 1]),
      data: appender.bytes(),
    });
  }
}

function encodeHistograms(
  { times, startTimes, histograms }: StoredSamples,
  from: number,
  to: number,
  encoding: HistogramEncoding,
  out: Chunk[],
): void {
  const appender = new HistogramAppender(encoding);
  for (let i = from; i < to; i++) {
    const histogram = histograms?.[i];
    if (histogram === undefined) continue;
    const full = appender.count >= CHUNK_SAMPLES;
    appender.append(times[i] as bigint, startTimes?.[i] ?? 0n, histogram, full);
  }
  for (const { data, minTime, maxTime } of appender.chunks()) {
    out.push({ encoding, data, minTime: Number(minTime), maxTime: Number(maxTime) });
  }
}
