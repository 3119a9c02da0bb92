/**
 * All series of a head as bytes (drawn in kernels/assembly/head-dump.ts), some megabytes at a time, in slices between
 * which appends go on: each series is as it was at some moment of the dump. What is open of native histograms is given
 * as records of a log, to be taken behind the bytes of their series.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { ChunkEncoding } from "@torus/model";
import { decodeHistograms, type HistogramEncoding } from "../chunkenc/histogram.ts";
import type { StoredHistogram } from "../chunkenc/stored-histogram.ts";
import { encodeRecord } from "../wlog/records.ts";
import { type LoggedSample, sampleRecords } from "./sample-records.ts";
import { chunksAt, copyChunk, isHistogramSeries, lastTime, newestClosed } from "./series-memory.ts";
import type { HeadState } from "./state.ts";

const PART_BYTES = 4 << 20;
/** A series with more than this in memory is not dumped, nor the head. */
const MOST_PART_BYTES = 64 << 20;
const CHECK_SERIES = 256;
const SLICE_MS = 1;

/** Some series: their bytes in the kernels' memory, lent until the promise of `onPart` is settled. */
export type DumpPart = { at: number; length: number; series: number; records: Uint8Array[] };

/** One series is larger than all that is written at once. */
export class SeriesTooLargeError extends Error {
  readonly ref: number;
  constructor(ref: number) {
    super(`dump head: series ${ref} has more than ${MOST_PART_BYTES} bytes in memory`);
    this.name = "SeriesTooLargeError";
    this.ref = ref;
  }
}

/**
 * Hands over the whole head; series must not be freed meanwhile.
 * @throws {SeriesTooLargeError} and what `onPart` throws.
 */
export async function dumpHead(
  state: HeadState,
  onPart: (part: DumpPart) => Promise<void>,
): Promise<void> {
  const { kernel: k, table } = state;
  let size = PART_BYTES;
  let buffer = k.alloc(size);
  let end = buffer;
  let series = 0;
  let records: Uint8Array[] = [];
  /** In one step, so that what is open and what is closed fit together; false when there is no room. */
  const put = (ref: number, address: number): boolean => {
    const open = isHistogramSeries(k, address) ? openHistograms(state, ref, address) : null;
    const skipNewest = open?.isClosed === true ? 1 : 0;
    const next = k.exports.seriesDump(address, skipNewest, end, buffer + size) >>> 0;
    if (next === 0) return false;
    end = next;
    series++;
    if (open !== null) records.push(...open.records);
    return true;
  };
  const flush = async (): Promise<void> => {
    if (series === 0) return;
    await onPart({ at: buffer, length: end - buffer, series, records });
    end = buffer;
    series = 0;
    records = [];
  };
  try {
    let seen = 0;
    let began = performance.now();
    for (const [ref, address] of table.entries()) {
      while (!put(ref, address)) {
        if (series === 0) {
          if (size >= MOST_PART_BYTES) throw new SeriesTooLargeError(ref);
          k.free(buffer, size);
          size *= 2;
          buffer = k.alloc(size);
          end = buffer;
        }
        await flush();
        began = performance.now();
      }
      if (++seen % CHECK_SERIES === 0 && performance.now() - began > SLICE_MS) {
        await nextTurn();
        began = performance.now();
      }
    }
    await flush();
  } finally {
    k.free(buffer, size);
  }
}

/** The newest chunk of a series of histograms, as records: a start appends its samples, and has what they are judged by. */
function openHistograms(
  state: HeadState,
  ref: number,
  series: number,
): { records: Uint8Array[]; isClosed: boolean } {
  const { kernel: k } = state;
  const mark = {
    newestClosed: newestClosed(k, series),
    openSamples: 0,
    lastTime: lastTime(k, series),
    histogram: state.histograms.mark(series),
  };
  const newest = chunksAt(k, series, mark, Number.NEGATIVE_INFINITY).at(-1);
  if (newest === undefined || newest.encoding === ChunkEncoding.XOR) {
    return { records: [], isClosed: false };
  }
  const data = copyChunk(k, newest);
  const decoded = decodeHistograms(data, newest.encoding as HistogramEncoding);
  const { times, startTimes, histograms } = decoded;
  const samples = [...times].map(
    (time, i): LoggedSample => ({
      ref,
      time: Number(time),
      startTime: Number(startTimes?.[i] ?? 0n),
      value: (histograms as StoredHistogram[])[i] as StoredHistogram,
    }),
  );
  return {
    records: sampleRecords(samples).map(encodeRecord),
    isClosed: newest.histogram === null,
  };
}
