/**
 * A data directory as the PromQL engine reads storage: series of blocks and head in label order, their chunks decoded
 * into columns that are used again for every batch.
 */

import { xorDecodeChunk } from "@torus/kernels";
import {
  type Chunk,
  ChunkEncoding,
  type ChunkSeries,
  compareLabels,
  compareStrings,
  type Histogram,
  type LabelSelect,
  type Labels,
  labelValue,
  type Matcher,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
} from "@torus/model";
import { MergedChunks } from "../chunk-merge.ts";
import { chunkSampleCount } from "../chunkenc/chunk-samples.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import { toModelHistogram } from "../chunkenc/stored-histogram.ts";
import { ChunkMalformedError } from "../chunkenc/xor-window.ts";
import type { DataDirectory } from "./data-directory.ts";
import type { OfflineSeries } from "./offline-head.ts";
import { mergeRuns, runsOfChunks, without } from "./runs.ts";

/** Few enough that a batch's columns stay in the processor's cache. */
const BATCH_SERIES = 8;

/** Columns of one series that are filled again and again. */
class Buffers {
  timestamps = new Float64Array(1024);
  values = new Float64Array(1024);

  reserve(samples: number): void {
    if (samples <= this.timestamps.length) return;
    const size = Math.max(samples, this.timestamps.length * 2);
    this.timestamps = new Float64Array(size);
    this.values = new Float64Array(size);
  }
}

export class DirectoryColumns implements Queryable {
  readonly #directory: DataDirectory;
  readonly #blocks: MergedChunks;

  constructor(directory: DataDirectory) {
    this.#directory = directory;
    this.#blocks = new MergedChunks(() => directory.blocks);
  }

  /**
   * @throws {IndexDamagedError} @throws {ChunkFileDamagedError} @throws {XorChunkTruncatedError}
   * @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
   */
  async *select(select: SeriesSelect): AsyncGenerator<readonly SeriesColumns[]> {
    const { mint, maxt, skipChunks, limit } = select;
    const buffers = Array.from({ length: BATCH_SERIES }, () => new Buffers());
    const head = this.#headSeries(select.matchers);
    let nextHead = 0;
    let out: SeriesColumns[] = [];
    let given = 0;
    const add = (labels: Labels, chunks: readonly Chunk[], inHead: OfflineSeries | null) => {
      const into = buffers[out.length] as Buffers;
      const series =
        inHead === null
          ? ofChunks(labels, chunks, mint, maxt, skipChunks, into)
          : ofBoth(labels, chunks, inHead, mint, maxt);
      if (series === null) return;
      out.push(series);
      given++;
    };
    for await (const batch of this.#blocks.selectChunks({ ...select, limit: 0 })) {
      for (const { labels, chunks } of batch) {
        let order = -1;
        for (;;) {
          const next = head[nextHead];
          order = next === undefined ? 1 : compareLabels(next.labels, labels);
          if (next === undefined || order >= 0) break;
          nextHead++;
          add(next.labels, [], next);
          if (out.length === BATCH_SERIES) {
            yield out;
            out = [];
          }
        }
        add(labels, chunks, order === 0 ? (head[nextHead++] as OfflineSeries) : null);
        if (limit > 0 && given >= limit) {
          yield out;
          return;
        }
        if (out.length === BATCH_SERIES) {
          yield out;
          out = [];
        }
      }
      select.signal.throwIfAborted();
    }
    for (; nextHead < head.length; nextHead++) {
      const next = head[nextHead] as OfflineSeries;
      add(next.labels, [], next);
      if (limit > 0 && given >= limit) break;
      if (out.length === BATCH_SERIES) {
        yield out;
        out = [];
        select.signal.throwIfAborted();
      }
    }
    if (out.length > 0) yield out;
  }

  /** In label order. */
  #headSeries(matchers: readonly Matcher[]): OfflineSeries[] {
    const out: OfflineSeries[] = [];
    for (const series of this.#directory.head?.series ?? []) {
      const matches = matchers.every((each) => each.matches(labelValue(series.labels, each.name)));
      if (matches) out.push(series);
    }
    return out.sort((a, b) => compareLabels(a.labels, b.labels));
  }

  async labelNames(select: LabelSelect): Promise<string[]> {
    const names = new Set(await this.#blocks.labelNames({ ...select, limit: 0 }));
    for (const { labels } of this.#headSeries(select.matchers)) {
      for (let i = 0; i < labels.length; i += 2) names.add(labels[i] as string);
    }
    return limited([...names].sort(compareStrings), select.limit);
  }

  async labelValues(name: string, select: LabelSelect): Promise<string[]> {
    const values = new Set(await this.#blocks.labelValues(name, { ...select, limit: 0 }));
    for (const { labels } of this.#headSeries(select.matchers)) {
      const value = labelValue(labels, name);
      if (value !== "") values.add(value);
    }
    return limited([...values].sort(compareStrings), select.limit);
  }
}

function limited(list: string[], limit: number): string[] {
  return limit > 0 && list.length > limit ? list.slice(0, limit) : list;
}

/** Chunks of floats that follow each other go straight into the buffers; whatever else is there is merged. */
function ofChunks(
  labels: ChunkSeries["labels"],
  chunks: readonly Chunk[],
  mint: number,
  maxt: number,
  skipChunks: boolean,
  into: Buffers,
): SeriesColumns | null {
  if (skipChunks) return { labels, ...NO_SAMPLES };
  let total = 0;
  let end = Number.NEGATIVE_INFINITY;
  for (const chunk of chunks) {
    if (chunk.encoding !== ChunkEncoding.XOR || chunk.minTime <= end) {
      return merged(
        labels,
        runsOfChunks(chunks).map((run) => without(run, [], mint, maxt)),
      );
    }
    const claimed = chunkSampleCount(chunk);
    // A sample takes two bits at least: what claims more is not given memory.
    if (claimed > 4 * chunk.data.length) {
      throw new ChunkMalformedError(
        chunk.encoding,
        `${claimed} samples in ${chunk.data.length} bytes`,
      );
    }
    total += claimed;
    end = chunk.maxTime;
  }
  into.reserve(total);
  const { timestamps, values } = into;
  let length = 0;
  for (const { data } of chunks) {
    length += xorDecodeChunk(data, timestamps.subarray(length), values.subarray(length));
  }
  let from = 0;
  while (from < length && (timestamps[from] as number) < mint) from++;
  while (length > from && (timestamps[length - 1] as number) > maxt) length--;
  if (from === length) return null;
  return {
    labels,
    timestamps: timestamps.subarray(from, length),
    values: values.subarray(from, length),
    histograms: null,
    startTimestamps: null,
  };
}

const NO_SAMPLES = {
  timestamps: new Float64Array(0),
  values: new Float64Array(0),
  histograms: null,
  startTimestamps: null,
};

function ofBoth(
  labels: Labels,
  chunks: readonly Chunk[],
  head: OfflineSeries,
  mint: number,
  maxt: number,
): SeriesColumns | null {
  const runs = runsOfChunks(chunks).map((run) => without(run, [], mint, maxt));
  runs.push(...head.runs().map((run) => without(run, head.deleted, mint, maxt)));
  return merged(labels, runs);
}

function merged(labels: Labels, runs: readonly StoredSamples[]): SeriesColumns | null {
  const { times, values, startTimes, histograms } = mergeRuns(runs);
  if (times.length === 0) return null;
  let modelled: (Histogram | undefined)[] | null = null;
  if (histograms !== null) {
    modelled = Array.from(times, (_, i) => {
      const histogram = histograms[i];
      return histogram === undefined ? undefined : toModelHistogram(histogram);
    });
  }
  return {
    labels,
    timestamps: Float64Array.from(times, Number),
    values: new Float64Array(values.slice().buffer),
    histograms: modelled,
    startTimestamps: startTimes === null ? null : Float64Array.from(startTimes, Number),
  };
}
