/** One series out of all the chunks that came for it. */

import type { WireChunk } from "@torus/protocol";
import { joinAverages } from "./averages.ts";
import { type Columns, clip, decodeChunks } from "./columns.ts";
import { columnTotals, counterTotals } from "./counter-resets.ts";
import { penaltyDedup } from "./penalty.ts";
import { splitOverlaps, uniqueChunks } from "./replicas.ts";
import { unionColumns } from "./union.ts";

export type DedupFunction = "penalty" | "chain";

/** Functions that make Thanos run its counter-reset pass, and those of them that lift values at a switch. */
const COUNTER_PASS = new Set(["increase", "rate", "irate", "resets", "xincrease", "xrate"]);
const COUNTER_LIFT = new Set(["increase", "rate", "irate", "resets"]);

/** Copies of the same samples: their union, values untouched. */
export function mergeCopies(chunks: readonly WireChunk[], mint: number, maxt: number): Columns {
  const unique = uniqueChunks(joinAverages(chunks));
  const lists = splitOverlaps(unique);
  return unionColumns(lists.map((list) => clip(decodeChunks(list), mint, maxt)));
}

/**
 * What replicas that were scraped apart give together, as Thanos Query does it.
 *
 * @param func The function or aggregation around the selector, "" for none.
 */
export function dedupReplicas(
  chunks: readonly WireChunk[],
  mint: number,
  maxt: number,
  algorithm: DedupFunction,
  func: string,
): Columns {
  const lists = splitOverlaps(uniqueChunks(joinAverages(chunks))).map((list) =>
    clip(COUNTER_PASS.has(func) ? counterTotals(list) : decodeChunks(list), mint, maxt),
  );
  return algorithm === "chain" ? unionColumns(lists) : penaltyDedup(lists, COUNTER_LIFT.has(func));
}

/** The same for floats of one replica without overlaps: all of its columns. */
export function dedupOne(columns: Columns, func: string): Columns {
  return COUNTER_PASS.has(func) ? columnTotals(columns) : columns;
}

/** The same for replicas whose copies are already one each: columns within the wanted time range. */
export function dedupColumns(
  replicas: readonly Columns[],
  algorithm: DedupFunction,
  func: string,
): Columns {
  const lists = replicas
    .map((columns) => (COUNTER_PASS.has(func) ? columnTotals(columns) : columns))
    .filter(({ timestamps }) => timestamps.length > 0);
  return algorithm === "chain" ? unionColumns(lists) : penaltyDedup(lists, COUNTER_LIFT.has(func));
}
