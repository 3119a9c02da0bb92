/**
 * Makes a range of time ready to be read by another thread: its chunks are closed, so that no append touches them, and
 * what a reader has to start from is written down. Works in slices, so that appends go on between them.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { isHistogramSeries, newestClosed, openChunkStart } from "./series-memory.ts";
import { type StartColumns, StartColumnsBuilder } from "./start-runs.ts";
import type { HeadState } from "./state.ts";

const CHECK_SERIES = 256;
const SLICE_MS = 1;

export type ClosedRange = {
  /** Addresses of the series that have a chunk in the range, or whose ref was asked for. */
  series: Uint32Array;
  /** The newest closed chunk of each, 0 for none. */
  newest: Uint32Array;
  /** Their start timestamps in the range; null when none has any. */
  starts: StartColumns | null;
};

/**
 * Closes the chunks that begin before `end` (ms); samples before it must be refused from here on. No chunk reaches over
 * it when it is a multiple of the chunk range; when it is not, all of them are closed before the first await.
 *
 * @param mint First millisecond of the range.
 * @param others Refs of series that belong to it though they may have no chunk there.
 */
export async function closeRange(
  state: HeadState,
  mint: number,
  end: number,
  others: ReadonlySet<number>,
): Promise<ClosedRange> {
  const k = state.kernel;
  let series = new Uint32Array(Math.max(state.seriesCount, 16));
  let newest = new Uint32Array(series.length);
  let count = 0;
  let seen = 0;
  const starts = state.starts === null ? null : new StartColumnsBuilder();
  const sliced = end % state.chunkRangeMs === 0;
  let began = performance.now();
  for (const [ref, address] of state.table.entries()) {
    if (openChunkStart(k, address) < end) k.exports.seriesCloseChunk(address);
    if (isHistogramSeries(k, address)) state.histograms.closeBefore(address, end);
    const node = newestClosed(k, address);
    if (others.has(ref) || reaches(k.words, node, mint, end)) {
      if (count === series.length) {
        series = widened(series);
        newest = widened(newest);
      }
      starts?.add(state.starts?.within(ref, mint, end) ?? null);
      series[count] = address;
      newest[count++] = node;
    }
    if (++seen % CHECK_SERIES === 0 && sliced && performance.now() - began > SLICE_MS) {
      await nextTurn();
      began = performance.now();
    }
  }
  return {
    series: series.subarray(0, count),
    newest: newest.subarray(0, count),
    starts: starts?.finish() ?? null,
  };
}

/** Whether a closed chunk, or one of those before it, lies in [mint, end). */
function reaches(words: Uint32Array, newest: number, mint: number, end: number): boolean {
  for (let node = newest; node !== 0; node = words[node >>> 2] as number) {
    const at = node >>> 2;
    const maxTime = ((words[at + 5] as number) | 0) * 2 ** 32 + (words[at + 4] as number);
    if (maxTime < mint) return false;
    const minTime = ((words[at + 3] as number) | 0) * 2 ** 32 + (words[at + 2] as number);
    if (minTime < end) return true;
  }
  return false;
}

function widened(list: Uint32Array): Uint32Array<ArrayBuffer> {
  const wider = new Uint32Array(list.length * 2);
  wider.set(list);
  return wider;
}
