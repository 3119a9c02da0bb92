/**
 * Freeing what blocks hold now: chunks that end before a time, then series that have none left.
 * Memory is freed in slices, so that appends go on between them, once readers that may look at it have ended.
 */

import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { earliestTime, isEmpty } from "./series-memory.ts";
import type { HeadState } from "./state.ts";

const SLICE_SERIES = 8192;
const READER_POLL_MS = 20;
/** Two minutes, the time that a query has by default. */
const READER_POLLS = 6000;

/**
 * Frees chunks whose samples are all before `mint` and series without any left. Samples before `mint` are refused
 * from here on. Returns the refs of the removed series.
 */
export async function truncateHead(state: HeadState, mint: number): Promise<number[]> {
  state.minValidTime = Math.max(state.minValidTime, mint);
  state.readFloor = Math.max(state.readFloor, mint);
  const { exports } = state.kernel;
  const candidates: [ref: number, series: number][] = [];
  let done = 0;
  let earliest = Number.POSITIVE_INFINITY;
  // Readers that begin from here on do not look before `mint`.
  const earlier = [...state.readers];
  for (let polls = 0; earlier.some((reader) => state.readers.has(reader)); polls++) {
    if (polls === READER_POLLS) {
      // A client that stopped reading must not keep the head from shrinking.
      for (const reader of earlier) reader.expired = true;
      break;
    }
    await sleep(READER_POLL_MS);
  }
  for (const [ref, series] of state.table.entries()) {
    state.starts?.truncate(ref, mint);
    const isClear = state.histograms.truncate(series, mint);
    if (exports.seriesTruncate(series, mint) && isClear) candidates.push([ref, series]);
    else {
      const start = earliestTime(state.kernel, series);
      earliest = Math.min(earliest, start, state.histograms.openStart(series));
    }
    if (++done % SLICE_SERIES === 0) {
      await nextTurn();
    }
  }
  // An append between two slices may have given one a sample.
  // Series whose samples are all late ones stay until those are in a block.
  const empty = candidates.filter(
    ([, series]) =>
      isEmpty(state.kernel, series) &&
      state.histograms.openStart(series) === Number.POSITIVE_INFINITY,
  );
  const dead = empty.filter(([ref]) => !state.late.has(ref));
  const refs = removeSeries(state, dead);
  // Samples that came meanwhile are newer than what stayed, unless nothing stayed.
  const nothing = state.seriesCount === empty.length - dead.length;
  state.minTime = nothing ? earliest : Math.min(earliest, state.maxTime);
  if (nothing) state.maxTime = Number.NEGATIVE_INFINITY;
  return refs;
}

function removeSeries(state: HeadState, dead: [ref: number, series: number][]): number[] {
  if (dead.length === 0) return [];
  const { exports } = state.kernel;
  const refs = new Set<number>();
  const pairs = new Set<number>();
  for (const [ref, series] of dead) {
    refs.add(ref);
    for (const pair of state.pairsOf(series)) pairs.add(pair);
    exports.seriesMarkDead(series);
  }
  exports.headUnlink(state.address);
  for (const [ref, series] of dead) {
    exports.headRemove(state.address, series);
    state.histograms.forget(series);
    state.exemplars.forget(ref);
    state.starts?.forget(ref);
    state.table.delete(ref);
  }
  for (const address of state.index.removeSeries(refs, pairs)) {
    exports.headRemovePair(state.address, address);
  }
  state.keptLabels.forget();
  state.seriesRemoved += dead.length;
  return [...refs];
}
